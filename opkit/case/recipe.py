"""Recipes: how an operator is trained on a case, and the error that is expected."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from opkit.base.records import Record
from opkit.datasets.modes import Mode, mode_of
from opkit.errors import OpkitInputError

if TYPE_CHECKING:
    from opkit.datasets.field_dataset import FieldDataset

ErrorName = Literal["relative_l2", "relative_h1", "mse", "nrmse", "vrmse"]
Symmetry = Literal[
    "flip_x", "flip_y", "transpose", "shift", "rotate", "negate", "galilei"
]


MOST = 1_000_000_000
"""Largest count in a recipe, which fits every integer type that it meets."""


class Training(Record):
    """Everything the training loop needs besides model and data.

    Args:
        epochs: passes over the training samples.
        optimiser: of torch.
        learning_rate: its largest value over the schedule.
        weight_decay: of the optimiser.
        schedule: of the learning rate over the epochs.
        step_factor: what a step multiplies the learning rate by.
        loss: error that is made small, mean over samples and channels; or
            ``direction``, which asks the case's solver and no solution.
        clip_norm: largest norm of the gradient of a step.
        precision: of products; fp16 and bf16 on a GPU.
        loggers: where metrics go beside the run's own files.
    """

    epochs: int = Field(default=100, ge=1, le=MOST)
    batch_size: int = Field(
        default=20, ge=1, le=MOST, description="samples a process and step"
    )
    optimiser: Literal["adam", "adamw", "sgd"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    schedule: Literal["constant", "cosine", "onecycle", "step"] = "onecycle"
    warmup: float = Field(default=0.3, ge=0, lt=1, description="onecycle: rising part")
    step_size: int = Field(
        default=100, ge=1, le=MOST, description="epochs between steps"
    )
    step_factor: float = Field(default=0.5, gt=0, le=1)
    loss: ErrorName | Literal["direction"] = "relative_l2"
    physics: float = Field(
        default=0.0, ge=0, description="weight of the PDE's residual in the loss"
    )
    metric: ErrorName = Field(
        default="relative_l2", description="chooses the best epoch on validation"
    )
    clip_norm: float | None = Field(default=None, gt=0)
    ema: float | None = Field(default=None, gt=0, lt=1, description="decay a step")
    accumulate: int = Field(
        default=1, ge=1, le=MOST, description="batches per optimiser step"
    )
    patience: int | None = Field(
        default=None, ge=1, le=MOST, description="epochs, early stop"
    )
    precision: Literal["fp32", "bf16-mixed", "fp16-mixed"] = "fp32"
    compile: bool = Field(default=False, description="torch.compile the operator")
    symmetries: tuple[Symmetry, ...] = Field(
        default=(), description="symmetries of the PDE, applied to batches at random"
    )
    holdout: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="part of the training split used for validation if there is none",
    )
    noise: float = Field(
        default=0.0, ge=0, description="autoregressive: input noise, in std"
    )
    unroll: int | None = Field(
        default=None,
        ge=1,
        le=MOST,
        description="autoregressive: frames in the loss, all if unset",
    )
    pushforward: bool = Field(
        default=False, description="autoregressive: no gradient between steps"
    )
    forcing: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="autoregressive: share of the data in each frame that is fed back",
    )
    quadrature: bool = Field(
        default=False,
        description="weigh nodes of a sample by its quadrature, in loss and metric",
    )
    points: int | None = Field(
        default=None,
        ge=1,
        le=MOST,
        description="points of each sample in a step, drawn at random; all if unset",
    )
    strategy: Literal["auto", "ddp", "fsdp"] = Field(
        default="auto", description="under torchrun; auto is ddp"
    )
    loggers: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = ()
    workers: int = Field(
        default=0, ge=0, le=1024, description="reading processes, lazy data"
    )
    memory: float = Field(
        default=4.0,
        gt=0,
        le=MOST,
        description="GiB of data kept in memory; beyond it read lazily",
    )


class Expectation(Record):
    """The error a recipe should reach, and where that figure comes from."""

    metric: Literal["relative_l2", "relative_h1"] = "relative_l2"
    value: float = Field(gt=0)
    resolution: int | None = None
    source: str


class Range(Record):
    """Values to try for one setting: a range between two numbers, or a list."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    integer: bool = False
    choices: tuple[Any, ...] = ()

    @model_validator(mode="after")
    def _one_kind(self) -> Range:
        ranged = self.low is not None and self.high is not None
        if ranged == bool(self.choices):
            raise ValueError("give either low and high, or choices")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("low must be below high")
        return self


class Recipe(Record):
    """Operator, its options, its training, and what to expect of it.

    Args:
        operator: its name; `opkit operators` lists them.
        model: options of the operator.
        mode: how variables become inputs and outputs, and what time is.
        training: of the loop.
        expectation: the error that it should reach, and who says so.
    """

    operator: str
    model: dict[str, Any] = Field(default={})
    subsample: int = Field(default=1, ge=1, le=MOST, description="stride in space")
    mode: Literal["map", "autoregressive", "space-time"] = "map"
    history: int = Field(
        default=1, ge=1, le=MOST, description="frames, autoregressive mode"
    )
    initial: bool = Field(
        default=True,
        description="autoregressive: the initial state is the first frame",
    )
    keep_means: bool = Field(
        default=False,
        description="autoregressive: each frame keeps the mean of the one before it",
    )
    keep_energy: bool = Field(
        default=False,
        description="autoregressive: each frame keeps the mean square of the last",
    )
    training: Training = Training()
    stream: dict[str, Any] = Field(
        default={}, description="hypernetworks: equations drawn in an epoch"
    )
    expectation: Expectation | None = None
    search: dict[str, Range] = Field(
        default={}, description="settings and values for tuning, as model.n_layers"
    )

    @property
    def arrangement(self) -> Mode:
        """How variables become inputs and outputs."""
        return mode_of(self.mode, self.history, self.initial)

    def samples(
        self,
        data: Path,
        split: str | None,
        subsample: int | None = None,
        trusted: bool = False,
        whole: bool = True,
    ) -> FieldDataset:
        """Open the samples of a data file as this recipe arranges them.

        Args:
            data: path of the data file.
            split: ``"train"``, ``"validation"`` or ``"test"``; all samples where None.
            subsample: stride in space; the recipe's own where not given.
            trusted: see `opkit.datasets.read.DataFile`.
            whole: refuse a stride that misses the end of an axis.

        Raises:
            DataError: no such split, a mode that does not fit the file, or a stride
                that leaves another domain.
            OpkitInputError: the file is ragged, and the operator does not take that.
        """
        from opkit.datasets.field_dataset import FieldDataset
        from opkit.operators.interface import operator_class

        accepts = operator_class(self.operator).accepts
        stride = self.subsample if subsample is None else subsample
        samples = FieldDataset(
            data,
            split,
            stride,
            self.mode,
            self.history,
            self.initial,
            trusted=trusted,
            whole=whole,
            points=accepts.points,
        )
        if samples.header.ragged and not accepts.ragged:
            raise OpkitInputError(
                f"{data}: operator {self.operator} takes no ragged data, where each "
                f"sample has a mesh of its own: {_that_take_them()}"
            )
        return samples


def _that_take_them() -> str:
    from opkit.operators.interface import acceptance

    names = [name for name, accepts in acceptance().items() if accepts.ragged]
    return f"use {' or '.join(names)}" if names else "none does yet"
