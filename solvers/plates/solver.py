"""Plates with random holes under random loads: linear elasticity in plane stress.

    -∇·σ = 0 in the plate,   σ = λ tr(ε) I + 2 μ ε,   ε = (∇u + ∇uᵀ) / 2,
    u = 0 at the left side,   σ n = t at the right side,   σ n = 0 elsewhere,

λ = E ν / (1 - ν²), μ = E / (2 (1 + ν)); u: displacement, t: traction of a sample; all
nondimensional. Each sample has its own number of holes, and its own mesh of triangles
of degree 2 with straight edges. The ends of the clamped side are singular: stress there
grows as the mesh is refined. Needs no FEniCSx.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.sparse.linalg import splu

from opkit.base.arrays import Array, Indices
from opkit.base.records import Record
from opkit.elements.surfaces import Facets
from opkit.errors import NotConvergedError, OpkitInputError, SolverError
from opkit.solvers.fem.lagrange import lagrange_nodes
from opkit.solvers.fem.plane_elasticity import (
    lame_of,
    nodal_stress,
    stiffness_of,
    von_mises,
)
from opkit.solvers.fem.simplex_mesh import SimplexMesh
from opkit.solvers.inputs import checked_field
from opkit.solvers.interface import (
    CELLS,
    FACET_PART,
    FACETS,
    POINTS,
    Coordinate,
    Fields,
    MeshKind,
    Sides,
    Solution,
    solver_dataclass,
)
from opkit.solvers.plates.mesher import Plate, mesh_plate

PARTS = ("edges", "holes", "left", "right")
DISPLACEMENT = ("displacement_x", "displacement_y")
DRAWS = 10_000
"""Holes that are tried before a plate is said to have no room."""


class Holes(Record):
    """The law of the holes: how many, how large, how far apart.

    Args:
        fewest: holes of a plate.
        most: holes of a plate.
        radius: smallest and largest, evenly distributed, of the plate's height.
        gap: least distance between holes, and from the sides.
    """

    fewest: Annotated[int, Field(ge=1, le=20)] = 1
    most: Annotated[int, Field(ge=1, le=20)] = 4
    radius: tuple[float, float] = (0.06, 0.2)
    gap: Annotated[float, Field(gt=0)] = 0.08

    @model_validator(mode="after")
    def _ordered(self) -> Holes:
        if self.fewest > self.most:
            raise ValueError(f"fewest {self.fewest} is above most {self.most}")
        if not 0 < self.radius[0] <= self.radius[1]:
            raise ValueError("radius: give the smallest and the largest, above 0")
        return self


@solver_dataclass
class HoledPlate:
    """Solver of plane stress on plates with holes; a mesh per sample.

    A sample has the numbers ``traction`` (2,). Outputs on (node,): ``displacement_x``,
    ``displacement_y``, ``von_mises`` (the mean of the cells at a node, by area).

    Args:
        resolution: triangles over the height, far from holes; the first counts.
        distribution: law of the holes.
        length: of the plate, in heights.
        young: E.
        poisson: ν.
        around: fewest edges around a hole.
        rtol: largest relative residual, in the norm dual to the energy.
    """

    resolution: Annotated[
        tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=1, max_length=2)
    ]
    distribution: Holes = Holes()
    length: Annotated[float, Field(gt=0, le=20)] = 2.0
    young: Annotated[float, Field(gt=0)] = 1.0
    poisson: Annotated[float, Field(ge=0, lt=0.5)] = 0.3
    around: Annotated[int, Field(ge=6, le=400)] = 16
    rtol: Annotated[float, Field(ge=1e-14, lt=1)] = 1e-8

    def mesh_kind(self) -> MeshKind:
        """Triangles of degree 2; sides, and the edges of the holes."""
        return MeshKind(2, 6, PARTS, ((0.0, 0.0), (self.length, 1.0)))

    def parameters(self) -> Mapping[str, tuple[int, ...]]:
        """Numbers of a sample: the traction at the right side."""
        return {"traction": (2,)}

    def coordinates(self) -> Mapping[str, Coordinate]:
        """None: each sample has a mesh."""
        return {}

    def sides(self) -> Sides:
        """Clamped on the left, pulled on the right, free elsewhere."""
        return {
            "left": {"kind": "dirichlet", "value": 0.0},
            "right": {"kind": "neumann", "value": "input"},
            "edges": {"kind": "neumann", "value": 0.0},
            "holes": {"kind": "neumann", "value": 0.0},
        }

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw holes that keep their distance, and mesh the plate.

        Raises:
            SolverError: there is no room for the holes, or no sound mesh.
        """
        plate = self.plate(*self._holes(rng))
        return self.arrays(mesh_plate(plate))

    def plate(self, centres: Array, radii: Array) -> Plate:
        """Return the plate with such holes, as it is to be meshed."""
        size = 1.0 / self.resolution[0]
        return Plate(self.length, 1.0, centres, radii, size, self.around)

    def arrays(self, mesh: SimplexMesh) -> Fields:
        """Return a mesh of triangles as the inputs that it is."""
        if mesh.names != PARTS:
            raise OpkitInputError(
                f"the mesh has the parts {', '.join(mesh.names)}: give "
                f"{', '.join(PARTS)}"
            )
        points, cells = lagrange_nodes(mesh, 2)
        arrays: dict[str, Any] = {POINTS: points, CELLS: cells}
        return arrays | {FACETS: mesh.facets, FACET_PART: mesh.parts}

    def solve(self, inputs: Fields) -> Solution:
        """Solve for a batch of one, by sparse LU.

        Raises:
            OpkitInputError: a traction of another shape; no mesh.
            NotConvergedError: the residual is above rtol.
        """
        plate = self._equations(inputs)
        u = plate.solve()
        error = plate.residual(u)
        if not error <= self.rtol:
            raise NotConvergedError(
                f"HoledPlate: relative residual {error:.1e} (rtol {self.rtol:.1e})"
            )
        stress = von_mises(plate.stress(u))
        outputs = dict(zip(DISPLACEMENT, u[:, None], strict=True))
        return Solution(
            {**outputs, "von_mises": stress[None]},
            np.array([error]),
            "relative residual (dual of the energy)",
            {"nodes": np.array([float(u.shape[1])])},
        )

    def residual(self, inputs: Fields, outputs: Fields) -> NDArray[np.float64]:
        """Relative residual |b - K u| / |b|, |r|² = rᵀ K⁻¹ r, of the displacement.

        The displacement of the clamped side is put to zero first; the von Mises stress
        is not looked at.
        """
        plate = self._equations(inputs)
        nodes = (len(plate.points),)
        u = np.stack([checked_field(outputs, name, nodes)[0] for name in DISPLACEMENT])
        return np.array([plate.residual(u)])

    def _holes(self, rng: np.random.Generator) -> tuple[Array, Array]:
        law = self.distribution
        count = int(rng.integers(law.fewest, law.most + 1))
        centres: list[Array] = []
        radii: list[float] = []
        for _ in range(DRAWS):
            if len(radii) == count:
                return np.array(centres), np.array(radii)
            r = float(rng.uniform(*law.radius))
            ends = np.array([self.length, 1.0]) - r - law.gap
            x = rng.random(2)
            if (ends <= r + law.gap).any():
                continue
            centre = r + law.gap + x * (ends - r - law.gap)
            apart = (
                np.hypot(*(centre - c)) >= r + q + law.gap
                for c, q in zip(centres, radii, strict=True)
            )
            if all(apart):
                centres.append(centre)
                radii.append(r)
        raise SolverError(
            f"no room for {count} holes: make radius or gap smaller, or the plate "
            "longer"
        )

    def _equations(self, inputs: Fields) -> _Equations:
        traction = checked_field(inputs, "traction", (2,))
        arrays = [np.asarray(inputs.get(name, ())) for name in (POINTS, CELLS)]
        if any(a.ndim != 3 or len(a) != 1 for a in arrays) or len(traction) != 1:
            raise OpkitInputError(
                "HoledPlate solves one sample at a time: give points (1, node, 2), "
                "cells (1, cell, 6), facets (1, facet, 2) and facet_part (1, facet)"
            )
        points, cells = arrays[0][0], arrays[1][0]
        facets, part = np.asarray(inputs[FACETS])[0], np.asarray(inputs[FACET_PART])[0]
        lame = lame_of(self.young, self.poisson, plane_stress=True)
        return _Equations(points, cells, facets, part, lame, traction[0])


