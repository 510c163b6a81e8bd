"""The record of a surrogate: everything about it except its weights."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from opkit.base.environment import VERSION
from opkit.case.recipe import Recipe

FORMAT = 3


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Channels(_Record):
    """A channel group of the data: one physical variable."""

    name: str
    units: str
    channels: int = Field(ge=1)


class Shape(_Record):
    """The `DataShape` the operator was built for, or a `MeshShape` less its arrays."""

    in_channels: int = Field(ge=1)
    out_channels: int = Field(ge=1)
    shape: tuple[int, ...] = Field(min_length=1)
    periodic: tuple[bool, ...]
    extent: tuple[float, ...]
    boundary_channels: tuple[str, ...] = ()
    inputs_on: Literal["grid", "node", "cell"] = "grid"


class Score(_Record):
    """One row of the table of errors: who, at which resolution, how wrong, how fast."""

    predictor: str
    split: str
    resolution: tuple[int, ...]
    samples: int
    relative_l2: float
    relative_h1: float | None = None
    """On meshes only, where slopes belong to the elements."""
    seconds: float | None = None


class Provenance(_Record):
    """What the weights were made from, and how."""

    data: str
    data_hash: str
    more_data: tuple[str, ...] = ()
    normaliser_split: Literal["train"] = "train"
    train_samples: int
    validation_samples: int
    validation_source: Literal["validation", "train"]
    seed: int
    epochs: int
    best_epoch: int
    best_validation: float
    parameters: int
    seconds: float
    environment: dict[str, str]
    command: str


class CalibrationRecord(BaseModel):
    """How a calibration was made.

    Args:
        samples: calibration samples.
        selection: ``apart`` where the best epoch, the exponents and the map of typical
            errors were chosen on other samples; ``shared`` where there were too few:
            then σ = 1, and bounds lean towards optimism by the choice of the epoch.
        source: the split that the samples come from.
        checks: by name what each check reads.
        powers: by check the exponent of its reading in the scale σ of errors.
        unavailable: by name why there is no such check.
        solver_error: relative L2 of the solver on the surrogate's grid against the
            data, the largest of some samples; 0 where the data are of this grid.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    samples: int = Field(ge=1)
    selection: Literal["apart", "shared"]
    source: Literal["validation", "train"]
    checks: dict[str, str]
    powers: dict[str, float]
    unavailable: dict[str, str] = {}
    solver_error: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _same_names(self) -> Self:
        if self.powers.keys() != self.checks.keys():
            raise ValueError("calibration: checks and powers have different names")
        return self


class BundleConfig(_Record):
    """Everything about a surrogate except its weights."""

    format_version: int = FORMAT
    opkit_version: str = VERSION
    operator: str
    options: dict[str, Any]
    shape: Shape
    axes: tuple[str, ...]
    inputs: tuple[Channels, ...]
    outputs: tuple[Channels, ...]
    boundary: tuple[Channels, ...] = ()
    static_channels: int = Field(default=0, ge=0)
    case: dict[str, Any]
    recipe: Recipe
    provenance: Provenance
    scores: tuple[Score, ...] = ()
    flags: tuple[str, ...] = ()
    calibration: CalibrationRecord | None = None
    complex_tensors: tuple[str, ...] = ()
    weights_sha256: str = ""
