"""Does the share of fallbacks fall when a surrogate learns from its own queries?

    python -m benchmarks.adaptive [--queries 1000] [--resolution 17 65] [--enough 40]
                                  [--tolerance 0.03] [--figure FILE.png]

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

LOW = {
    "places": ([1.45, 3.65, 5.85], [1.55, 3.75, 5.95]),
    "heights": (0.1, 0.2),
    "widths": (0.6, 0.7),
    "reynolds": (100.0, 180.0),
}
"""Ranges of the training law."""
HIGH = {**LOW, "heights": (0.2, 0.3), "reynolds": (200.0, 300.0)}
"""Ranges of the law of the last quarter of the queries."""
SEED = 20


def query(case: Any, i: int, drift: float) -> dict[str, np.ndarray]:
    """Numbers of query i, of the law after a part ``drift`` of the way."""
    drawn = dict(laws.draw(case.parameters, "random", SEED, i))
    for name in LOW:
        (low, high), (low_there, high_there) = (
            np.asarray(ranges[name], float) for ranges in (LOW, HIGH)
        )
        part = (np.asarray(drawn[name]) - low) / (high - low)
        low, high = low + drift * (low_there - low), high + drift * (high_there - high)
        drawn[name] = low + part * (high - low)
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
    parser.add_argument("--resolution", type=int, nargs=2, default=[17, 65])
    parser.add_argument("--train", type=int, default=100)
    parser.add_argument("--validation", type=int, default=50)
    parser.add_argument("--enough", type=int, default=40)
    parser.add_argument("--tolerance", type=float, default=0.03)
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
    rows: list[list[float]] = []
    print("queries | drift | fallbacks: first surrogate, adaptive | within, adaptive")
    for i in range(count):
        if i and i % (count // 10) == 0:
            rows.append(block(i, count, fallbacks, errors <= tolerance))
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
    rows.append(block(count, count, fallbacks, errors <= tolerance))
    accepted = ~fallbacks[1]
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


def block(end: int, count: int, fallbacks: np.ndarray, good: np.ndarray) -> list[float]:
    """Print and return what the last tenth of the queries gave."""
    part = slice(end - count // 10, end)
    drift = float(np.clip(2 * (end - count // 20) / count - 0.5, 0, 1))
    shares = fallbacks[:, part].mean(1)
    accepted = int((~fallbacks[1, part]).sum())
    within = f"{good[part].sum()} of {accepted}" if accepted else "none accepted"
    print(
        f"| {part.start + 1} to {end} | {drift:.2f} | {shares[0]:.2f} | "
        f"{shares[1]:.2f} | {within} |",
        flush=True,
    )
    return [float(end), drift, *shares]


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
