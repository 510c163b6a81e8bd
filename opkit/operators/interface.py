"""What every neural operator offers, and what it is told about the data.

An operator is a ``torch.nn.Module`` that knows of no files, cases or normalisers::

    class FNO(nn.Module):
        accepts: ClassVar[Accepts]
        physical: ClassVar[bool] = True    # optional: takes and gives physical units
        class Options(pydantic.BaseModel): ...
        def __init__(self, data: DataShape, options: Options): ...
        def forward(self, x): ...     # (batch, in_channel, *space) normalised values
        def prepare(self, samples): ...    # optional: sees all training samples by role
                                           # before the first step

On a mesh ``data`` is a `MeshShape`; where boundary curves carry data, ``forward`` takes
them as a second argument (batch, channel, boundary).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from opkit.errors import OpkitInputError, nearest
from opkit.operators import OPERATORS
from opkit.operators.mesh_shape import MeshShape
from opkit.validation import explain

if TYPE_CHECKING:
    from torch import nn

GeometryKind = Literal["grid", "grid-with-holes", "mesh", "boundary"]


class Options(BaseModel):
    """Base of every operator's options: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Accepts:
    """Geometry kinds and numbers of space axes that an operator can work on.

    ``periodic`` is False where it cannot work on periodic axes.
    """

    geometries: tuple[GeometryKind, ...]
    dimensions: tuple[int, ...]
    periodic: bool = True


@dataclass(frozen=True)
class DataShape:
    """The data an operator is built for, without its batch axis.

    Args:
        in_channels: channels of the input; in autoregressive mode history x channels.
        out_channels: channels of the output.
        shape: number of points along each space axis (time first in space-time mode).
        periodic: whether each axis is periodic. Periodic axes hold points at
            ``i L / n``, others at ``i L / (n - 1)``.
        extent: length L of each axis.
        boundary_channels: names of the channels on the points of a boundary curve,
            which the operator gets as a second argument; empty where there is none.
    """

    in_channels: int
    out_channels: int
    shape: tuple[int, ...]
    periodic: tuple[bool, ...]
    extent: tuple[float, ...]
    boundary_channels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that every axis has a size, an extent and a periodicity.

        Raises:
            OpkitInputError: lengths differ, or a number is not positive.
        """
        if not len(self.shape) == len(self.periodic) == len(self.extent) > 0:
            raise OpkitInputError(
                f"shape {self.shape}, periodic {self.periodic} and extent "
                f"{self.extent}: give one value for each space axis"
            )
        if min(self.in_channels, self.out_channels, *self.shape) < 1:
            raise OpkitInputError("channels and shape must be at least 1")


def operator_class(name: str) -> Any:
    """Return the operator class of a name out of the allow-list `OPERATORS`.

    Raises:
        OpkitInputError: the name is unknown.
        MissingExtraError: the operator needs a package that is not installed.
    """
    if name not in OPERATORS:
        raise OpkitInputError(
            f"unknown operator {name!r}.{nearest(name, OPERATORS)} "
            f"Known: {', '.join(sorted(OPERATORS))}."
        )
    module, _, attribute = OPERATORS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def build_operator(
    name: str, data: DataShape | MeshShape, options: Mapping[str, Any]
) -> nn.Module:
    """Construct an operator by name from plain options.

    Raises:
        OpkitInputError: unknown name or option, or data it does not accept.
    """
    cls = operator_class(name)
    if len(data.shape) not in cls.accepts.dimensions:
        raise OpkitInputError(
            f"operator {name} takes {_listed(cls.accepts.dimensions)} space axes, "
            f"the data have {len(data.shape)}: choose another operator or mode"
        )
    if any(data.periodic) and not cls.accepts.periodic:
        raise OpkitInputError(
            f"operator {name} does not take periodic axes: choose another operator"
        )
    try:
        parsed = cls.Options.model_validate(dict(options))
    except ValidationError as error:
        raise OpkitInputError(
            f"operator {name}: {explain(error, cls.Options)}"
        ) from None
    operator: nn.Module = cls(data, parsed)
    return operator


def _listed(numbers: tuple[int, ...]) -> str:
    return " or ".join(str(number) for number in numbers)
