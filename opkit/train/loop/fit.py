"""One run of the loop, with its log and loggers, from the start or a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from opkit.base.environment import environment
from opkit.base.show import Shown, grid
from opkit.case.recipe import Recipe
from opkit.errors import OpkitInputError
from opkit.surrogate.bundle.record import Score
from opkit.surrogate.bundle.run_directory import RunDirectory
from opkit.train.loop import guards, loggers
from opkit.train.loop.events import (
    Epoch,
    Event,
    Finished,
    Progress,
    Started,
    Warned,
)
from opkit.train.loop.loop import Loop, State
from opkit.train.loop.task import Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric


COMPILING = ("torch._inductor", "torch._dynamo")
"""Where exceptions come from that say that a model cannot be compiled."""


@dataclass(frozen=True, repr=False)
class TrainingResult(Shown):
    """What training left behind.

    Args:
        run: run directory.
        bundle: the bundle inside it, or a hypernetwork's file of weights.
        best_epoch: epoch whose weights were kept, from 1.
        best_validation: its validation error.
        scores: errors on the test split (the validation split if there is none).
        flags: what is wrong with this run, one line each; empty is good.
    """

    run: Path
    bundle: Path
    best_epoch: int
    best_validation: float
    scores: tuple[Score, ...]
    flags: tuple[str, ...]

    def _facts(self) -> dict[str, Any]:
        errors = {
            f"relative L2 on {row.split}, {row.predictor}, {grid(row.resolution)}": (
                row.relative_l2
            )
            for row in self.scores
        }
        return {
            "run": self.run,
            "best epoch": self.best_epoch,
            "best validation": self.best_validation,
            **errors,
            "flags": self.flags,
        }


def fit(
    fabric: Fabric,
    task: Task,
    model: nn.Module,
    directory: RunDirectory,
    recipe: Recipe,
    seed: int,
    resume: bool,
    progress: Progress | None,
) -> State:
    """Train to the end; the model is left on the CPU with its best weights.

    Raises:
        TrainingError: the loss is not finite, or has exploded; the log says so.
    """
    main = fabric.is_global_zero
    opened: list[loggers.Logger] = []
    if main:
        names = recipe.training.loggers
        opened = loggers.open_loggers(names, directory.path, recipe)

    def report(event: Event) -> None:
        if isinstance(event, Epoch):
            for logger in opened:
                logger.epoch(event)
        tell(progress, event)

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        loop = Loop(fabric, task, model, directory, seed, report)
        if resume:
            loop.resume()
        if main:
            _started(loop, model, progress)
        try:
            state = loop.fit()
        except guards.TrainingError as error:
            directory.log("failed", reason=str(error))
            raise
        except RuntimeError as error:  # of the compiler behind torch.compile
            if not type(error).__module__.startswith(COMPILING):
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise OpkitInputError(
                f"training.compile fails here ({reason}): leave it out"
            ) from error
        finally:
            for logger in opened:
                logger.close()
    model.to("cpu")
    return state


def finish(
    directory: RunDirectory,
    state: State,
    bundle: Path,
    scores: tuple[Score, ...],
    flags: tuple[str, ...],
    progress: Progress | None,
) -> TrainingResult:
    """Tell about a run's end and return its result."""
    for flag in flags:
        tell(progress, Warned(flag))
    tell(progress, Finished(bundle, state.best_epoch, state.best_value, state.seconds))
    return TrainingResult(
        directory.path, bundle, state.best_epoch, state.best_value, scores, flags
    )


def tell(progress: Progress | None, event: Event) -> None:
    """Report an event to whoever listens."""
    if progress is not None:
        progress(event)


def _started(loop: Loop, model: nn.Module, progress: Progress | None) -> None:
    done = loop.state.epoch
    loop.run.log(
        "resumed" if done else "started", epoch=done, environment=environment()
    )
    parameters = sum(p.numel() for p in model.parameters())
    tell(
        progress,
        Started(
            loop.run.path,
            parameters,
            loop.training.epochs,
            loop.steps_per_epoch,
            done,
        ),
    )
