"""The record of a surrogate: everything about it except its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from torch import Tensor

from opkit.base.environment import VERSION
from opkit.base.records import Record
from opkit.case.recipe import Recipe
from opkit.datasets.agreement import Quantity, Span, Stated
from opkit.datasets.read import DataFile
from opkit.operators.shapes import DataShape, MeshShape, Packing, packing_of

FORMAT = 4


class _Record(Record):
    model_config = ConfigDict(allow_inf_nan=True)  # figures of what went wrong


class Channels(_Record):
    """A channel group of the data: one physical variable."""

    name: str
    units: str
    channels: int = Field(ge=1)
    scale: Literal["linear", "log"] = "linear"
    """``log`` of a number per sample whose logarithm is what varies evenly."""
    kind: Literal["field", "numbers", "series"] = "field"
    """What an output is; a number or a short vector is ``numbers``."""

    @model_serializer(mode="wrap")
    def _briefly(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what says nothing, as records did before there was such a thing."""
        data: dict[str, Any] = handler(self)
        if self.scale == "linear":
            del data["scale"]
        if self.kind == "field":
            del data["kind"]
        return data


class Shape(_Record):
    """The `DataShape` the operator was built for, or a `MeshShape` less its arrays."""

    in_channels: int = Field(ge=0)
    out_channels: int = Field(ge=0)
    shape: tuple[int, ...] = Field(min_length=1)
    periodic: tuple[bool, ...]
    extent: tuple[float, ...]
    boundary_channels: tuple[str, ...] = ()
    inputs_on: Literal["grid", "node", "cell"] = "grid"
    parameters: int = Field(default=0, ge=0)
    point_axes: int = Field(default=0, ge=0, le=3)
    ragged: bool = False
    series: int = Field(default=0, ge=0)
    times: int = Field(default=0, ge=0)
    readouts: tuple[Annotated[int, Field(ge=1)], ...] = ()

    @model_serializer(mode="wrap")
    def _briefly(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is not there, as records did before there was such a thing."""
        data: dict[str, Any] = handler(self)
        for name in ("point_axes", "ragged", "series", "times", "readouts"):
            if not data[name]:
                del data[name]
        return data

    @model_validator(mode="after")
    def _gives_something(self) -> Self:
        if not self.out_channels and not self.readouts:
            raise ValueError("out_channels is 0 and there are no readouts")
        return self

    @property
    def packing(self) -> Packing | None:
        """How outputs are laid one after another; None where all are fields."""
        return packing_of(self, self.ragged)

    @classmethod
    def of(cls, shape: DataShape | MeshShape) -> Shape:
        """Record what an operator was built for."""
        own = {k: v for k, v in vars(shape).items() if k in cls.model_fields}
        derived = {k: getattr(shape, k) for k in ("shape", "periodic", "extent")}
        return cls(**{**own, **derived})

    def build(self, mesh: Mapping[str, Tensor]) -> DataShape | MeshShape:
        """Return what the operator was built for.

        Args:
            mesh: arrays of the mesh by name; empty on a grid.

        Raises:
            OpkitInputError: the arrays are missing or do not belong together.
        """
        if self.inputs_on == "grid":
            own = {k: v for k, v in vars(self).items() if k != "inputs_on"}
            return DataShape(**own)
        return MeshShape.from_tensors(
            self.in_channels,
            self.out_channels,
            self.inputs_on,
            mesh,
            parameters=self.parameters,
            point_axes=self.point_axes,
            series=self.series,
            times=self.times,
            readouts=self.readouts,
        )

    def input_axes(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        """Return the axes of the inputs, of those of the outputs."""
        return axes if self.inputs_on == "grid" else (self.inputs_on,)

    def is_other_grid(self, space: tuple[int, ...]) -> bool:
        """Whether fields are on another grid than the training data."""
        return self.spectral and space != self.shape

    @property
    def spectral(self) -> bool:
        """Whether the points are a grid, so that Fourier modes mean something."""
        return self.inputs_on == "grid" and not self.ragged


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
    quantities: dict[str, float] = Field(default={})
    """Mean absolute error of each quantity of interest, in its own units."""
    outputs: dict[str, float] = Field(default={})
    """Mean relative error of each output, where some are numbers or series."""


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


class CalibrationRecord(Record):
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
        quantities: by name the units of the quantities of interest.
        solver_error: relative L2 of the solver on the surrogate's grid against the
            data, the largest of some samples; 0 where the data are of this grid.
    """

    samples: int = Field(ge=1)
    selection: Literal["apart", "shared"]
    source: Literal["validation", "train"]
    checks: dict[str, str]
    powers: dict[str, float]
    unavailable: dict[str, str] = Field(default={})
    quantities: dict[str, str] = Field(default={})
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
    static: tuple[Channels, ...] = ()
    parameters: tuple[Channels, ...] = ()
    series: tuple[Channels, ...] = ()
    times: tuple[float, ...] = ()
    """Of the series that it is given or gives; none of one that makes steps."""
    static_channels: int = Field(default=0, ge=0)
    axis_units: dict[str, str] = Field(default={})
    """Units of the axes; records from before have those of the case's geometry."""
    axis_starts: dict[str, float] = Field(default={})
    """First value of each axis; records from before have those of the case."""
    time_step: float | None = Field(default=None, gt=0)
    """Between two frames, of surrogates that make steps."""
    case: dict[str, Any]
    recipe: Recipe
    provenance: Provenance
    scores: tuple[Score, ...] = ()
    flags: tuple[str, ...] = ()
    calibration: CalibrationRecord | None = None
    complex_tensors: tuple[str, ...] = ()
    weights_sha256: str = ""

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        """Hold variables against the shape, where there is more than fields."""
        shape = self.shape
        length = len(self.times)
        sizes: list[int] = []
        for v in self.outputs:
            if v.kind != "field":
                sizes += [length if v.kind == "series" else 1] * v.channels
        fields = sum(v.channels for v in self.outputs if v.kind == "field")
        if tuple(sizes) != shape.readouts or (sizes and fields != shape.out_channels):
            raise ValueError("outputs and shape.readouts do not belong together")
        if sum(v.channels for v in self.series) != shape.series or (
            shape.series and shape.times != self.length()
        ):
            raise ValueError("series, times and shape do not belong together")
        return self

    @property
    def history(self) -> int:
        """Frames that the surrogate is given; 0 where it makes no steps."""
        return self.recipe.arrangement.history

    def length(self, steps: int = 1) -> int:
        """Return how many values of each function of time it is given.

        Args:
            steps: that are asked for, where it makes any.
        """
        return self.recipe.arrangement.length(len(self.times), steps)

    def times_of(self, count: int) -> tuple[float, ...]:
        """Return times of so many values of a function of time, for pictures.

        Of a rollout they are counted from the last frame that is given.
        """
        if self.times:
            return self.times
        step, last = self.time_step or 1.0, self.history - 1
        return tuple(step * (k - last) for k in range(count))

    @property
    def scored(self) -> str:
        """The split that its scores were measured on."""
        return self.scores[0].split if self.scores else "test"

    def split_in(self, data: Path) -> str:
        """Return the split of a data file to measure on: that of the scores.

        Of other files, which may hold no such split, the test or validation split.

        Raises:
            DataError: the file cannot be read.
        """
        with DataFile(data) as file:
            header = file.header
        splits = (self.scored, "test", "validation")
        held = (split for split in splits if len(header.splits.get(split, ())))
        return next(held, self.scored)

    @property
    def stated(self) -> Stated:
        """In which variables, units and steps and on which domain it was trained."""
        roles = {
            "inputs": self.inputs,
            "outputs": self.outputs,
            "boundary": self.boundary,
            "parameters": self.parameters,
            "series": self.series,
        }
        if self.static or not self.static_channels:
            roles["static"] = self.static  # records from before gave them no names
        of_case = self.case.get("geometry", {}).get("units")
        spans = {
            axis: Span(
                length,
                self.axis_units.get(axis, None if axis == "time" else of_case),
                periodic=None if axis == "time" else closed,
            )
            for axis, length, closed in zip(
                self.axes, self.shape.extent, self.shape.periodic, strict=True
            )
            if self.shape.spectral
        }
        if self.history:
            spans["time"] = Span(None, self.axis_units.get("time"), self.time_step)
        return Stated(
            {
                role: tuple(Quantity(v.name, v.channels, v.units) for v in variables)
                for role, variables in roles.items()
            },
            spans,
        )

    @property
    def by_role(self) -> dict[str, tuple[Channels, ...]]:
        """Role to variables, as `opkit.operators.inputs.Inputs` names the roles.

        Records from before static fields had names take them from the case.
        """
        static = self.static
        if not static and self.static_channels:
            outputs = [f"initial_{v.name}" for v in self.outputs]
            static = tuple(
                Channels(name=v["name"], units=v["units"], channels=1)
                for v in self.case.get("inputs", ())
                if v["name"] not in outputs
            )
            if len(static) != self.static_channels:
                channels = self.static_channels
                static = (Channels(name="static", units="1", channels=channels),)
        return {
            "fields": self.inputs,
            "parameters": self.parameters,
            "static": static,
            "boundary": self.boundary,
            "series": self.series,
        }

    @property
    def all_inputs(self) -> tuple[Channels, ...]:
        """All variables that the surrogate is given."""
        return tuple(v for variables in self.by_role.values() for v in variables)
