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

`check_acceptance` says whether an operator takes the data, before anything is built.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from opkit.base.explain import explain
from opkit.errors import OpkitInputError, nearest
from opkit.operators import OPERATORS
from opkit.operators.shapes import DataShape, MeshShape

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


def acceptance() -> dict[str, Accepts]:
    """Return what every operator accepts, by name."""
    return {name: operator_class(name).accepts for name in OPERATORS}


def acceptance_table() -> str:
    """Return a Markdown table of operators, geometries and numbers of space axes."""
    rows = ["| operator | geometry | space axes |", "|---|---|---|"]
    for name, accepts in acceptance().items():
        axes = ", ".join(map(str, accepts.dimensions))
        rows.append(f"| {name} | {', '.join(accepts.geometries)} | {axes} |")
    return "\n".join(rows)


def check_acceptance(name: str, geometry: GeometryKind, axes: int) -> None:
    """Refuse data that an operator cannot take.

    Args:
        name: of the operator.
        geometry: kind of the case's geometry.
        axes: number of space axes of the fields, with time in space-time mode.

    Raises:
        OpkitInputError: one line that names the operators which could.
    """
    accepts = operator_class(name).accepts
    if geometry in accepts.geometries and axes in accepts.dimensions:
        return
    others = [
        other
        for other, offer in acceptance().items()
        if geometry in offer.geometries and axes in offer.dimensions
    ]
    remedy = f"use {' or '.join(others)}" if others else "none does yet"
    raise OpkitInputError(
        f"operator {name} takes {' or '.join(accepts.geometries)} with "
        f"{' or '.join(map(str, accepts.dimensions))} space axes, not {geometry} with "
        f"{axes}: {remedy}"
    )


if __name__ == "__main__":
    print(acceptance_table())
