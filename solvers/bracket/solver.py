"""A bracket of varying shape under varying load: linear elasticity in space.

    ∇·σ = 0,   σ = λ tr(ε) I + 2 μ ε,   ε = (∇u + ∇uᵀ) / 2,
    u = 0 at the clamped end,   σ n = F / area at the loaded end,   σ n = 0 elsewhere,

F: load; the shape: `bracket.shape`; lengths in mm, forces in N, stresses in MPa. The
edges of the clamped end are singular: von Mises stress there grows as the mesh is
refined. Method: `bracket.elasticity`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from opkit.base.arrays import Array, Indices
from opkit.base.mesh_groups import MeshGroups
from opkit.errors import NotConvergedError
from opkit.solvers.bracket.shape import LENGTHS, REFERENCE, BoxStrip, place
from opkit.solvers.fem.quads.grids import lagrange_matrix
from opkit.solvers.fem.simplex_mesh import boundary_facets
from opkit.solvers.inputs import check_counts, checked_field
from opkit.solvers.interface import (
    Coordinate,
    Fields,
    Sides,
    Solution,
    solver_dataclass,
    with_parameters,
)

if TYPE_CHECKING:
    from opkit.solvers.bracket.elasticity import Elasticity

DISPLACEMENT = ("displacement_x", "displacement_y", "displacement_z")
_Boxes = tuple[
    Annotated[int, Field(ge=9, le=900, multiple_of=9)],
    Annotated[int, Field(ge=1, le=100)],
    Annotated[int, Field(ge=1, le=100)],
]


@solver_dataclass
class Bracket3D:
    """Solver of the bracket, fields on (node,).

    Parameters of a sample: ``length``, ``height``, ``leg``, ``arm``, ``width`` and
    ``fillet`` in mm, ``taper``, and ``load`` (3,) in N. Outputs (batch, node):
    ``displacement_x``, ``displacement_y``, ``displacement_z`` in mm, ``von_mises`` in
    MPa.

    Args:
        resolution: boxes along (a multiple of 9), across and wide, of six tetrahedra.
        young: E in MPa.
        poisson: ν below 1/2; quadratic elements bear 0.49.
        cells: boxes on which the equations are solved where these are not
            ``resolution``; fields are then interpolated to its nodes, by degree 2.
        rtol: largest relative residual, in the norm dual to the energy of a bracket of
            medium shape.
    """

    resolution: _Boxes = (36, 4, 6)
    young: Annotated[float, Field(gt=0)] = 2.1e5
    poisson: Annotated[float, Field(ge=0, le=0.49)] = 0.3
    cells: _Boxes | None = None
    rtol: Annotated[float, Field(ge=1e-16, lt=1)] = 1e-8

    @property
    def strip(self) -> BoxStrip:
        """Numbering of nodes and cells."""
        return BoxStrip(*self.resolution)

    def parameters(self) -> Mapping[str, tuple[int, ...]]:
        """Numbers of a sample: ten."""
        return {**dict.fromkeys(LENGTHS, ()), "load": (3,)}

    def mesh(self) -> tuple[Array, Indices]:
        """Nodes (node, 3) of a bracket of medium shape, and cells (cell, 10)."""
        return place(self.strip, REFERENCE), self.strip.cells

    def boundary_groups(self) -> MeshGroups:
        """The ``clamped`` end, the ``loaded`` one, and the ``others``."""
        cells = self.strip.cells[:, :4]
        facets = boundary_facets(cells)
        parts = np.full(len(facets), 2)
        for number, last in enumerate((False, True)):
            parts[np.isin(facets, self.strip.end(last)).all(axis=1)] = number
        names = ("clamped", "loaded", "others")
        return MeshGroups(np.zeros(len(cells), np.int64), facets, parts, names)

    def sides(self) -> Sides:
        """Clamped at one end, loaded at the other, free elsewhere."""
        return {
            "clamped": {"kind": "dirichlet", "value": 0.0},
            "loaded": {"kind": "neumann", "value": "input"},
            "others": {"kind": "neumann", "value": 0.0},
        }

    def coordinates(self) -> Mapping[str, Coordinate]:
        """None: a mesh has no axes; `mesh` and `points` say where nodes are."""
        return {}

    def sample(self, rng: np.random.Generator) -> Fields:
        """Nothing: all inputs are parameters, which the case draws."""
        return {}

    def points(self, inputs: Fields) -> Array:
        """Nodes (batch, node, 3) of each sample.

        Raises:
            OpkitInputError: a length that is missing or not positive; an inverted cell.
        """
        return self._points(self.strip, self._lengths(inputs))

    def solve(self, inputs: Fields) -> Solution:
        """Solve for a batch, one sample after the other, by Cholesky (MUMPS).

        Raises:
            OpkitInputError: a number that is missing or out of range; an inverted cell.
            NotConvergedError: the residual is above rtol.
            SolverError: MUMPS gave up.
            MissingExtraError: FEniCSx is not installed.
        """
        from opkit.solvers.bracket.elasticity import traction, von_mises

        lengths, load = self._checked(inputs)
        strip = self.strip if self.cells is None else BoxStrip(*self.cells)
        equations, reference = self._equations(strip)
        fields = np.empty((len(load), 4, self.strip.nodes))
        error = np.empty(len(load))
        for i, points in enumerate(self._points(strip, lengths)):
            right = traction(points, strip.loaded)[:, None] * load[i]
            values = equations.values(points)
            u = equations.solve(values, np.zeros_like(points), right)
            error[i] = _relative(right - equations.force(values, u), right, reference)
            if not error[i] <= self.rtol:
                raise NotConvergedError(
                    f"relative residual {error[i]:.1e}, above rtol {self.rtol:.1e}",
                    sample=i,
                )
            stress = von_mises(equations.stress(points, u))
            fields[i] = self._prolong(strip, np.column_stack([u, stress]).T)
        outputs = {name: fields[:, k] for k, name in enumerate(DISPLACEMENT)}
        outputs["von_mises"] = fields[:, 3]
        return Solution(outputs, error, "relative residual (dual of the energy)")

    def residual(self, inputs: Fields, outputs: Fields) -> NDArray[np.float64]:
        """Relative residual |b - K u| / |b| of the displacement, on ``resolution``.

        |r|² = rᵀ K₀⁻¹ r with K₀ of a bracket of medium shape; the displacement of the
        clamped end is put to zero first. The von Mises stress is not looked at.
        """
        from opkit.solvers.bracket.elasticity import traction

        load, u = self._checked(inputs)[1], self._displacement(outputs)
        check_counts(load=load, displacement=u)
        equations, reference = self._equations(self.strip)
        residuals = []
        for i, points in enumerate(self.points(inputs)):
            right = traction(points, self.strip.loaded)[:, None] * load[i]
            moved = np.where(equations.free, u[i], 0.0)
            left = right - equations.force(equations.values(points), moved)
            residuals.append(_relative(left, right, reference))
        return np.array(residuals)

    def reaction(self, inputs: Fields, outputs: Fields) -> Array:
        """Force (batch, 3) of the clamped end on the bracket: the load, reversed."""
        u = self._displacement(outputs)
        equations, _ = self._equations(self.strip)
        clamped = self.strip.end(False)
        forces = [
            equations.force(equations.values(points), moved)[clamped].sum(axis=0)
            for points, moved in zip(self.points(inputs), u, strict=True)
        ]
        return np.array(forces)

    def cheaper(self) -> Sequence[tuple[str, Bracket3D]]:
        """The same on fewer cells, prolonged to the same nodes; dearest first."""
        rungs: dict[tuple[int, int, int], Bracket3D] = {}
        for share in (3 / 4, 1 / 2, 1 / 4):
            along, *others = (round(share * n) for n in self.resolution)
            across, wide = (max(1, n) for n in others)
            boxes = (max(9, 9 * round(along / 9)), across, wide)
            if boxes != self.resolution:
                rungs[boxes] = with_parameters(self, cells=boxes)
        return [(f"{n} x {m} x {l} boxes", s) for (n, m, l), s in rungs.items()]

    def _lengths(self, inputs: Fields) -> Mapping[str, Array]:
        lengths = {name: checked_field(inputs, name, (), True) for name in LENGTHS}
        check_counts(**lengths)
        return lengths

    def _checked(self, inputs: Fields) -> tuple[Mapping[str, Array], Array]:
        lengths, load = self._lengths(inputs), checked_field(inputs, "load", (3,))
        check_counts(length=lengths["length"], load=load)
        return lengths, load

    def _points(self, strip: BoxStrip, lengths: Mapping[str, Array]) -> Array:
        rows = zip(*(lengths[name] for name in LENGTHS), strict=True)
        placed = [
            place(strip, dict(zip(LENGTHS, map(float, row), strict=True)), i)
            for i, row in enumerate(rows)
        ]
        return np.array(placed).reshape(len(placed), strip.nodes, 3)

    def _displacement(self, outputs: Fields) -> Array:
        nodes = (self.strip.nodes,)
        fields = {name: checked_field(outputs, name, nodes) for name in DISPLACEMENT}
        check_counts(**fields)
        return np.stack(list(fields.values()), axis=-1)

    def _prolong(self, strip: BoxStrip, values: Array) -> Array:
        """Values (field, node) of a strip at the nodes of ``resolution``."""
        if strip == self.strip:
            return values
        grid = values.reshape(-1, *strip.shape)
        own = (strip.along, strip.across, strip.wide)
        for axis, (cells, target) in enumerate(zip(own, self.resolution, strict=True)):
            matrix = lagrange_matrix(cells, 2, 2 * target, False)
            grid = np.moveaxis(np.tensordot(matrix, grid, (1, axis + 1)), 0, axis + 1)
        return grid.reshape(len(values), -1)

    def _equations(self, strip: BoxStrip) -> tuple[Elasticity, Elasticity]:
        return _equations(strip, self.young, self.poisson)


def _relative(left: Array, right: Array, reference: Elasticity) -> float:
    return reference.norm(left) / (reference.norm(right) or 1.0)


@lru_cache(maxsize=4)
def _equations(
    strip: BoxStrip, young: float, poisson: float
) -> tuple[Elasticity, Elasticity]:
    """Equations for samples, and those of the medium shape, factorised for norms."""
    from opkit.solvers.bracket.elasticity import Elasticity

    material = (strip.end(False), young, poisson)
    equations, reference = (
        Elasticity(strip.cells, strip.nodes, *material) for _ in range(2)
    )
    points = place(strip, REFERENCE)
    zero = np.zeros_like(points)
    reference.solve(reference.values(points), zero, zero)
    return equations, reference
