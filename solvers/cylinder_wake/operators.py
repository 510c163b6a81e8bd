"""Matrices of incompressible flow on quadratic quadrilaterals, by dolfinx.

    L_i = ∫ φ_i,   K_ij = ∫ ∇φ_i·∇φ_j,   B^a_qi = ∫ ψ_q ∂φ_i/∂x_a,
    N(u)_i = ∫ φ_i (u·∇) u,   P_q = ∫ ψ_q,

φ: biquadratic shape functions of a velocity component; ψ: bilinear ones of the
pressure. The lumped masses: L by Simpson's rule on each cell, whose points are the
nodes. Matrices are assembled once per sample; N is a product of arrays at the
3 x 3 Gauss points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from opkit.base.arrays import Array, Indices
from opkit.solvers.fem.quads.fields import gauss, jacobians, shape_gradients, shapes
from opkit.solvers.fem.quads.grids import Quads
from opkit.solvers.fem.quads.space import QUADRATURE
from opkit.solvers.fem.stack import MPI, PETSc, basix_ufl, fem, fem_petsc, ufl
from opkit.solvers.fem.stack import mesh as dolfinx_mesh

Matrix = Any
"""A sparse matrix of scipy."""


class FlowForms:
    """The compiled forms on one topology; `assemble` moves the mesh.

    Args:
        cells: topology.
        points: (node, 2) of any sample, all different.
    """

    def __init__(self, cells: Quads, points: Array) -> None:
        self.cells = cells
        kind = "quadrilateral"
        vector = basix_ufl.element("Lagrange", kind, 2, shape=(2,))
        self._domain = dolfinx_mesh.create_mesh(
            MPI.COMM_SELF, cells.basix_cells, vector, np.ascontiguousarray(points)
        )
        self._order = np.asarray(self._domain.geometry.input_global_indices)
        V = fem.functionspace(self._domain, ("Lagrange", 2))
        Q = fem.functionspace(self._domain, ("Lagrange", 1))
        self._nodes = _inverse(cKDTree(points).query(_places(V))[1])
        corners = points[cells.vertices]
        self._vertices = _inverse(cKDTree(corners).query(_places(Q))[1])
        u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
        p, q = ufl.TrialFunction(Q), ufl.TestFunction(Q)
        dx = ufl.dx(degree=QUADRATURE, domain=self._domain)
        self._forms = [
            fem.form(form * dx)
            for form in (
                ufl.inner(ufl.grad(u), ufl.grad(v)),
                q * u.dx(0),
                q * u.dx(1),
                p * q,
            )
        ]

    def assemble(self, points: Array) -> FlowMatrices:
        """Matrices of a sample with these nodes (node, 2)."""
        self._domain.geometry.x[:, :2] = points[self._order]
        K, Bx, By, P = (self._matrix(form) for form in self._forms)
        i, a = self._nodes, self._vertices
        return FlowMatrices(
            self.cells,
            points,
            K[i][:, i],
            (Bx[a][:, i], By[a][:, i]),
            np.asarray(P[a].sum(axis=1)).ravel(),
        )

    @staticmethod
    def _matrix(form: Any) -> Matrix:
        matrix = fem_petsc.assemble_matrix(form)
        matrix.assemble()
        rows, columns, values = matrix.getValuesCSR()
        shape = matrix.getSize()
        matrix.destroy()
        return sparse.csr_array((values, columns, rows), shape=shape)


@dataclass(frozen=True)
class Rows:
    """Sums of rows of K (node,) and Bᵀ (2, vertex)."""

    stiffness: Array
    gradient: Array


class FlowMatrices:
    """Matrices of one sample, in the order of nodes and vertices of its topology.

    Args:
        cells: topology.
        points: (node, 2).
        stiffness: K.
        divergence: B of both components (vertex, node).
        pressure_mass: ∫ ψ (vertex,).
    """

    def __init__(
        self,
        cells: Quads,
        points: Array,
        stiffness: Matrix,
        divergence: tuple[Matrix, Matrix],
        pressure_mass: Array,
    ) -> None:
        self.stiffness = stiffness
        self._B, self.pressure_mass = divergence, pressure_mass
        self._Bt = tuple(b.T.tocsr() for b in divergence)
        lattice, count = cells.lattice, len(points)
        line = np.array([0.0, 0.5, 1.0])
        nodes = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
        simpson = np.outer([1, 4, 1], [1, 4, 1]).ravel() / 36
        area = np.linalg.det(jacobians(cells, points, nodes)) * simpson
        self.lumped = np.bincount(lattice.ravel(), area.ravel(), count)
        q, weights = gauss(3)
        J = jacobians(cells, points, q)
        self._inverse = np.linalg.inv(J).transpose(2, 3, 1, 0)  # (k, x, q, cell)
        self._weighted = self._inverse * (np.linalg.det(J) * weights).T
        self._shapes, self._slopes = shapes(q), shape_gradients(q).transpose(2, 0, 1)
        self._lattice = np.ascontiguousarray(lattice.T)
        self._gather = sparse.csr_array(
            (np.ones(lattice.size), (self._lattice.ravel(), np.arange(lattice.size))),
            shape=(count, lattice.size),
        )

    def convection(self, u: Array) -> Array:
        """N(u) (node, 2)."""
        local = u.T[:, self._lattice]  # (2, 9, cell)
        x, y = self._shapes @ local
        product = np.zeros(local.shape)
        for (wx, wy), slopes in zip(self._weighted, self._slopes, strict=True):
            product += (wx * x + wy * y) * (slopes @ local)
        tested = self._shapes.T @ product
        return np.stack([self._gather @ part.ravel() for part in tested], axis=1)

    def rate(self, u: Array) -> float:
        """Largest speed in cells per unit of time, sum of both directions."""
        at = self._shapes @ u.T[:, self._lattice]
        speed = np.einsum("kxqc,xqc->kqc", self._inverse, at)
        return float(np.abs(speed).sum(axis=0).max())

    def divergence(self, u: Array) -> Array:
        """B u (vertex,) of a velocity (node, 2)."""
        result: Array = self._B[0] @ u[:, 0] + self._B[1] @ u[:, 1]
        return result

    def gradient(self, p: Array) -> Array:
        """Bᵀ p (node, 2) of a pressure (vertex,)."""
        return np.stack([b @ p for b in self._Bt], axis=1)

    def rows(self, nodes: Indices) -> Rows:
        """Sums of the rows of some nodes."""
        one = np.zeros(len(self.lumped))
        one[nodes] = 1.0
        return Rows(
            self.stiffness @ one,
            np.stack([b @ one for b in self._B]),
        )

    def projection(self, free: Array) -> Matrix:
        """B L⁻¹ Bᵀ over the free nodes (node,), 1 or 0."""
        scale = sparse.diags_array(free / self.lumped)
        return sum(b @ scale @ t for b, t in zip(self._B, self._Bt, strict=True))


class Factorised:
    """L Lᵀ of a symmetric positive definite matrix, by PETSc in nested dissection.

    Thousands of small solves follow: MUMPS takes three times as long for each.
    """

    def __init__(self, matrix: Matrix) -> None:
        csr = sparse.csr_array(matrix)
        csr.sort_indices()
        index = PETSc.IntType
        parts = (csr.indptr.astype(index), csr.indices.astype(index), csr.data)
        self._matrix = PETSc.Mat().createAIJ(csr.shape, csr=parts, comm=MPI.COMM_SELF)
        self._matrix.setOption(PETSc.Mat.Option.SPD, True)
        self._solver = PETSc.KSP().create(MPI.COMM_SELF)
        self._solver.setOperators(self._matrix)
        self._solver.setType(PETSc.KSP.Type.PREONLY)
        conditioner = self._solver.getPC()
        conditioner.setType(PETSc.PC.Type.CHOLESKY)
        conditioner.setFactorSolverType("petsc")
        conditioner.setFactorOrdering("nd")
        self._solver.setUp()
        self._x, self._b = self._matrix.createVecs()

    def solve(self, b: Array) -> Array:
        """Solve for right-hand sides (n,) or (n, columns)."""
        if b.ndim == 2:
            return np.stack([self.solve(column) for column in b.T], axis=1)
        self._b.array[:] = b
        self._solver.solve(self._b, self._x)
        x: Array = self._x.array.copy()
        return x


def _places(space: Any) -> Array:
    places: Array = space.tabulate_dof_coordinates()[:, :2]
    return places


def _inverse(order: Indices) -> Indices:
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order))
    return inverse
