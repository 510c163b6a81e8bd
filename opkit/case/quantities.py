"""Quantities of interest: numbers that a user wants of the outputs of a sample.

    quantities:
      mean_pressure: {kind: mean, of: pressure, units: Pa}
      inflow:        {kind: integral, of: velocity_x, side: left, units: m2 s-1}
      peak_stress:   {kind: maximum, of: von_mises, part: hole, units: Pa}
      probe:         {kind: value, of: pressure, at: [0.5, 0.25], units: Pa}
      drop:          {kind: difference, of: pressure, sides: [left, right], units: Pa}
      heat:          {kind: gradient-flux, of: temperature, part: wall, units: W m-1}
      drag:          {kind: force, of: pressure, velocity: [velocity_x, velocity_y],
                      viscosity: 1/reynolds, direction: [1, 0], part: cylinder}

``inside`` restricts a mean, an integral or a maximum to a box, ``side`` to one side of
a grid, ``part`` to a named part of the boundary of a mesh, ``subdomain`` to the cells
of that number. How they are computed: `opkit.surrogate.checks.functionals`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from opkit.base.records import Record

Axis = Literal["z", "y", "x"]
SideName = Literal["left", "right", "bottom", "top", "back", "front"]
Box = dict[Axis, tuple[float, float]]
Part = Annotated[str, Field(min_length=1)]
BRIEF = ("part", "parts", "subdomain")
"""Keys that are left out of a dump where they say nothing, as before there were any."""


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

    @model_serializer(mode="wrap")
    def _briefly(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        return {k: v for k, v in data.items() if not (k in BRIEF and v is None)}

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs that it is computed from."""
        return (self.of,)

    @property
    def number(self) -> str:
        """Name of the number per sample that it depends on, or nothing."""
        return ""


class _OverRegion(_Quantity):
    """A quantity over the domain or a part of it.

    Args:
        inside: axis to (low, high) of a box.
        side: of a grid.
        part: named part of a mesh's boundary.
        subdomain: number of a mesh's subdomain.
    """

    inside: Box = Field(default={})
    side: SideName | None = None
    part: Part | None = None
    subdomain: int | None = None

    @model_validator(mode="after")
    def _one_region(self) -> _OverRegion:
        choices = {
            "inside": bool(self.inside),
            "side": self.side is not None,
            "part": self.part is not None,
            "subdomain": self.subdomain is not None,
        }
        regions = [name for name, is_chosen in choices.items() if is_chosen]
        if len(regions) > 1:
            raise ValueError(f"give {regions[0]} or {regions[1]}, not both")
        for axis, (low, high) in self.inside.items():
            if not low < high:
                raise ValueError(f"inside {axis}: {low} is not below {high}")
        return self


class Mean(_OverRegion):
    """∫ u / |Ω| over the domain, a box, a side, a part or a subdomain."""

    kind: Literal["mean"]


class Integral(_OverRegion):
    """∫ u over the domain, a box, a side, a part or a subdomain."""

    kind: Literal["integral"]


class Maximum(_OverRegion):
    """The largest nodal value, of |u| where ``absolute``.

    Args:
        absolute: whether signs are dropped.
    """

    kind: Literal["maximum"]
    absolute: bool = False


class Value(_Quantity):
    """The value at a point (x, y[, z]), interpolated linearly.

    Args:
        at: coordinates of the point.
    """

    kind: Literal["value"]
    at: Annotated[tuple[float, ...], Field(min_length=1, max_length=3)]


class Difference(_Quantity):
    """The mean over the first side or part less the mean over the second.

    Args:
        sides: two of a grid.
        parts: two of a mesh's boundary.
    """

    kind: Literal["difference"]
    sides: tuple[SideName, SideName] | None = None
    parts: tuple[Part, Part] | None = None

    @model_validator(mode="after")
    def _one_pair(self) -> Difference:
        if (self.sides is None) == (self.parts is None):
            raise ValueError("give sides of a grid or parts of a mesh, two of them")
        return self


class _OverBoundary(_Quantity):
    """A quantity over a side of a grid or a part of a mesh's boundary.

    Args:
        side: of a grid.
        part: named part of a mesh's boundary.
    """

    side: SideName | None = None
    part: Part | None = None

    @model_validator(mode="after")
    def _one_boundary(self) -> _OverBoundary:
        if (self.side is None) == (self.part is None):
            raise ValueError("give a side of a grid, or a part of a mesh")
        return self


class Flux(_OverBoundary):
    """∫ u·n over a side or part, n pointing out of the domain.

    ``of`` is the component along x, ``and_of`` the one along y, or those along y and z.
    A row of a stress tensor in place of u gives a component of the traction's integral.

    Args:
        and_of: the other components.
    """

    kind: Literal["flux"]
    and_of: str | tuple[str, str]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Components along x, y(, z)."""
        others = (self.and_of,) if isinstance(self.and_of, str) else self.and_of
        return (self.of, *others)


class GradientFlux(_OverBoundary):
    """∫ k ∂u/∂n over a side or part, n pointing out of the domain.

    Args:
        coefficient: k; -k for a heat flux out of the domain.
    """

    kind: Literal["gradient-flux"]
    coefficient: float = 1.0


class Force(_OverBoundary):
    """∫ (p n - ν (∇u + ∇uᵀ) n)·d over a side or part: of a fluid on what bounds it.

    n points out of the fluid; ``of`` is p.

    Args:
        velocity: components of u along x, y(, z); none for the pressure alone.
        viscosity: ν, the name of a number per sample, or one over it: ``1/reynolds``.
        direction: d, made a unit vector.
        factor: times the force, such as 2 / (U² 2r) for a coefficient.
    """

    kind: Literal["force"]
    velocity: tuple[str, ...] = Field(default=(), max_length=3)
    viscosity: float | Annotated[str, Field(pattern=r"^(1/)?[a-z][a-z0-9_]{0,63}$")] = (
        0.0
    )
    direction: Annotated[tuple[float, ...], Field(min_length=2, max_length=3)]
    factor: float = 1.0

    @model_validator(mode="after")
    def _fits(self) -> Force:
        if not any(self.direction):
            raise ValueError("direction: give a vector that is not 0")
        if self.velocity and len(self.velocity) != len(self.direction):
            raise ValueError("velocity and direction have another number of components")
        if bool(self.velocity) == (self.viscosity == 0):
            raise ValueError("give velocity and viscosity, or neither of them")
        return self

    @property
    def outputs(self) -> tuple[str, ...]:
        """The pressure, and components of the velocity."""
        return (self.of, *self.velocity)

    @property
    def number(self) -> str:
        """Name of the number per sample that the viscosity is, or one over it."""
        if isinstance(self.viscosity, str):
            return self.viscosity.removeprefix("1/")
        return ""

    def viscosity_of(self, number: float) -> float:
        """ν of a sample.

        Args:
            number: of the sample, called `number`; of no use where ν is one for all.
        """
        if not isinstance(self.viscosity, str):
            return self.viscosity
        return 1.0 / number if self.viscosity.startswith("1/") else number


Quantity = Annotated[
    Mean | Integral | Maximum | Value | Difference | Flux | GradientFlux | Force,
    Field(discriminator="kind"),
]
