"""One linear second-order PDE on [-1, 1]² less holes, described by text and numbers.

    equation  "u_xx + u_yy + u = f"
    source    "(1 - 17*pi**2) * sin(pi*x) * sin(4*pi*y)"
    boundary  "u = 0 on left, right; u = sin(pi*x) on bottom; u_y = 0 on bottom"

Conditions are u, u_n (n outwards), or on a side across it u_x or u_y. Parts are left,
right, bottom, top, sides, hole 1, hole 2, ..., holes, all. y is time in parabolic and
hyperbolic problems.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from opkit.errors import OpkitInputError
from opkit.pde import SIDES
from opkit.pde.expressions import (
    Expression,
    LinearEquation,
    read_equation,
    read_expression,
    short,
)

if TYPE_CHECKING:
    from torch import Tensor

    from opkit.pde.geometry import Geometry
    from opkit.pde.raster import Functions

Point = tuple[float, float]
Condition = tuple[str, Expression]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Disk(_Shape):
    """A round hole."""

    kind: Literal["disk"] = "disk"
    centre: Point
    radius: Annotated[float, Field(gt=0)]


class Polygon(_Shape):
    """A hole with straight edges, convex, vertices in order."""

    kind: Literal["polygon"] = "polygon"
    vertices: Annotated[tuple[Point, ...], Field(min_length=3, max_length=32)]

    @field_validator("vertices")
    @classmethod
    def _convex(cls, vertices: tuple[Point, ...]) -> tuple[Point, ...]:
        p = np.array(vertices)
        edge = np.roll(p, -1, 0) - p
        after = np.roll(edge, -1, 0)
        turn = edge[:, 0] * after[:, 1] - edge[:, 1] * after[:, 0]
        angle = np.arctan2(turn, (edge * after).sum(1)).sum()
        if not (np.all(turn > 0) or np.all(turn < 0)) or abs(angle) > 6.3:
            raise ValueError("not convex: split it into convex holes, they may overlap")
        return vertices


class Rectangle(_Shape):
    """A rectangular hole, from its lower left to its upper right corner."""

    kind: Literal["rectangle"] = "rectangle"
    lower: Point
    upper: Point

    @model_validator(mode="after")
    def _ordered(self) -> Rectangle:
        if not (self.lower[0] < self.upper[0] and self.lower[1] < self.upper[1]):
            raise ValueError("lower is not below and left of upper: exchange them")
        return self

    @property
    def vertices(self) -> tuple[Point, ...]:
        """Corners, counter-clockwise; where it reaches a side, it goes on outside."""
        x0, y0 = (-2.0 if value <= -1 else value for value in self.lower)
        x1, y1 = (2.0 if value >= 1 else value for value in self.upper)
        return (x0, y0), (x1, y0), (x1, y1), (x0, y1)


Hole = Annotated[Disk | Polygon | Rectangle, Field(discriminator="kind")]


class LinearProblem(_Shape):
    """A PDE as the user states it; everything is checked on construction.

    Args:
        equation: see `opkit.pde.expressions.read_equation`.
        boundary: conditions, separated by semicolons.
        source: formula for f.
        holes: what is cut out of the square; holes may overlap or reach outside.
    """

    equation: str
    boundary: str
    source: str | None = None
    holes: tuple[Hole, ...] = ()

    @model_validator(mode="after")
    def _well_posed(self) -> LinearProblem:
        import torch

        from opkit.pde.classes import check_conditions, classify

        classify(self.linear.coefficients)
        geometry = self.geometry(torch.zeros((), dtype=torch.float64))
        _check_domain(geometry)
        check_conditions(self.linear.coefficients, geometry)
        return self

    @property
    def linear(self) -> LinearEquation:
        """The equation as coefficients and source."""
        return read_equation(self.equation, self.source)

    def conditions(self) -> dict[str, list[Condition]]:
        """Conditions by part: ``("u", g)`` and ``("u_n", h)``.

        Raises:
            OpkitInputError: a condition cannot be read, or a part is unknown.
        """
        conditions: dict[str, list[Condition]] = {}
        for text in filter(str.strip, self.boundary.split(";")):
            form = r"\s*(u|u_n|u_x|u_y)\s*=(.+)\bon\b(.+)"
            match = re.fullmatch(form, text, flags=re.DOTALL)
            if match is None:
                raise OpkitInputError(
                    f"boundary condition {short(text.strip())}: write 'u = FORMULA on "
                    "PARTS' or 'u_n = FORMULA on PARTS'"
                )
            quantity, formula, parts = match.groups()
            for part in self._parts(parts):
                condition = _outward(quantity, formula.strip(), part)
                if any(condition[0] == other for other, _ in conditions.get(part, [])):
                    raise OpkitInputError(
                        f"{part} has two conditions for {condition[0]}: remove one"
                    )
                conditions.setdefault(part, []).append(condition)
        return conditions

    def _parts(self, text: str) -> list[str]:
        numbered = [f"hole {k + 1}" for k in range(len(self.holes))]
        groups = {
            "sides": list(SIDES),
            "holes": numbered,
            "all": [*SIDES, *numbered],
        }
        parts: list[str] = []
        for name in (" ".join(part.split()) for part in text.split(",")):
            if name in groups:
                parts += groups[name]
            elif name in SIDES or name in numbered:
                parts.append(name)
            else:
                known = ", ".join([*SIDES, *numbered, *groups])
                raise OpkitInputError(
                    f"no boundary part {short(name)}: there are {known}"
                )
        return parts

    def geometry(self, like: Tensor) -> Geometry:
        """The domain as a batch of one, with the conditions marked."""
        from opkit.pde.geometry import put_disk, put_polygon, square

        most = max(
            (len(h.vertices) for h in self.holes if not isinstance(h, Disk)), default=3
        )
        geometry = square(1, len(self.holes), like, most)
        for k, hole in enumerate(self.holes):
            if isinstance(hole, Disk):
                put_disk(geometry, 0, k, like.new_tensor(hole.centre), hole.radius)
            else:
                put_polygon(geometry, 0, k, like.new_tensor(hole.vertices))
        owner = geometry.hole_of_piece().tolist()
        conditions = self.conditions()
        for piece, hole_number in enumerate(owner):
            name = SIDES[piece] if piece < 4 else f"hole {hole_number + 1}"
            quantities = [quantity for quantity, _ in conditions.get(name, [])]
            present = bool(geometry.present[0, piece])
            geometry.dirichlet[0, piece] = present and "u" in quantities
            geometry.neumann[0, piece] = present and "u_n" in quantities
        return geometry

    def functions(self, geometry: Geometry) -> Functions:
        """Source and boundary data as functions on points of a batch of one."""
        import torch

        from opkit.pde.raster import Functions

        owner = geometry.hole_of_piece().tolist()
        names = [SIDES[k] if k < 4 else f"hole {n + 1}" for k, n in enumerate(owner)]
        conditions = self.conditions()
        formula = self.linear.source

        def source(points: Tensor) -> Tensor:
            value: Tensor = formula(points[..., 0], points[..., 1], torch)
            return value

        def boundary(
            points: Tensor, normals: Tensor, piece: Tensor
        ) -> tuple[Tensor, Tensor]:
            values = {"u": torch.zeros_like(points[..., 0])}
            values["u_n"] = values["u"]
            for part, listed in conditions.items():
                own = [k for k, name in enumerate(names) if name == part]
                here = torch.isin(piece, torch.tensor(own, device=piece.device))
                for quantity, expression in listed:
                    value = expression(points[..., 0], points[..., 1], torch)
                    values[quantity] = torch.where(here, value, values[quantity])
            return values["u"], values["u_n"]

        return Functions(source, boundary)


def _outward(quantity: str, formula: str, part: str) -> Condition:
    """Turn u_x or u_y across a side into the outward derivative u_n."""
    if quantity in ("u", "u_n"):
        return quantity, read_expression(formula)
    across = {"left": "u_x", "right": "u_x", "bottom": "u_y", "top": "u_y"}
    if across.get(part) != quantity:
        raise OpkitInputError(
            f"{quantity} is not the derivative across {part}: write u_n instead"
        )
    sign = "-" if part in ("left", "bottom") else ""
    return "u_n", read_expression(f"{sign}({formula})")


def _check_domain(geometry: Geometry) -> None:
    """Refuse holes that miss the square, and domains that are empty or in pieces."""
    from scipy.ndimage import label

    from opkit.pde.raster import pixels

    if geometry.holes == 0:
        return
    points = pixels((161, 161), geometry.start)[None]
    within = points.abs().amax(-1) < 1
    depth = geometry.depth(points)[0].masked_fill(~within[0, :, None], -1.0)
    for hole, deepest in enumerate(depth.amax(0).tolist()):
        if deepest <= 0:
            raise OpkitInputError(
                f"hole {hole + 1} lies outside the domain [-1, 1]² (or is smaller than "
                "1/80): move it inside or remove it"
            )
    inside = (geometry.inside(points) & within).reshape(161, 161).numpy()
    pieces = label(inside)[1]
    if pieces != 1:
        what = "leave nothing of the domain" if pieces == 0 else "cut the domain apart"
        raise OpkitInputError(f"the holes {what}: use fewer or smaller ones")


def read_hole(text: str) -> Disk | Polygon | Rectangle:
    """Read "disk X Y RADIUS", "rectangle X0 Y0 X1 Y1" or "polygon X0 Y0 X1 Y1 ...".

    Raises:
        OpkitInputError: another shape, or numbers that do not make one.
    """
    kind, *words = text.replace(",", " ").split() or [""]
    remedy = (
        f"hole {short(text)}: write 'disk X Y RADIUS', 'rectangle X0 Y0 X1 Y1' or "
        "'polygon X0 Y0 X1 Y1 X2 Y2 ...'"
    )
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        raise OpkitInputError(remedy) from None
    pairs = tuple(zip(numbers[::2], numbers[1::2], strict=False))
    try:
        if kind == "disk" and len(numbers) == 3:
            return Disk(centre=pairs[0], radius=numbers[2])
        if kind == "rectangle" and len(numbers) == 4:
            return Rectangle(lower=pairs[0], upper=pairs[1])
        if kind == "polygon" and len(numbers) == 2 * len(pairs) >= 6:
            return Polygon(vertices=pairs)
    except ValueError as error:
        first = str(error).splitlines()
        why = first[2].split("[type")[0].strip() if len(first) > 2 else first[0]
        raise OpkitInputError(f"hole {short(text)}: {why}") from None
    raise OpkitInputError(remedy)
