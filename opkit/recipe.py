"""Recipes: how an operator is trained on a case, and the error that is expected."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Training(_Record):
    """Everything the training loop needs besides model and data."""

    epochs: int = Field(default=100, ge=1)
    batch_size: int = Field(default=20, ge=1)
    optimiser: Literal["adam", "adamw"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    schedule: Literal["constant", "cosine", "onecycle", "step"] = "onecycle"
    step_size: int = Field(default=100, ge=1, description="epochs between steps")
    step_factor: float = Field(default=0.5, gt=0, le=1)
    loss: Literal["relative_l2", "relative_h1", "mse"] = "relative_l2"
    clip_norm: float | None = Field(default=None, gt=0)
    ema: float | None = Field(default=None, gt=0, lt=1)
    accumulate: int = Field(default=1, ge=1, description="batches per optimiser step")
    patience: int | None = Field(default=None, ge=1, description="epochs, early stop")
    precision: Literal["fp32", "bf16-mixed", "fp16-mixed"] = "fp32"
    symmetries: tuple[Literal["flip_x", "flip_y", "transpose", "shift"], ...] = ()


class Expectation(_Record):
    """The error a recipe should reach, and where that figure comes from."""

    metric: Literal["relative_l2", "relative_h1"] = "relative_l2"
    value: float = Field(gt=0)
    resolution: int | None = None
    source: str


class Recipe(_Record):
    """Operator, its options, its training, and what to expect of it."""

    operator: str
    model: dict[str, Any] = {}
    subsample: int = Field(default=1, ge=1, description="stride in space")
    mode: Literal["map", "autoregressive", "space-time"] = "map"
    history: int = Field(default=1, ge=1, description="frames, autoregressive mode")
    training: Training = Training()
    expectation: Expectation | None = None
