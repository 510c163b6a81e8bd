"""Discrete Helmholtz equation between an obstacle and a circle, without FEniCSx.

    ∫ ∇u·∇v - k² u v dx - ∫_{r=R} (T u) v ds = ∫_Γ g v ds   for all v,
    T u = Σ_n k H_n'(kR) / H_n(kR) û_n e^{inθ},   û_n = 1/2π ∫ u e^{-inθ} dθ,

u: complex amplitude of a wave u e^{-iωt}; k: wave number; Γ: edge of the obstacle,
where u or its derivative g along the normal into the obstacle is given; H_n: Hankel
functions of the first kind. T is exact for outgoing waves, so the circle r = R reflects
nothing beyond the discretisation error (Keller, Givoli, J. Comput. Phys. 82, 1989).
Isoparametric Q2 elements on a periodic `QuadGrid`, whose rays are equal steps in θ; the
matrix is complex symmetric, dense only between the nodes of the circle.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from scipy import sparse, special
from scipy.sparse.linalg import splu

from opkit.base.arrays import Array, Complex, Indices
from opkit.errors import SolverError
from opkit.solvers.fem.quads.fields import gauss, jacobians, shape_gradients, shapes
from opkit.solvers.fem.quads.grids import QuadGrid


class Equations:
    """The equations of one obstacle and one wave number.

    Args:
        grid: periodic; the first direction runs from the obstacle to the circle.
        points: of the nodes (node, 2); the last row lies on a circle about 0.
        wave_number: k.
    """

    def __init__(self, grid: QuadGrid, points: Array, wave_number: float) -> None:
        self.grid, self.points, self.wave_number = grid, points, wave_number
        self.radius = float(np.hypot(*points[-1]))
        stiffness, mass = _cell_matrices(grid, points)
        circle = grid.edge("last")
        outgoing = dirichlet_to_neumann(len(circle), wave_number, self.radius)
        cells = (stiffness - wave_number**2 * mass).astype(np.complex128)
        self.matrix = _sparse(
            grid, [(cells, grid.lattice), (-outgoing[None], circle[None])]
        )

    def solve(self, edge_values: Complex | None, load: Complex) -> Complex:
        """Solve A u = b by sparse LU.

        Args:
            edge_values: u on the obstacle (around,); None where the slope is given.
            load: b (node,).

        Raises:
            SolverError: the matrix is singular to rounding.
        """
        u = np.zeros(len(self.points), dtype=np.complex128)
        free = self.free(edge_values is not None)
        if edge_values is not None:
            u[self.grid.edge("first")] = edge_values
        right = (load - self.matrix @ u)[free]
        matrix = self.matrix[free][:, free]
        try:
            # Symmetric ordering and pivots near the diagonal: a third of the time that
            # the defaults take, which are for matrices without symmetry.
            factor = splu(
                matrix,
                permc_spec="MMD_AT_PLUS_A",
                diag_pivot_thresh=0.01,
                options={"SymmetricMode": True},
            )
        except RuntimeError as error:
            raise SolverError(
                f"wave number {self.wave_number:.4g}: the matrix is singular"
            ) from error
        x = factor.solve(right)
        # One step of refinement makes up for the small pivots.
        u[free] = x + factor.solve(right - matrix @ x)
        return u

    def residual(self, u: Complex, edge_values: Complex | None, load: Complex) -> float:
        """|b - A u| / |b| in the norm dual to H¹ of the ring around a round obstacle.

        |r|² = r^H (K + M)⁻¹ r, K + M: stiffness and mass of the undeformed grid. Given
        values are put into u first; b is what they and the load leave to free nodes.
        """
        free, lifted = self.free(edge_values is not None), np.zeros_like(u)
        if edge_values is not None:
            edge = self.grid.edge("first")
            u = u.copy()
            u[edge] = lifted[edge] = edge_values
        right, left = (load - self.matrix @ v for v in (lifted, u))
        norm = _norm(self.grid, self.radius, edge_values is not None)
        parts = [np.stack([r.real, r.imag], axis=1)[free] for r in (left, right)]
        squares = [float(np.sum(r * norm.solve(r))) for r in parts]
        return float(np.sqrt(max(squares[0], 0.0) / (squares[1] or 1.0)))

    def free(self, fixed: bool) -> Indices:
        """Nodes with an equation: all, or all but those on the obstacle."""
        nodes: Indices = np.arange(len(self.points))
        return nodes[self.grid.shape[1] :] if fixed else nodes

    def flux(self, slope: Any) -> Complex:
        """∫_Γ (slope·n) φ_i ds for all nodes i (node,), n the normal into the obstacle.

        Args:
            slope: function from points (..., 2) to a complex gradient (..., 2).
        """
        edge = self.grid.edge("first")
        cells = np.stack([edge[::2], edge[1::2], np.roll(edge, -2)[::2]], axis=1)
        x, weights = np.polynomial.legendre.leggauss(4)
        t = (1 + x) / 2
        basis = np.stack([(1 - t) * (1 - 2 * t), 4 * t * (1 - t), t * (2 * t - 1)])
        turn = np.stack([4 * t - 3, 4 - 8 * t, 4 * t - 1])
        corner = self.points[cells]
        place = np.einsum("cnx,nq->cqx", corner, basis)
        along = np.einsum("cnx,nq->cqx", corner, turn)
        normal = np.stack([-along[..., 1], along[..., 0]], axis=-1)  # times ds
        density = (slope(place) * normal).sum(axis=-1) * weights / 2
        load = np.zeros(len(self.points), dtype=np.complex128)
        np.add.at(load, cells, np.einsum("cq,nq->cn", density, basis))
        return load


def dirichlet_to_neumann(nodes: int, wave_number: float, radius: float) -> Complex:
    """∫ (T φ_i) φ_j ds on a circle (node, node), φ quadratic on equal arcs.

    All waves around the circle that the nodes tell apart are in the sum.
    """
    arc = 4 * np.pi / nodes
    n = np.arange(-(nodes // 2) + 1, nodes // 2)
    x, weights = np.polynomial.legendre.leggauss(12)
    t = (1 + x) / 2
    basis = np.stack([(1 - t) * (1 - 2 * t), 4 * t * (1 - t), t * (2 * t - 1)])
    waves = np.exp(-1j * arc * np.outer(n, t)) * (arc * weights / 2)
    first, middle, last = basis @ waves.T
    corner = first + last * np.exp(1j * arc * n)
    number = np.arange(nodes)
    moments = np.where(number % 2 == 0, corner[:, None], middle[:, None])
    moments = moments * np.exp(-1j * arc * np.outer(n, number // 2))
    symbol = wave_number * logarithmic_derivative(nodes // 2, wave_number * radius)
    weight = symbol[np.abs(n)] * radius / (2 * np.pi)
    matrix: Complex = (moments.conj().T * weight) @ moments
    return (matrix + matrix.T) / 2


def logarithmic_derivative(count: int, x: float) -> Complex:
    """H_n'(x) / H_n(x), n = 0 .. count - 1.

    q_n = H_{n-1} / H_n runs upwards, where it is stable, and never overflows:
    q_{n+1} = 1 / (2n / x - q_n), H_n' / H_n = q_n - n / x.
    """
    h0, h1 = special.hankel1(0, x), special.hankel1(1, x)
    values = np.empty(max(count, 2), dtype=np.complex128)
    values[0], q = -h1 / h0, h0 / h1
    for n in range(1, len(values)):
        values[n] = q - n / x
        q = 1 / (2 * n / x - q)
    return values[:count]


def outgoing_waves(
    rim: Complex, wave_number: float, radius: float
) -> tuple[Indices, Complex]:
    """Orders n and c_n of u = Σ c_n H_n(kr) e^{inθ} from a circle's nodes.

    Args:
        rim: u at the nodes (around,), in equal steps from θ = 0.
        wave_number: k.
        radius: of the circle.

    Waves that have decayed below rounding at the circle are left out: |n| > kR + 30.
    """
    most = min(len(rim) // 2 - 1, int(wave_number * radius) + 30)
    n = np.arange(-most, most + 1)
    amplitudes = np.fft.fft(rim)[n] / len(rim)
    return n, amplitudes / special.hankel1(n, wave_number * radius)


def _cell_matrices(grid: QuadGrid, points: Array) -> tuple[Array, Array]:
    """∫ ∇φ_i·∇φ_j and ∫ φ_i φ_j of each cell (cell, 9, 9)."""
    where, weights = gauss(3)
    jacobian = jacobians(grid, points, where)
    area = np.linalg.det(jacobian) * weights
    slopes = shape_gradients(where) @ np.linalg.inv(jacobian)
    slopes = slopes * np.sqrt(area)[..., None, None]
    rows = slopes.transpose(0, 2, 1, 3).reshape(len(area), 9, -1)
    basis = shapes(where)
    products = np.einsum("qi,qj->qij", basis, basis).reshape(len(weights), -1)
    return rows @ rows.transpose(0, 2, 1), (area @ products).reshape(-1, 9, 9)


def _sparse(grid: QuadGrid, blocks: list[tuple[Any, Indices]]) -> Any:
    """Sum of dense blocks (block, i, j) at nodes (block, i), as CSC."""
    values, rows, columns = [], [], []
    for block, nodes in blocks:
        values.append(block.ravel())
        rows.append(np.broadcast_to(nodes[:, :, None], block.shape).ravel())
        columns.append(np.broadcast_to(nodes[:, None, :], block.shape).ravel())
    place = (np.concatenate(rows), np.concatenate(columns))
    size = int(np.prod(grid.shape))
    return sparse.coo_array((np.concatenate(values), place), shape=(size, size)).tocsc()


@lru_cache(maxsize=16)
def _norm(grid: QuadGrid, radius: float, fixed: bool) -> Any:
    """Factor of K + M of the ring between circles of radius R / 2 and R."""
    angles = 2 * np.pi * np.arange(grid.shape[1]) / grid.shape[1]
    r = radius * np.linspace(0.5, 1, grid.shape[0])[:, None]
    ring = np.stack([r * np.cos(angles), r * np.sin(angles)], axis=-1)
    stiffness, mass = _cell_matrices(grid, ring.reshape(-1, 2))
    matrix = _sparse(grid, [(stiffness + mass, grid.lattice)])
    first = grid.shape[1] if fixed else 0
    return splu(matrix[first:, first:].tocsc(), permc_spec="MMD_AT_PLUS_A")
