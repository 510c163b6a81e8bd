"""Operators at equal time: train each for so many seconds, compare test errors.

    python -m benchmarks.operators DATA.h5 --seconds 600 --subsample 10

Seconds are processor time divided by the number of threads: what the clock on the wall
shows where nothing else runs.

Each operator first runs two epochs to see how long one takes, then trains from the
start for as many epochs as fit into the time, with its learning-rate schedule made for
that number. Measuring it on the test split afterwards is not counted. Sizes are those
below, meant for a CPU; ``--published`` takes the recipes of the data's case instead.
Run it with nothing else running.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from opkit.surrogate.bundle.record import Score
from opkit.train import (
    Epoch,
    Event,
    Started,
    TrainingResult,
    plan,
    train,
)

TRAINING = ("optimiser=adamw", "schedule=onecycle", "batch_size=20")
SIZES: dict[str, tuple[str, ...]] = {
    "fno": (
        "model.n_modes=[12,12]",
        "model.hidden_channels=32",
        "training.learning_rate=2e-3",
    ),
    "lsm": ("model.hidden_channels=32", "training.learning_rate=1e-3"),
    "mgno": (
        "model.iterations=[[1,0],[1,0],[1,0],[2,0]]",
        "model.hidden_channels=24",
        "training.learning_rate=1e-3",
    ),
    "unet": ("model.hidden_channels=32", "training.learning_rate=1e-3"),
    "deeponet": ("model.branch=cnn", "training.learning_rate=1e-3"),
    "pod-deeponet": ("model.branch=cnn", "training.learning_rate=1e-3"),
}


def spent() -> float:
    """Processor seconds a thread."""
    return time.process_time() / torch.get_num_threads()


class EnoughError(Exception):
    """A trial has seen as many epochs as it wanted."""


class Clock:
    """Collects the processor seconds of each epoch, and those before the first.

    Args:
        most: epochs after which training is broken off.
    """

    def __init__(self, most: int | None = None) -> None:
        self.seconds: list[float] = []
        self.last = self.begin = spent()
        self.setup, self.most = 0.0, most

    def __call__(self, event: Event) -> None:
        """Take the time of a finished epoch."""
        if isinstance(event, Started):
            self.setup = spent() - self.begin
        if isinstance(event, Epoch):
            self.seconds.append(spent() - self.last)
        if isinstance(event, Started | Epoch):
            self.last = spent()
        if len(self.seconds) == self.most:
            raise EnoughError


def run(
    data: Path, folder: Path, operator: str, overrides: Sequence[str], seconds: float
) -> tuple[TrainingResult, list[float]]:
    """Train for about ``seconds``; return the result and the time of each epoch."""
    trial = Clock(most=2)
    with contextlib.suppress(EnoughError):
        train(
            data,
            folder / f"{operator}-trial",
            operator=operator,
            overrides=[*overrides, "training.epochs=2"],
            progress=trial,
        )
    # the first epoch pays for allocations and plans
    epochs = max(int((seconds - trial.setup) / min(trial.seconds)), 1)
    clock = Clock()
    result = train(
        data,
        folder / operator,
        operator=operator,
        overrides=[*overrides, f"training.epochs={epochs}"],
        progress=clock,
    )
    return result, clock.seconds


def errors(scores: Sequence[Score]) -> str:
    """Relative L2 of the surrogate at every resolution, training resolution first."""
    return "  ".join(
        f"{'x'.join(map(str, row.resolution))}: {row.relative_l2:.4f}"
        + (f" ({row.predictor})" if row.predictor != "surrogate" else "")
        for row in scores
        if row.predictor != "mean"
    )


def main() -> None:
    """Print one line for each operator."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--operators", nargs="+", default=list(SIZES))
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--subsample", type=int, default=1)
    parser.add_argument("--published", action="store_true")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--runs", type=Path, help="keep the run directories here")
    arguments = parser.parse_args()
    print(
        f"{platform.machine()}, {torch.get_num_threads()} threads, load "
        f"{os.getloadavg()[0]:.1f}, torch {torch.__version__}; "
        f"{arguments.seconds:.0f} s an operator on {arguments.data.name}"
    )
    print(f"{'operator':14}{'parameters':>12}{'s/epoch':>9}{'epochs':>8}  relative L2")
    with tempfile.TemporaryDirectory() as scratch:
        for operator in arguments.operators:
            overrides = [f"subsample={arguments.subsample}", *arguments.set]
            if not arguments.published:
                common = [f"training.{setting}" for setting in TRAINING]
                overrides = [*common, *SIZES.get(operator, ()), *overrides]
            parameters = plan(
                arguments.data, operator=operator, overrides=overrides
            ).parameters
            result, epochs = run(
                arguments.data,
                arguments.runs or Path(scratch),
                operator,
                overrides,
                arguments.seconds,
            )
            typical = sorted(epochs)[len(epochs) // 2]
            print(
                f"{operator:14}{parameters:12,}{typical:9.2f}{len(epochs):8}  "
                f"{errors(result.scores)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