class _Equations:
    """The discrete equations of one plate."""

    def __init__(
        self,
        points: Array,
        cells: Indices,
        facets: Indices,
        part: Indices,
        lame: tuple[float, float],
        traction: Array,
    ) -> None:
        self.points, self.cells, self._lame = points, cells, lame
        left, right = (
            Facets(cells, facets[part == PARTS.index(name)], 2)
            for name in ("left", "right")
        )
        free = np.ones(len(points), bool)
        free[left.on_it] = False
        self.free = np.flatnonzero(np.tile(free, 2))
        self.load = np.concatenate(
            [t * right.on(points).load(len(points)) for t in traction]
        )
        whole = stiffness_of(points, cells, *lame, None)
        self._matrix = whole[self.free][:, self.free].tocsc()
        self._lu: Any = splu(self._matrix)

    def solve(self) -> Array:
        """Displacement (2, node)."""
        u = np.zeros(2 * len(self.points))
        u[self.free] = self._lu.solve(self.load[self.free])
        return u.reshape(2, -1)

    def residual(self, u: Array) -> float:
        """|b - K u| / |b|."""
        b = self.load[self.free]
        r = b - self._matrix @ u.ravel()[self.free]
        square = float(r @ self._lu.solve(r)) / (float(b @ self._lu.solve(b)) or 1.0)
        return float(np.sqrt(max(square, 0.0)))

    def stress(self, u: Array) -> Array:
        """Stress at nodes (node, 3): xx, yy, xy."""
        return nodal_stress(self.points, self.cells, u, *self._lame)
