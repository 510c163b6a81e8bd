"""Copies of the metrics for TensorBoard, MLflow, and Weights & Biases.

The run directory always holds CSV and JSON lines; these are extras, opened only where
``training.loggers`` names them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from opkit.case.recipe import Recipe
from opkit.errors import require
from opkit.surrogate.bundle.run_directory import RunDirectory
from opkit.train.loop.events import Epoch

NAMES = ("train_loss", "validation", "learning_rate", "samples_per_second")


class Logger(Protocol):
    """Takes the figures of every epoch."""

    def epoch(self, event: Epoch) -> None:
        """Log one epoch."""
        ...

    def close(self) -> None:
        """Finish the log."""
        ...


class TensorBoard:
    """Scalars in ``RUN/tensorboard``."""

    def __init__(self, run: Path, recipe: Recipe) -> None:
        require("tensorboard", "tensorboard")
        writer = require("torch.utils.tensorboard", "tensorboard").SummaryWriter
        self._writer: Any = writer(str(run / "tensorboard"))
        self._writer.add_text("recipe", f"```\n{recipe.model_dump_json(indent=1)}\n```")

    def epoch(self, event: Epoch) -> None:
        """Log one epoch."""
        for name in NAMES:
            self._writer.add_scalar(name, getattr(event, name), event.epoch)

    def close(self) -> None:
        """Finish the log."""
        self._writer.close()


class MLflow:
    """A run in the tracking store that MLFLOW_TRACKING_URI names."""

    def __init__(self, run: Path, recipe: Recipe) -> None:
        self._mlflow: Any = require("mlflow", "mlflow")
        self._mlflow.start_run(run_name=run.name)
        self._mlflow.log_params(_flat(recipe))

    def epoch(self, event: Epoch) -> None:
        """Log one epoch."""
        values = {name: getattr(event, name) for name in NAMES}
        self._mlflow.log_metrics(values, step=event.epoch)

    def close(self) -> None:
        """Finish the log."""
        self._mlflow.end_run()


class WandB:
    """A run of Weights & Biases in ``RUN/wandb``; WANDB_MODE=offline keeps it local."""

    def __init__(self, run: Path, recipe: Recipe) -> None:
        wandb: Any = require("wandb", "wandb")
        settings = {"dir": str(run), "name": run.name, "config": _flat(recipe)}
        self._run: Any = wandb.init(project="opkit", **settings)

    def epoch(self, event: Epoch) -> None:
        """Log one epoch."""
        values = {name: getattr(event, name) for name in NAMES}
        self._run.log(values, step=event.epoch)

    def close(self) -> None:
        """Finish the log."""
        self._run.finish()


LOGGERS: dict[str, Callable[[Path, Recipe], Logger]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WandB,
}


def check_loggers(names: Sequence[str]) -> None:
    """Find out before anything is written whether the named loggers are installed.

    Raises:
        MissingExtraError: one of them is not.
    """
    for name in names:
        require(name, name)


def open_loggers(names: Sequence[str], run: Path, recipe: Recipe) -> list[Logger]:
    """Open the named loggers.

    Raises:
        DataError: the folder of one is a link.
    """
    for name in names:
        RunDirectory(run).own_folder(name)
    return [LOGGERS[name](run, recipe) for name in names]


def _flat(recipe: Recipe) -> dict[str, str]:
    plain = recipe.model_dump(mode="json")
    flat = {key: str(value) for key, value in plain.items() if key != "training"}
    training = plain["training"].items()
    return flat | {f"training.{key}": str(value) for key, value in training}
