"""Learned preconditioners beside conventional ones, on Darcy flow.

    python -m benchmarks.preconditioners FOLDER [--laws two-phase] [--epochs 30]
        [--contrasts 4 100] [--cells 32 64] [--operators FNO]

solves -∇·(a ∇p) = 1 to a relative residual of 1e-6 in the Euclidean norm, computed from
p, from a start at zero, and prints a table of iterations and seconds of processor time,
medians over the samples. Every operator is trained once for each law, on the coarsest
grid and at contrasts from the least to the largest, and used on all grids. (Of 128
nodes, so 127 cells, the sine transform takes ten times as long.) Finished rows and runs
in FOLDER are not made again.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

import opkit
from benchmarks.resumable import Row, Rows, data_file, print_machine, trained
from opkit.case.record import Case
from opkit.solvers.darcy.five_point import assemble
from opkit.solvers.darcy.preconditioners import NAMES, preconditioner
from opkit.solvers.interface import Fields
from opkit.solvers.krylov import Map, Solved, flexible_cg
from opkit.surrogate.preconditioner import solve
from opkit.surrogate.surrogate import Surrogate

TOLERANCE, SEED = 1e-6, 77
LAWS, CONTRASTS, CELLS = ("two-phase", "log-normal"), (4.0, 100.0, 1e4), (64, 128)
EASY = 1.16
"""Mean contrast of the published benchmark of FCG-NO."""
COMMON = ("training.batch_size=10", "training.loss=relative_h1")
FLIPS = "training.symmetries=[flip_x, flip_y, transpose]"
LEARNED: dict[str, tuple[str, tuple[str, ...]]] = {
    "FNO": (
        "fno",
        (
            "model={n_modes: [20, 20], hidden_channels: 12, n_layers: 4}",
            "training.learning_rate=5e-3",
            FLIPS,
        ),
    ),
    "U-Net": (
        "unet",
        (
            "model={hidden_channels: 8, n_scales: 5}",
            "training.learning_rate=3e-3",
            FLIPS,
        ),
    ),
    "MgNO": (
        "mgno",
        (
            "model={hidden_channels: 8, n_layers: 4, "
            "iterations: [[1, 0], [1, 0], [1, 0], [1, 0], [2, 0]]}",
            "training.learning_rate=3e-3",
            FLIPS,
        ),
    ),
    "LNO, linear": (
        "lno",
        (
            "model={linear: true, n_layers: 1, hidden_channels: 16, rank: 16}",
            "training.learning_rate=1e-2",
            FLIPS,
        ),
    ),
}
DIRECTION = "FNO, direction loss"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--laws", nargs="+", default=LAWS, choices=LAWS)
    parser.add_argument("--contrasts", nargs="+", type=float, default=CONTRASTS)
    parser.add_argument("--cells", nargs="+", type=int, default=CELLS)
    parser.add_argument("--operators", nargs="+", default=[*LEARNED, DIRECTION])
    parser.add_argument("--training", type=int, default=300, help="training samples")
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = Rows(options.folder / "rows.json")
    sizes = [cells + 1 for cells in options.cells]
    for size in sizes:
        conventional(rows, "log-normal", EASY, size, options.samples)
    for law in options.laws:
        for contrast, size in product(options.contrasts, sizes):
            conventional(rows, law, contrast, size, options.samples)
        for name in options.operators:
            learned(rows, name, law, options)
    settings = [("log-normal", EASY), *product(options.laws, options.contrasts)]
    table(rows, settings, sizes)
    print_machine(rows)


def case_of(
    law: str, size: int, least: float, most: float, training: int = 300
) -> Case:
    """The case with this law of the permeability, at contrasts within a range."""
    return opkit.load_case(
        "darcy-source",
        (
            f"distribution={{kind: {law}}}",
            f"solver.parameters.contrasts=[{least:g}, {most:g}]",
            f"resolution={size}",
            f"samples={{train: {training}, validation: 30, test: 0}}",
        ),
    )


def inputs_of(law: str, contrast: float, size: int, count: int) -> list[Fields]:
    """Permeabilities that no operator was trained on, with the source 1."""
    solver = case_of(law, size, contrast, contrast).build_solver()
    drawn = [solver.sample(np.random.default_rng([SEED, i])) for i in range(count)]
    return [{**one, "source": np.ones((size, size))} for one in drawn]


def measured(solves: list[Callable[[], Solved]]) -> Row:
    """Solve every sample; medians."""
    results, seconds = [], []
    for run in solves:
        begin = time.process_time()
        results.append(run())
        seconds.append(time.process_time() - begin)
    over = [r.handed_over for r in results]
    return {
        "iterations": float(np.median([r.iterations for r in results])),
        "seconds": float(np.median(seconds)),
        "residual": max(r.residuals[-1] for r in results),
        "handed over": sum(k is not None for k in over),
        "samples": len(results),
        "dropped": sum(r.dropped for r in results),
    }


def conventional(
    rows: Rows, law: str, contrast: float, size: int, samples: int
) -> None:
    """Conjugate gradients with each conventional preconditioner."""
    inputs = inputs_of(law, contrast, size, samples)

    def run(name: str, log_a: np.ndarray) -> Callable[[], Solved]:
        system = assemble(np.exp(log_a), "harmonic")
        right = np.ones((size - 2, size - 2))

        def go() -> Solved:
            solver: Map = preconditioner(name, system, float(np.exp(log_a.mean())))
            return flexible_cg(
                system.apply,
                right,
                solver,
                tolerance=TOLERANCE,
                restart=1,
                patience=None,
                max_iterations=100_000,
            )

        return go

    for name in NAMES:
        solves = [run(name, one["log_permeability"]) for one in inputs]
        if name == "multigrid":
            solves[0]()  # compiles
        rows.row(key(law, contrast, size, name), partial(measured, solves))


def learned(rows: Rows, name: str, law: str, options: argparse.Namespace) -> None:
    """Flexible conjugate gradients around one operator."""
    folder = options.folder / law
    folder.mkdir(exist_ok=True)
    least, most = min(options.contrasts), max(options.contrasts)
    case = case_of(law, min(options.cells) + 1, least, most, options.training)
    data = data_file(case, folder / "data.h5", seed=1)
    operator, own = LEARNED.get(name, LEARNED["FNO"])
    settings = [*COMMON, *own, f"training.epochs={options.epochs}"]
    if name == DIRECTION:
        settings.append("training.loss=direction")
    label = name.lower().replace(", ", "-").replace(" ", "-")
    surrogate, spent = trained(data, folder / label, operator, settings)
    validation = [r for r in surrogate.config.scores if r.predictor == "surrogate"]

    def row(contrast: float, size: int) -> Row:
        inputs = inputs_of(law, contrast, size, options.samples)
        return {
            **measured([around(surrogate, one, name) for one in inputs]),
            "training": spent,
            "relative_l2": validation[0].relative_l2,
        }

    for contrast, cells in product(options.contrasts, options.cells):
        size = cells + 1
        rows.row(key(law, contrast, size, name), partial(row, contrast, size))


def around(surrogate: Surrogate, inputs: Fields, name: str) -> Callable[[], Solved]:
    """The solve of one sample; from zero, as the others."""

    def go() -> Solved:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="trained at")
            return solve(
                surrogate,
                inputs,
                tolerance=TOLERANCE,
                guess=False,
                odd=LEARNED.get(name, ("",))[0] == "lno",
                max_iterations=100_000,
            )

    return go


def key(law: str, contrast: float, size: int, name: str) -> str:
    """Name of a row."""
    return f"{law} {contrast:g} {size} {name}"


def table(rows: Rows, settings: list[tuple[str, float]], sizes: list[int]) -> None:
    """Print iterations and milliseconds."""
    names = (*NAMES, *LEARNED, DIRECTION)
    print("| law, contrast | cells | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 2) + "|")
    for law, contrast in settings:
        for size in sizes:
            cells = []
            for name in names:
                row = rows.by_name.get(key(law, contrast, size, name))
                if row is None:
                    cells.append("-")
                    continue
                assert row["residual"] <= TOLERANCE, name
                over = row["handed over"]
                cells.append(
                    f"{row['iterations']:.0f}, {1e3 * row['seconds']:.1f} ms"
                    + (f" ({over}/{row['samples']})" if over else "")
                )
            print(f"| {law}, {contrast:g} | {size - 1}² | " + " | ".join(cells) + " |")
    for name in (*LEARNED, DIRECTION):
        own = [r for k, r in rows.by_name.items() if k.endswith(f" {name}")]
        if own:
            spent, errors = ([r[k] for r in own] for k in ("training", "relative_l2"))
            print(
                f"{name}: trained {min(spent):.0f} to {max(spent):.0f} s, relative L2 "
                f"{min(errors):.3f} to {max(errors):.3f}"
            )


if __name__ == "__main__":
    main()
