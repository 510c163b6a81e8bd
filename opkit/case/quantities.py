"""Quantities of interest: numbers that a user wants of the outputs of a sample.

    quantities:
      mean_pressure: {kind: mean, of: pressure, units: Pa}
      inflow:        {kind: integral, of: velocity_x, side: left, units: m2 s-1}
      peak_stress:   {kind: maximum, of: von_mises, units: Pa}
      probe:         {kind: value, of: pressure, at: [0.5, 0.25], units: Pa}
      drop:          {kind: difference, of: pressure, sides: [left, right], units: Pa}

``inside`` restricts a mean, an integral or a maximum to a box, ``side`` to one side of
a grid. How they are computed: `opkit.surrogate.checks.functionals`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from opkit.base.records import Record

Axis = Literal["z", "y", "x"]
SideName = Literal["left", "right", "bottom", "top", "back", "front"]
Box = dict[Axis, tuple[float, float]]


class _Quantity(Record):
    """What every quantity has in common.

    Args:
        of: the output that it is of.
        units: UDUNITS string; ``"1"`` where nondimensional.
        long_name: for tables and figures.
    """

    of: str
    units: str = "1"
    long_name: str = ""


class _OverRegion(_Quantity):
    inside: Box = Field(default={})
    side: SideName | None = None

    @model_validator(mode="after")
    def _one_region(self) -> _OverRegion:
        if self.inside and self.side is not None:
            raise ValueError("give inside or side, not both")
        for axis, (low, high) in self.inside.items():
            if not low < high:
                raise ValueError(f"inside {axis}: {low} is not below {high}")
        return self


class Mean(_OverRegion):
    """∫ u / |Ω| over the domain, a box or a side."""

    kind: Literal["mean"]


class Integral(_OverRegion):
    """∫ u over the domain, a box or a side."""

    kind: Literal["integral"]


class Maximum(_OverRegion):
    """The largest nodal value, of |u| where ``absolute``."""

    kind: Literal["maximum"]
    absolute: bool = False


class Value(_Quantity):
    """The value at a point (x, y[, z]), interpolated linearly."""

    kind: Literal["value"]
    at: Annotated[tuple[float, ...], Field(min_length=1, max_length=3)]


class Difference(_Quantity):
    """The mean over the first side less the mean over the second."""

    kind: Literal["difference"]
    sides: tuple[SideName, SideName]


class Flux(_Quantity):
    """∫ u·n over a side, n pointing out of the domain.

    ``of`` is the component along x, ``and_of`` the one along y.
    """

    kind: Literal["flux"]
    and_of: str
    side: SideName


Quantity = Annotated[
    Mean | Integral | Maximum | Value | Difference | Flux, Field(discriminator="kind")
]
