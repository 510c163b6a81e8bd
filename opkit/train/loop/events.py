"""What training reports while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Started:
    """Training begins, or goes on after ``epoch`` finished epochs."""

    run: Path
    parameters: int
    epochs: int
    steps_per_epoch: int
    epoch: int


@dataclass(frozen=True)
class Step:
    """One optimiser step of an epoch is done."""

    epoch: int
    step: int
    steps: int
    loss: float


@dataclass(frozen=True)
class Epoch:
    """One epoch is done; errors are means over samples, epochs count from 1."""

    epoch: int
    epochs: int
    train_loss: float
    validation: float
    best: bool
    learning_rate: float
    seconds: float
    samples_per_second: float


@dataclass(frozen=True)
class Warned:
    """Something is wrong with the run, in one line; it is also kept in the bundle."""

    flag: str


@dataclass(frozen=True)
class Finished:
    """The bundle is written."""

    bundle: Path
    best_epoch: int
    best_validation: float
    seconds: float


Event = Started | Step | Epoch | Warned | Finished
Progress = Callable[[Event], None]
