"""A surrogate of chaos: its data, how long it is right, and as the model of a filter.

    python -m benchmarks.chaos_surrogate data KS.h5
    opkit train KS.h5 --operator fno -o RUN --set ...        (docs/dynamics.md)
    opkit evaluate RUN --rollout
    python -m benchmarks.chaos_surrogate filters RUN [--cycles 500]
    python -m benchmarks.chaos_surrogate correction RUN KS.h5 [--every 2]

``data`` advances all trajectories of kuramoto-sivashinsky-32pi at once by ETDRK4 with
steps of ½, as the filters do (`Semilinear.forecast`): seconds where `opkit generate`,
which controls the error of each trajectory, takes minutes. ``filters`` prints RMSE,
spread and seconds per cycle of the LETKF with the solver and with the surrogate.
``correction`` trains a learned correction of the surrogate (`learn_correction`) and
prints its row beside filters with the same observations and the same first states.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import h5py
import numpy as np

import opkit
from opkit.assimilate import (
    ETKF,
    LETKF,
    Filter,
    OptimalInterpolation,
    ThreeDVar,
    every,
    learn_correction,
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
    correction = verbs.add_parser("correction")
    correction.add_argument("run", type=Path)
    correction.add_argument("file", type=Path)
    correction.add_argument("--every", type=int, default=2)
    correction.add_argument("--cycles", type=int, default=250)
    correction.add_argument("--lines", type=int, default=128)
    correction.add_argument("--passes", type=int, default=4)
    options = parser.parse_args()
    if options.verb == "correction":
        correct(options)
    elif options.verb == "data":
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


def correct(options: argparse.Namespace) -> None:
    """Print a row for a learned correction and for its rivals."""
    case, surrogate = load_case(CASE), opkit.load(options.run)
    samples = surrogate.samples(options.file, "train")
    states = np.stack(
        [
            np.concatenate([item["inputs"][:, 0], item["outputs"][:, 0]])
            for item in (samples[i] for i in range(options.lines))
        ]
    )
    seen = {n: twin(
        case, lambda grid: every(options.every, grid), cycles=options.cycles,
        members=n, noise=1.0, steps=STEPS,
    ) for n in (1, 4, 20)}  # fmt: skip
    begin = time.process_time()
    learned = learn_correction(
        surrogate, states, seen[1].observation, 1.0,
        passes=options.passes, batch=32, learning_rate=3e-3,
        report=lambda done, total, loss: print(f"pass {done}: {loss:.4f}", flush=True),
    )  # fmt: skip
    print(f"trained in {time.process_time() - begin:.0f} s of processor time")
    step, count = surrogate_step(surrogate, None, 1.0), 128 // options.every
    near = 25 / 1.82 * np.pi / 4
    print("filter | model | seen | RMSE | spread | seconds per cycle")
    for label, filter, members, model in (
        ("learned correction", learned, 1, "surrogate"),
        ("learned correction, 4 members", learned, 4, "surrogate"),
        ("3D-Var", ThreeDVar(seen[1].climatology, 0.1), 1, "solver"),
        ("3D-Var", ThreeDVar(seen[1].climatology, 0.1), 1, "surrogate"),
        ("LETKF, 4", LETKF(near / 1.82, 1.1), 4, "solver"),
        ("LETKF, 4", LETKF(near / 1.82, 1.1), 4, "surrogate"),
        ("LETKF, 20", LETKF(near, 1.05), 20, "solver"),
        ("LETKF, 20", LETKF(near, 1.05), 20, "surrogate"),
    ):
        used = step if model == "surrogate" else None
        made = seen[members].run(filter, used, keep_going=True)
        lost = "" if made.diverged is None else f", diverged at {made.diverged}"
        scores = seen[members].scores(made)
        show(label, model + lost, count, scores, sum(made.seconds))


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
