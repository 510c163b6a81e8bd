"""A surrogate of chaos: its data, how long it is right, and as the model of a filter.

    python -m benchmarks.chaos_surrogate data KS.h5
    opkit train KS.h5 --operator fno -o RUN --set ...        (docs/dynamics.md)
    opkit evaluate RUN --rollout
    python -m benchmarks.chaos_surrogate filters RUN [--cycles 500]

``data`` advances all trajectories of kuramoto-sivashinsky-32pi at once by ETDRK4 with
steps of ½, as the filters do (`Semilinear.forecast`): seconds where `opkit generate`,
which controls the error of each trajectory, takes minutes. ``filters`` prints RMSE,
spread and seconds per cycle of the LETKF with the solver and with the surrogate.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import h5py
import numpy as np

from opkit.assimilate import (
    ETKF,
    LETKF,
    Filter,
    OptimalInterpolation,
    every,
    surrogate_step,
    twin,
)
from opkit.case import load_case
from opkit.case.data import header_of
from opkit.datasets.write import LIBVER, Writer

CASE = "kuramoto-sivashinsky-32pi"
STEPS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    data = verbs.add_parser("data")
    data.add_argument("file", type=Path)
    data.add_argument("--train", type=int, default=512)
    data.add_argument("--records", type=int, default=60)
    filters = verbs.add_parser("filters")
    filters.add_argument("run", type=Path)
    filters.add_argument("--cycles", type=int, default=500)
    options = parser.parse_args()
    if options.verb == "data":
        write(options.file, options.train, options.records)
    else:
        compare(options.run, options.cycles)


def write(path: Path, train: int, records: int) -> None:
    """Write trajectories that start on the attractor."""
    counts = {"train": train, "validation": 16, "test": 32}
    case = load_case(
        CASE,
        [
            f"solver.parameters.records={records}",
            *(f"samples.{name}={count}" for name, count in counts.items()),
        ],
    )
    solver = case.build_solver()
    header = header_of(case, solver, 0, None, "float32")
    law, total = solver.distribution, sum(counts.values())
    drawn = [
        law.sample(np.random.default_rng(np.random.SeedSequence([0, i])), case.shape)
        for i in range(total)
    ]
    states, march = np.stack(drawn), solver.forecast(STEPS)
    for _ in range(round(solver.spin_up)):
        states = march(states)
    initial, frames = states, []
    for _ in range(records):
        states = march(states)
        frames.append(states)
    fields = {"initial_state": initial, "state": np.stack(frames, 1)}
    with h5py.File(path, "w", libver=LIBVER) as file:
        writer = Writer(file, header)
        writer.put(
            slice(0, total),
            np.arange(total),
            {name: values.astype(np.float32) for name, values in fields.items()},
        )
        writer.finish()


def compare(run: Path, cycles: int) -> None:
    """Print a row for each filter and model; observation errors have deviation 1."""
    case = load_case(CASE)
    step = surrogate_step(run, None, 1.0)
    print("filter | model | seen | RMSE | spread | seconds per cycle")
    for label, filter, members, apart in rows():
        experiment = twin(
            case, lambda grid, n=apart: every(n, grid), cycles=cycles,
            members=members, noise=1.0, steps=STEPS,
        )  # fmt: skip
        errors = experiment.model_errors(step)
        if label.startswith("LETKF") and members == 20:
            floor = experiment.run(
                OptimalInterpolation(experiment.climatology), lambda u: u
            )
            show("optimal interpolation", "-", 128 // apart, experiment.scores(floor))
        size = float(np.sqrt((errors**2).mean()))
        for model, made in (
            ("solver", experiment.run(filter, keep_going=True)),
            ("surrogate", experiment.run(filter, step, keep_going=True)),
            (
                f"surrogate, errors of {size:.3f} drawn",
                experiment.run(filter, step, model_errors=errors, keep_going=True),
            ),
        ):
            lost = "" if made.diverged is None else f", diverged at {made.diverged}"
            scores = experiment.scores(made)
            show(label, model + lost, 128 // apart, scores, sum(made.seconds))


def rows() -> list[tuple[str, Filter, int, int]]:
    """Label, filter, members and every how many points are seen."""
    near = 25 / 1.82 * np.pi / 4  # grid points of π/4
    return [
        ("ETKF, 20", ETKF(1.03), 20, 1),
        ("LETKF, 6", LETKF(1.82 * near, 1.06), 6, 1),
        ("LETKF, 20", LETKF(near, 1.05), 20, 2),
        ("LETKF, 20", LETKF(near, 1.05), 20, 4),
    ]


def show(
    label: str, model: str, seen: int, scores: dict[str, float], seconds: float = 0.0
) -> None:
    print(
        f"{label} | {model} | {seen} | {scores['rmse']:.3f} | {scores['spread']:.3f} | "
        f"{seconds:.4f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
