"""Transolver beside pod-gp on hyperelastic-cell, 200 training samples, one thread.

    python -m benchmarks.transolver FOLDER [--seed 0] [--epochs 300]

makes the data in FOLDER (traction 4e4, 17 x 80 points, 200 / 50 / 100 samples), trains
them on one thread, and prints the relative L2 errors on the test split with the
processor minutes. Stopped, it goes on where it was; another seed is another run.
"""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

import torch

from benchmarks.resumable import trained
from opkit.case.catalogue import load_case
from opkit.evaluate.run import evaluate
from opkit.generate import generate

CASE = "hyperelastic-cell"
SIZES = ("resolution=[17, 80]", "samples.train=200")
WINDOWS = ("model.windows=[1, 8]", "model.modes=25", "model.energy=0.9999")
TRAINING = (
    "training.batch_size=4",
    "training.points=340",
    "training.weight_decay=1e-5",
    "training.clip_norm=1",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=300)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    data = options.folder / "cell.h5"
    if not data.exists():
        generate(load_case(CASE, SIZES), data)
    settings = (*TRAINING, f"training.epochs={options.epochs}")
    rows = [
        row(data, options.folder / "pod-gp", "pod-gp", (), 0),
        row(data, options.folder / "pod-gp-windows", "pod-gp", WINDOWS, 0),
        row(
            data,
            options.folder / f"transolver-{options.seed}",
            "transolver",
            settings,
            options.seed,
        ),
    ]
    print(f"{platform.machine()}, {torch.get_num_threads()} thread")
    print(
        "| operator | seed | epochs | parameters | processor minutes | error | mean |"
    )
    print("|---|---|---|---|---|---|---|")
    for line in rows:
        print(line)


def row(
    data: Path, run: Path, operator: str, settings: tuple[str, ...], seed: int
) -> str:
    """Train, or go on with training, and return a line of the table."""
    surrogate, seconds = trained(data, run, operator, settings, seed)
    evaluation = evaluate(run)
    own, mean = (
        next(r.relative_l2 for r in evaluation.rows if r.predictor == name)
        for name in ("surrogate", "mean")
    )
    origin = surrogate.config.provenance
    return (
        f"| {run.name} | {seed} | {origin.epochs} | {origin.parameters:,} | "
        f"{seconds / 60:.1f} | {100 * own:.2f} % | {100 * mean:.1f} % |"
    )


if __name__ == "__main__":
    main()
