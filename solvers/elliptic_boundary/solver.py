"""Poisson's equation on a square less some corners, with data along its boundary.

    Lap u = f in Ω,   u = g on Dirichlet faces,   ∂u/∂n = q on Neumann faces,

Ω: the unit square less 0 to 4 rectangles at its corners, cut along cell faces; u:
potential, f: source, n: outward normal; nondimensional. Cell-centred finite volumes,
second order where u is smooth up to the boundary (4/3 at re-entrant corners, where it
is not). Method and accuracy: docs/geometry-beno.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from opkit.base.arrays import Array, Mask
from opkit.errors import NotConvergedError, OpkitInputError
from opkit.pde.boundary_curve import CURVE
from opkit.solvers.elliptic_boundary.curve import curve_of, trace
from opkit.solvers.elliptic_boundary.finite_volumes import System
from opkit.solvers.elliptic_boundary.laws import CornerCuts
from opkit.solvers.inputs import check_counts, checked_field
from opkit.solvers.interface import (
    Coordinate,
    Fields,
    Sides,
    Solution,
    solver_dataclass,
    with_parameters,
)

Cells = Annotated[int, Field(ge=4)]


@solver_dataclass
class EllipticBoundary:
    """Solver of Lap u = f with Dirichlet (g) or Neumann (q) data on every face.

    Inputs: ``source`` f and ``inside`` (1 in Ω, 0 removed), (batch, y, x); on the faces
    of the closed boundary curve, counter-clockwise, (batch, boundary):
    ``boundary_x``, ``boundary_y``, ``boundary_value``, ``boundary_kind`` (0 Dirichlet,
    1 Neumann), ``normal_x``, ``normal_y`` (outward).
    Outputs: ``potential`` (batch, y, x), 0 outside Ω.

    Cutting rectangles off corners keeps the number of faces at 4 n. Pure Neumann data
    must satisfy ∮ q ds = ∫ f dx; the potential then has mean zero over Ω.

    Args:
        resolution: cells along (y, x), equal.
        distribution: law of domain, source and boundary data, `CornerCuts`.
        rtol: largest relative residual in the H⁻¹ norm.
        compatibility: largest |∮ q ds - ∫ f dx| / (∮ |q| ds + ∫ |f| dx) of pure Neumann
            data; what is left is taken out of f evenly.
        refinement: solve on cells so many times smaller, f constant in a cell and data
            linear between the middles of faces, and give the solution at the middles
            of the cells asked for.
    """

    resolution: tuple[Cells, Cells]
    distribution: CornerCuts = CornerCuts()
    rtol: Annotated[float, Field(ge=1e-14, lt=1)] = 1e-10
    compatibility: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    refinement: Annotated[int, Field(ge=1, le=16)] = 1

    @field_validator("resolution")
    @classmethod
    def _square(cls, resolution: tuple[int, int]) -> tuple[int, int]:
        if resolution[0] != resolution[1]:
            raise ValueError(
                f"{resolution[0]} by {resolution[1]} cells: cells are squares, give "
                "the same number along y and x"
            )
        return resolution

    def coordinates(self) -> Mapping[str, Coordinate]:
        """Cell centres along y and x, and numbers of the boundary faces."""
        cells = self.resolution[0]
        centres = (np.arange(cells) + 0.5) / cells
        return {
            "y": Coordinate(centres, long_name="y"),
            "x": Coordinate(centres, long_name="x"),
            "boundary": Coordinate(
                np.arange(4.0 * cells), long_name="face of the boundary curve"
            ),
        }

    def sides(self) -> Sides:
        """Each sample has data of its own on the closed curve."""
        return {"curve": {"kind": self.distribution.condition, "value": "input"}}

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw one domain, source (y, x) and data on its boundary (boundary,)."""
        law, cells = self.distribution, self.resolution[0]
        inside = law.draw_domain(rng, cells)
        curve = trace(inside)
        s = (np.arange(4 * cells) + 0.5) / cells  # every cut keeps the length 4
        neumann = law.draw_kind(rng, s)
        centres = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(centres, centres, indexing="ij")
        source = law.source.on_square(rng, x, y) * inside
        g, q = law.dirichlet.on_curve(rng, s), law.neumann.on_curve(rng, s)
        if neumann.all():
            q += (source.mean() - q.mean() * 4) / 4
        return {
            "source": source,
            "inside": inside.astype(np.float64),
            **curve.places(cells),
            "boundary_value": np.where(neumann, q, g),
            "boundary_kind": neumann.astype(np.float64),
        }

    def solve(self, inputs: Fields) -> Solution:
        """Solve for a batch, directly, one sample after the other.

        Returns:
            ``potential``, relative residuals in the H⁻¹ norm, and ``compatibility``:
            the defect ∮ q ds - ∫ f dx of pure Neumann data, 0 for others.

        Raises:
            OpkitInputError: fields missing, of another shape or not finite; points that
                are not the closed boundary curve; incompatible Neumann data.
            NotConvergedError: rtol was not reached.
        """
        fields = self._checked(inputs)
        if self.refinement > 1 and len(fields["source"]):
            return self._solve_finer(inputs)
        batch = len(fields["source"])
        potential = np.zeros_like(fields["source"])
        error, defect = np.empty(batch), np.empty(batch)
        for i in range(batch):
            system, b, defect[i] = self._system(fields, i)
            u = system.solve(b)
            error[i] = system.residual(u, b)
            if not error[i] <= self.rtol:
                raise NotConvergedError(
                    f"relative residual {error[i]:.1e}, above rtol {self.rtol:.1e}",
                    sample=i,
                )
            potential[i][system.inside] = u
        return Solution(
            outputs={"potential": potential},
            error=error,
            measure="relative residual (H-1)",
            details={"compatibility": defect},
        )

    def residual(self, inputs: Fields, outputs: Fields) -> NDArray[np.float64]:
        """Relative residual |b - K u| / |b| in the H⁻¹ norm, per sample.

        It is the error's energy norm relative to the solution's. Values outside Ω, and
        for pure Neumann data the mean, do not count. With ``refinement`` it is the
        energy norm of the distance from the restricted solution, relative to it.
        """
        fields = self._checked(inputs)
        potential = checked_field(outputs, "potential", self.resolution)
        check_counts(source=fields["source"], potential=potential)
        error = np.empty(len(potential))
        for i, u in enumerate(potential):
            system, b, _ = self._system(fields, i)
            if self.refinement > 1:
                one = {name: field[i : i + 1] for name, field in fields.items()}
                v = self._solve_finer(one).outputs["potential"][0][system.inside]
                b = system.matrix @ v
            error[i] = system.residual(u[system.inside], b)
        return error

    def _solve_finer(self, inputs: Fields) -> Solution:
        fields, r = self._checked(inputs), self.refinement
        n = self.resolution[0] * r
        blocks = {k: fields[k].repeat(r, 1).repeat(r, 2) for k in ("source", "inside")}
        value = fields["boundary_value"]
        s = np.arange(value.shape[1] * r)
        middles = np.arange(value.shape[1]) * r + (r - 1) / 2
        finer = []
        for i, inside in enumerate(blocks["inside"]):
            start = curve_of(_inside(fields["inside"][i]), *self._places(fields, i))
            first = trace(_inside(fields["inside"][i]))
            same = (start.row == first.row[0]) & (start.column == first.column[0])
            shift = int(np.flatnonzero(same & (start.side == first.side[0]))[0])
            g = np.roll(value[i], -shift)
            kind = np.roll(fields["boundary_kind"][i], -shift)
            fine = np.zeros(len(s))
            for own in np.unique(kind):  # g and q are interpolated apart
                there, here = kind == own, kind.repeat(r) == own
                fine[here] = np.interp(s[here], middles[there], g[there], period=len(s))
            finer.append(
                {
                    **trace(_inside(inside)).places(n),
                    "boundary_value": fine,
                    "boundary_kind": kind.repeat(r),
                }
            )
        solver = with_parameters(self, resolution=(n, n), refinement=1)
        whole = {k: np.stack([one[k] for one in finer]) for k in finer[0]}
        solution = solver.solve({**blocks, **whole})
        coarse = solution.outputs["potential"].reshape(-1, n // r, r, n // r, r)
        middle = slice((r - 1) // 2, r // 2 + 1)
        potential = coarse[:, :, middle, :, middle].mean((2, 4))
        return replace(solution, outputs={"potential": potential})

    @staticmethod
    def _places(fields: Mapping[str, Array], i: int) -> list[Array]:
        names = ("boundary_x", "boundary_y", "normal_x", "normal_y")
        return [np.asarray(fields[name][i], float) for name in names]

    def _system(self, fields: Fields, i: int) -> tuple[System, Array, float]:
        sample = {name: np.asarray(field[i], float) for name, field in fields.items()}
        value, neumann = sample["boundary_value"], _kinds(sample["boundary_kind"], i)
        try:
            inside = _inside(sample["inside"])
            places = ("boundary_x", "boundary_y", "normal_x", "normal_y")
            curve = curve_of(inside, *(sample[name] for name in places))
        except OpkitInputError as fault:
            raise OpkitInputError(f"sample {i}: {fault}") from None
        system = System(inside, curve, neumann)
        b, defect = system.right_side(sample["source"], value)
        h = system.h
        amount = h * np.abs(value).sum() + h**2 * np.abs(sample["source"][inside]).sum()
        if abs(defect) > self.compatibility * amount:
            raise OpkitInputError(
                f"sample {i}: pure Neumann data need ∮ q ds = ∫ f dx; they differ by "
                f"{defect:g}. Take {defect / (h * len(value)):g} off every boundary "
                "value, or give the potential on some face"
            )
        return system, b, defect

    def _checked(self, inputs: Fields) -> dict[str, Array]:
        grid, curve = tuple(self.resolution), (4 * self.resolution[0],)
        shapes = {"source": grid, "inside": grid, **dict.fromkeys(CURVE, curve)}
        fields = {n: checked_field(inputs, n, shape) for n, shape in shapes.items()}
        check_counts(**fields)
        return fields


def _inside(values: Array) -> Mask:
    inside = values > 0.5
    for row, column in np.argwhere(inside != values):
        raise OpkitInputError(
            f"inside is {values[row, column]:g} in cell ({row}, {column}), not 0 or 1"
        )
    return inside


def _kinds(values: Array, i: int) -> Mask:
    neumann = values > 0.5
    for k in np.flatnonzero(neumann != values):
        raise OpkitInputError(
            f"sample {i}: boundary_kind of face {k} is {values[k]:g}, not 0 "
            "(Dirichlet) or 1 (Neumann)"
        )
    return neumann
