"""A cantilever of varying stiffness that bends under its weight: linear elasticity.

    -∇·σ = (0, -g) in (0, L) x (0, 1),   σ = λ tr(ε) I + 2 μ ε,   ε = (∇u + ∇u^T) / 2,
    u = 0 at x = 0,   σ n = 0 elsewhere,   plane strain,

λ = E ν / ((1 + ν)(1 - 2ν)), μ = E / (2 (1 + ν)); E: Young's modulus, constant on each
cell; ν: Poisson's ratio; u: displacement on the nodes of Lagrange elements; all
nondimensional. Needs no FEniCSx: the elements are `opkit.elements`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse.linalg import splu

from opkit.base.arrays import Array, Indices
from opkit.base.mesh_groups import MeshGroups
from opkit.elements import mass
from opkit.errors import NotConvergedError
from opkit.solvers.fem.domains import Square
from opkit.solvers.fem.lagrange import lagrange_nodes
from opkit.solvers.fem.plane_elasticity import lame_of, stiffness_of
from opkit.solvers.fem.simplex_mesh import SimplexMesh, build
from opkit.solvers.inputs import check_counts, checked_field
from opkit.solvers.interface import (
    Coordinate,
    Fields,
    Sides,
    Solution,
    solver_dataclass,
)
from opkit.solvers.laws.permeability import LogNormal, TwoPhase

OUTPUTS = ("displacement_x", "displacement_y")


@solver_dataclass
class Cantilever:
    """Solver of plane linear elasticity on a cantilever, fields on (cell,) and (node,).

    Inputs: ``modulus`` (batch, cell) > 0. Outputs: ``displacement_x`` and
    ``displacement_y`` (batch, node).

    Args:
        resolution: squares over the height, of two triangles each; the first counts.
        distribution: law of the modulus, at the cells' centroids.
        length: L, in heights.
        poisson: ν below 1/2. Linear elements lock as it gets there: use degree 2.
        weight: g.
        degree: of the Lagrange elements, 1 or 2.
        rtol: largest relative residual, in the norm dual to the energy for E = 1.
    """

    resolution: Annotated[
        tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1, max_length=3)
    ]
    distribution: Annotated[TwoPhase | LogNormal, Field(discriminator="kind")] = (
        LogNormal()
    )
    length: Annotated[int, Field(ge=1, le=100)] = 4
    poisson: Annotated[float, Field(ge=0, lt=0.5)] = 0.3
    weight: float = 1.0
    degree: Annotated[int, Field(ge=1, le=2)] = 1
    rtol: Annotated[float, Field(ge=1e-14, lt=1)] = 1e-8

    def mesh(self) -> tuple[Array, Indices]:
        """Nodes (node, 2) and cells (cell, corner) of the displacement's elements."""
        return lagrange_nodes(_meshes(self.length, self.resolution[0])[0], self.degree)

    def dirichlet(self) -> tuple[NDArray[np.bool_], Array]:
        """Nodes on the clamped end (node,), and zeros (2, node)."""
        points = self.mesh()[0]
        return points[:, 0] == 0, np.zeros((2, len(points)))

    def hierarchy(self) -> tuple[tuple[Array, Indices], ...]:
        """Coarser meshes of degree 1 that nest in `mesh`, finest first."""
        meshes = _meshes(self.length, self.resolution[0])
        coarser = meshes if self.degree == 2 else meshes[1:]
        return tuple((mesh.points, mesh.cells) for mesh in coarser)

    def boundary_groups(self) -> MeshGroups:
        """The clamped end ``left``, and the ``others``."""
        mesh = _meshes(self.length, self.resolution[0])[0]
        clamped = (mesh.points[mesh.facets][:, :, 0] == 0).all(axis=1)
        parts = np.where(clamped, 0, 1)
        return MeshGroups(mesh.subdomains, mesh.facets, parts, ("left", "others"))

    def coordinates(self) -> Mapping[str, Coordinate]:
        """None: a mesh has no axes; `mesh` says where nodes and cells are."""
        return {}

    def sides(self) -> Sides:
        """Clamped at one end, free elsewhere."""
        return {
            "left": {"kind": "dirichlet", "value": 0.0},
            "others": {"kind": "neumann", "value": 0.0},
        }

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw one modulus (cell,); the length is scaled to 1."""
        points, cells = self.mesh()
        centres = points[cells[:, :3]].mean(axis=1) / self.length
        return {"modulus": self.distribution.draw_at(rng, centres)}

    def solve(self, inputs: Fields) -> Solution:
        """Solve for a batch, one sample after the other, by sparse LU.

        Raises:
            OpkitInputError: a modulus of another shape, or not positive and finite.
            NotConvergedError: the residual is above rtol.
        """
        modulus = self._modulus(inputs)
        system = _system(self.length, self.resolution[0], self.poisson, self.degree)
        u = np.zeros((len(modulus), len(OUTPUTS), len(system.points)))
        for i, E in enumerate(modulus):
            u[i] = system.solve(E, self.weight)
        outputs = {name: u[:, k] for k, name in enumerate(OUTPUTS)}
        error = self.residual(inputs, outputs)
        if (error > self.rtol).any():
            sample = int(np.argmax(error))
            raise NotConvergedError(
                f"relative residual {error[sample]:.1e}, above rtol {self.rtol:.1e}",
                sample=sample,
            )
        return Solution(outputs, error, "relative residual (dual of the energy)")

    def residual(self, inputs: Fields, outputs: Fields) -> NDArray[np.float64]:
        """Relative residual |b - A u| / |b| in the norm dual to the energy of E = 1."""
        modulus = self._modulus(inputs)
        system = _system(self.length, self.resolution[0], self.poisson, self.degree)
        nodes = (len(system.points),)
        fields = {name: checked_field(outputs, name, nodes) for name in OUTPUTS}
        check_counts(modulus=modulus, **fields)
        u = np.stack(list(fields.values()), axis=1)
        return np.array(
            [
                system.residual(E, v, self.weight)
                for E, v in zip(modulus, u, strict=True)
            ]
        )

    def _modulus(self, inputs: Fields) -> Array:
        cells = len(self.mesh()[1])
        return checked_field(inputs, "modulus", (cells,), positive=True)


class _System:
    """What is the same for all samples on one mesh."""

    def __init__(self, length: int, height: int, poisson: float, degree: int) -> None:
        mesh = _meshes(length, height)[0]
        self.points, self.cells = lagrange_nodes(mesh, degree)
        self.poisson = poisson
        nodes = len(self.points)
        self.free = np.flatnonzero(np.tile(self.points[:, 0] > 0, 2))
        load = np.asarray(mass(self.points, self.cells).sum(axis=1)).ravel()
        self.load = np.concatenate([np.zeros(nodes), -load])[self.free]
        self.unit = splu(self.matrix(np.ones(len(self.cells))))

    def matrix(self, modulus: Array) -> Any:
        """Stiffness matrix of the free nodes."""
        lame, shear = lame_of(1.0, self.poisson, plane_stress=False)
        whole = stiffness_of(self.points, self.cells, lame, shear, modulus)
        return whole[self.free][:, self.free].tocsc()

    def solve(self, modulus: Array, weight: float) -> Array:
        """Displacement (2, node)."""
        u = np.zeros(2 * len(self.points))
        u[self.free] = splu(self.matrix(modulus)).solve(weight * self.load)
        return u.reshape(2, -1)

    def residual(self, modulus: Array, u: Array, weight: float) -> float:
        """|b - A u| / |b|, |r|² = r^T A_1⁻¹ r with A_1 for E = 1."""
        b = weight * self.load
        r = b - self.matrix(modulus) @ u.ravel()[self.free]
        square = float(r @ self.unit.solve(r)) / (float(b @ self.unit.solve(b)) or 1.0)
        return float(np.sqrt(max(square, 0.0)))


@lru_cache(maxsize=4)
def _system(length: int, height: int, poisson: float, degree: int) -> _System:
    return _System(length, height, poisson, degree)


@lru_cache(maxsize=4)
def _meshes(length: int, height: int) -> tuple[SimplexMesh, ...]:
    """Unit squares side by side, each cut as `Square` cuts it; nested, finest first."""
    meshes = []
    for unit in Square().hierarchy(height):
        shift = np.array([1.0, 0.0])
        points = np.concatenate([unit.points + k * shift for k in range(length)])
        cells = np.concatenate(
            [unit.cells + k * len(unit.points) for k in range(length)]
        )
        grid = np.round(points * height).astype(np.int64)
        _, first, number = np.unique(
            grid, axis=0, return_index=True, return_inverse=True
        )
        meshes.append(build(points[first], number[cells]))
    return tuple(meshes)
