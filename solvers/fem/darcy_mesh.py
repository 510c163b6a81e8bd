"""Darcy flow and Poisson's equation on unstructured meshes by finite elements.

    -∇·(a ∇p) = f in Ω,   p = g on Dirichlet parts,   a ∂p/∂n = q on Neumann parts,

a: permeability, constant on each cell; p: pressure on the nodes of Lagrange elements of
degree 1 or 2; f, g, q constants; all nondimensional. With FEniCSx (extra ``fem``).
Method and accuracy: docs/solvers-darcy-mesh.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from opkit.base.arrays import Array, Indices
from opkit.base.mesh_groups import MeshGroups
from opkit.base.records import Positive, Record
from opkit.errors import NotConvergedError, OpkitInputError
from opkit.solvers.fem.boundary import Condition, check_conditions
from opkit.solvers.fem.domains import Domain, LShape, MeshFile
from opkit.solvers.fem.lagrange import facet_nodes, lagrange_nodes
from opkit.solvers.fem.simplex_mesh import SimplexMesh
from opkit.solvers.fem.stored_mesh import StoredMesh
from opkit.solvers.inputs import check_counts, checked_field
from opkit.solvers.interface import (
    Coordinate,
    Fields,
    Solution,
    solver_dataclass,
    with_parameters,
)
from opkit.solvers.laws.permeability import LogNormal, TwoPhase

if TYPE_CHECKING:
    from opkit.solvers.fem.poisson import LinearSolver, Poisson


class Subdomains(Record):
    """One permeability for each subdomain of the mesh, log-uniform in [low, high]."""

    kind: Literal["subdomains"] = "subdomains"
    low: Positive = 1.0
    high: Positive = 100.0

    @model_validator(mode="after")
    def _ordered(self) -> Subdomains:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}: swap them")
        return self


Law = Annotated[TwoPhase | LogNormal | Subdomains, Field(discriminator="kind")]


@solver_dataclass
class DarcyMesh:
    """Solver of -∇·(a ∇p) = f on a mesh, for fields on (cell,) and (node,).

    Inputs: ``permeability`` (batch, cell) > 0. Outputs: ``pressure`` (batch, node).

    Args:
        resolution: cells along the domain's longest extent, at least; the first number
            counts, and a mesh from a file has its own.
        distribution: law of the permeability: `TwoPhase` and `LogNormal` take a
            Gaussian field at the cells' centroids (the domain's longest extent scaled
            to 1), the same for a seed on every mesh; `Subdomains` one value each.
        domain: `Square`, `LShape`, `NotchedTriangle` or `MeshFile`.
        boundary: a condition for each named part of the domain's boundary.
        degree: of the Lagrange elements, 1 or 2.
        forcing: f, constant.
        rtol: largest relative residual in the discrete H⁻¹ norm.
        linear_solver: ``direct``, ``iterative``, or ``auto`` by size.
        max_iterations: of the iterative solver.
        parallel: share one mesh between all ranks of ``mpirun`` (every rank passes the
            same inputs and gets the whole solution).
    """

    resolution: Annotated[
        tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1, max_length=3)
    ]
    distribution: Law = Subdomains()
    domain: Domain = LShape()
    boundary: dict[str, Condition]
    degree: Annotated[int, Field(ge=1, le=2)] = 1
    forcing: float = 1.0
    rtol: Annotated[float, Field(ge=1e-12, lt=1)] = 1e-8
    linear_solver: Literal["auto", "direct", "iterative"] = "auto"
    max_iterations: Annotated[int, Field(ge=1)] = 500
    parallel: bool = False

    def simplex_mesh(self) -> SimplexMesh:
        """The mesh with its subdomains and named boundary parts."""
        return _mesh(self.domain, self.resolution[0], self.domain.content())

    def mesh(self) -> tuple[Array, Indices]:
        """Nodes (node, d) and cells (cell, corner) of the pressure's elements."""
        return lagrange_nodes(self.simplex_mesh(), self.degree)

    def mesh_groups(self) -> MeshGroups | None:
        """Subdomains and boundary parts; None of a domain that is no file."""
        return self.boundary_groups() if isinstance(self.domain, MeshFile) else None

    def boundary_groups(self) -> MeshGroups:
        """Subdomains and boundary parts of any domain."""
        mesh = self.simplex_mesh()
        return MeshGroups(mesh.subdomains, mesh.facets, mesh.parts, mesh.names)

    def on_mesh(self, points: Array, cells: Indices, groups: MeshGroups) -> DarcyMesh:
        """Return the solver on a stored mesh, as `mesh` and `mesh_groups` gave it.

        Raises:
            OpkitInputError: the case's domain is not a mesh from a file.
            MeshError: the arrays are no such mesh.
        """
        if not isinstance(self.domain, MeshFile):
            raise OpkitInputError(f"a {self.domain.kind} takes no mesh from a file")
        stored = StoredMesh.of(self.domain, points, cells, groups)
        return with_parameters(self, domain=stored)

    def title(self) -> str:
        """Name the problem and its domain."""
        return f"Darcy flow on {self.domain.words[0]}"

    def equation(self) -> str:
        """State the PDE, its domain and the conditions on each part of the boundary."""
        names: dict[str, list[str]] = {}
        for name, condition in self.boundary.items():
            left = "p" if condition.kind == "dirichlet" else "a ∂p/∂n"
            names.setdefault(f"{left} = {condition.value:g}", []).append(name)
        conditions = [
            f"{text} on {'the boundary' if len(names) == 1 else ' and '.join(parts)}"
            for text, parts in names.items()
        ]
        return ", ".join([f"-∇·(a ∇p) = f in {self.domain.words[1]}", *conditions])

    def sides(self) -> Mapping[str, Mapping[str, str | float]]:
        """The condition on each named part of the boundary."""
        return {
            name: condition.model_dump() for name, condition in self.boundary.items()
        }

    def part_sizes(self) -> Mapping[str, float]:
        """Length, or area in space, of each named part of the boundary."""
        return self.simplex_mesh().part_sizes()

    def dirichlet(self) -> tuple[NDArray[np.bool_], Array]:
        """Nodes whose pressure is given (node,), and the values there (1, node).

        Where parts with different values meet it is the mean of these, as in `solve`.
        """
        mesh = self.simplex_mesh()
        check_conditions(mesh, self.boundary)
        nodes = len(self.mesh()[0])
        counts, values = np.zeros(nodes), np.zeros((1, nodes))
        for part, name in enumerate(mesh.names):
            if self.boundary[name].kind == "dirichlet":
                on = facet_nodes(mesh, mesh.facets[mesh.parts == part], self.degree)
                counts[on] += 1
                values[0, on] += self.boundary[name].value
        return counts > 0, values / np.maximum(counts, 1)

    def hierarchy(self) -> tuple[tuple[Array, Indices], ...]:
        """Coarser meshes of degree 1 that nest in `mesh`, finest first.

        For degree 2 the first has the same cells and linear elements. Empty where a
        mesh from a file was not refined.
        """
        meshes = self.domain.hierarchy(self.resolution[0])
        coarser = meshes if self.degree == 2 else meshes[1:]
        return tuple((mesh.points, mesh.cells) for mesh in coarser)

    def coordinates(self) -> Mapping[str, Coordinate]:
        """None: a mesh has no axes; `mesh` says where nodes and cells are."""
        return {}

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw one permeability (cell,)."""
        mesh, law = self.simplex_mesh(), self.distribution
        if isinstance(law, Subdomains):
            numbers, which = np.unique(mesh.subdomains, return_inverse=True)
            exponent = rng.uniform(np.log(law.low), np.log(law.high), len(numbers))
            return {"permeability": np.exp(exponent)[which]}
        points = (mesh.centroids() - mesh.points.min(axis=0)) / mesh.size
        return {"permeability": law.draw_at(rng, points)}

    def solve(self, inputs: Fields) -> Solution:
        """Solve for a batch, one sample after the other on one mesh.

        Returns:
            ``pressure``, relative residuals in the H⁻¹ norm, and ``iterations``.

        Raises:
            OpkitInputError: permeability not positive and finite, or of another shape;
                boundary conditions that do not fit the mesh.
            NotConvergedError: PETSc gave up, or rtol was not reached.
            MissingExtraError: FEniCSx is not installed.
        """
        permeability = self._permeability(inputs)
        poisson = self._poisson()
        pressure = np.empty((len(permeability), len(poisson.nodes)))
        error = np.empty(len(permeability))
        iterations = np.empty(len(permeability))
        for i, a in enumerate(permeability):
            pressure[i], iterations[i], converged = poisson.solve(a)
            error[i] = poisson.residual(a, pressure[i])
            if not (converged and error[i] <= self.rtol):
                raise NotConvergedError(
                    f"relative residual {error[i]:.1e}, above rtol {self.rtol:.1e}, in "
                    f"{iterations[i]:.0f} iterations; permeability {a.min():.1e} to "
                    f"{a.max():.1e}",
                    sample=i,
                )
        return Solution(
            outputs={"pressure": pressure},
            error=error,
            measure="relative residual (H-1)",
            details={"iterations": iterations},
        )

    def residual(self, inputs: Fields, outputs: Fields) -> NDArray[np.float64]:
        """Relative residual |b - A p| / |b| in the discrete H⁻¹ norm, per sample.

        The given boundary values are put into p first.
        """
        permeability = self._permeability(inputs)
        poisson = self._poisson()
        pressure = checked_field(outputs, "pressure", (len(poisson.nodes),))
        check_counts(permeability=permeability, pressure=pressure)
        pairs = zip(permeability, pressure, strict=True)
        return np.array([poisson.residual(a, p) for a, p in pairs])

    def _poisson(self) -> Poisson:
        conditions = tuple(sorted(self.boundary.items()))
        key = (self.domain, self.resolution[0], conditions, self.degree, self.forcing)
        numerics = (self.linear_solver, self.rtol, self.max_iterations, self.parallel)
        return _poisson(self.domain.content(), *key, *numerics)

    def _permeability(self, inputs: Fields) -> Array:
        mesh = self.simplex_mesh()
        check_conditions(mesh, self.boundary)
        cells = (len(mesh.cells),)
        return checked_field(inputs, "permeability", cells, positive=True)


@lru_cache(maxsize=4)
def _mesh(domain: Domain, cells: int, content: str) -> SimplexMesh:
    return domain.mesh(cells)


@lru_cache(maxsize=2)
def _poisson(
    content: str,
    domain: Domain,
    cells: int,
    conditions: tuple[tuple[str, Condition], ...],
    degree: int,
    forcing: float,
    linear_solver: LinearSolver,
    rtol: float,
    max_iterations: int,
    parallel: bool,
) -> Poisson:
    from opkit.solvers.fem.poisson import Poisson
    from opkit.solvers.fem.stack import MPI

    communicator = MPI.COMM_WORLD if parallel else MPI.COMM_SELF
    mesh, by_part = _mesh(domain, cells, content), dict(conditions)
    numerics = (linear_solver, rtol, max_iterations, communicator)
    return Poisson(mesh, degree, by_part, forcing, *numerics)
