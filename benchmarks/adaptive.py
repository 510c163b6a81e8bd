"""Does the share of fallbacks fall when a surrogate learns from its own queries?

    python -m benchmarks.adaptive [--queries 1000] [--resolution 13 49] [--enough 40]
                                  [--tolerance 0.05] [--figure FILE.png]

The case is channel-bumps on a coarse grid, learnt by pod-gp from samples of low bumps
at low Reynolds numbers. Queries follow this law at first; over the second and third
quarter of them the law slides to high bumps at high Reynolds numbers, and stays there.
The same queries, each alone, are judged by the surrogate as it was trained, and
answered by `opkit.Adaptive`, which keeps what the solver solved and is trained again.
Printed for each tenth of the queries: the share of fallbacks of both, and how many of
the accepted answers are within the tolerance of the solver's; then the retrainings.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import opkit
from opkit.case import laws, load_case
from opkit.generate import generate

LOW = {"heights": (0.1, 0.2), "reynolds": (100.0, 200.0), "widths": (0.6, 0.7)}
"""Ranges of the training law, where they differ from the case's."""
HIGH = {"heights": (0.25, 0.35), "reynolds": (250.0, 400.0), "widths": (0.6, 0.7)}
"""Ranges of the law of the last quarter of the queries."""
SEED = 20


def query(case: Any, i: int, drift: float) -> dict[str, np.ndarray]:
    """Numbers of query i, of the law after a part ``drift`` of the way."""
    drawn = dict(laws.draw(case.parameters, "random", SEED, i))
    for name, (low, high) in LOW.items():
        there = HIGH[name]
        now = [a + drift * (b - a) for a, b in zip((low, high), there, strict=True)]
        part = (np.asarray(drawn[name]) - low) / (high - low)
        drawn[name] = now[0] + part * (now[1] - now[0])
    return {name: np.asarray(values) for name, values in drawn.items()}


def relative_l2(answer: dict[str, Any], truth: dict[str, Any]) -> float:
    """Mean over the outputs, as surrogates are scored."""
    return float(
        np.mean(
            [
                np.linalg.norm(np.asarray(answer[k]) - truth[k])
                / np.linalg.norm(truth[k])
                for k in truth
            ]
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--resolution", type=int, nargs=2, default=[13, 49])
    parser.add_argument("--train", type=int, default=150)
    parser.add_argument("--validation", type=int, default=50)
    parser.add_argument("--enough", type=int, default=40)
    parser.add_argument("--tolerance", type=float, default=0.05)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    ranges = [f"parameters.{k}.{end}={v}" for k, pair in LOW.items()
              for end, v in zip(("low", "high"), pair, strict=True)]  # fmt: skip
    sizes = {"train": options.train, "validation": options.validation, "test": 0}
    case = load_case(
        "channel-bumps",
        (
            f"resolution={options.resolution}",
            *ranges,
            *(f"samples.{k}={n}" for k, n in sizes.items()),
        ),
    )
    with tempfile.TemporaryDirectory() as folder:
        rows = ask(case, Path(folder), options)
    if options.figure:
        draw(rows, options.figure)


def ask(case: Any, folder: Path, options: argparse.Namespace) -> list[list[float]]:
    begin = time.perf_counter()
    data = generate(case, folder / "data.h5", 1, workers=1)
    opkit.train(data, folder / "run", operator="pod-gp", device="cpu")
    print(f"data and first training: {time.perf_counter() - begin:.0f} s")
    fixed = opkit.load(folder / "run")
    first = fixed(query(case, 0, 0.0), check=True)
    print(f"bound of the first query {float(first.error_bound[0]):.3f}")
    solver = fixed.checker.context.case_solver.solver
    tolerance, count = options.tolerance, options.queries
    fallbacks = np.zeros((2, count), bool)
    errors = np.full(count, np.nan)  # of accepted answers of the adaptive surrogate
    seconds = 0.0
    solves: list[float] = []
    adaptive = opkit.Adaptive(
        folder / "run", folder / "store.h5", tolerance, enough=options.enough
    )
    for i in range(count):
        numbers = query(case, i, float(np.clip(2 * i / count - 0.5, 0, 1)))
        checked = fixed(numbers, check=True)
        good = checked.resembles_training() & (checked.error_bound <= tolerance)
        fallbacks[0, i] = not good[0]
        begin = time.perf_counter()
        answer = adaptive.solve(numbers)
        seconds += time.perf_counter() - begin
        fallbacks[1, i] = answer.action[0] != "accepted"
        if fallbacks[1, i]:
            solves.append(answer.seconds["solve"])
            continue
        outputs = solver.solve({k: v[None] for k, v in numbers.items()}).outputs
        truth = {v.name: outputs[v.name][0] for v in fixed.config.outputs}
        errors[i] = relative_l2(answer.outputs, truth)
    accepted = ~fallbacks[1]
    print("queries | drift | fallbacks: first surrogate, adaptive | within, adaptive")
    rows = []
    for part in np.array_split(np.arange(count), 10):
        drift = float(np.clip(2 * part.mean() / count - 0.5, 0, 1))
        good = errors[part][accepted[part]] <= tolerance
        within = f"{good.sum()} of {len(good)}" if len(good) else "none accepted"
        row = [float(part[-1] + 1), drift, *fallbacks[:, part].mean(1)]
        rows.append(row)
        print(
            f"| {part[0] + 1} to {part[-1] + 1} | {drift:.2f} | {row[2]:.2f} | "
            f"{row[3]:.2f} | {within} |"
        )
    good = errors[accepted] <= tolerance
    print(f"fallbacks: {fallbacks[0].sum()} and {fallbacks[1].sum()}; {good.sum()} of "
          f"{len(good)} accepted answers within {tolerance:g}")  # fmt: skip
    record = adaptive.record
    trained = [r.seconds for r in record.retrainings]
    print(f"{record!r}")
    for problem in {r.problem for r in record.retrainings if r.problem}:
        print(problem)
    print(
        f"{len(trained)} retrainings, {min(trained):.1f} to {max(trained):.1f} s each, "
        f"after queries {', '.join(str(r.queries) for r in record.retrainings)}"
    )
    print(
        f"seconds: {seconds:.0f}, of them training {sum(trained):.0f}; a solve takes "
        f"{np.median(solves):.3f}"
    )
    return rows


def draw(rows: list[list[float]], path: Path) -> None:
    """Share of fallbacks of both over the queries."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    table = np.array(rows)
    centres = table[:, 0] - table[0, 0] / 2
    figure, axes = plt.subplots(figsize=(5, 2.8), layout="constrained")
    axes.plot(centres, table[:, 2], "o-", color="0.6", label="as first trained")
    axes.plot(centres, table[:, 3], "o-", label="learning from use")
    axes.plot(centres, table[:, 1], "k:", label="drift of the law")
    axes.set(xlabel="queries", ylabel="share of fallbacks", ylim=(-0.03, 1.03))
    axes.legend(frameon=False)
    figure.savefig(path, dpi=160)


if __name__ == "__main__":
    main()
