"""Gradients, stresses and integrals of biquadratic fields, with arrays alone.

    ∇u(x(ξ)) = Σ_k u_k ∇_ξ N_k(ξ) (∂x/∂ξ)⁻¹,   x(ξ) = Σ_k x_k N_k(ξ),

N_k: the nine biquadratic shape functions on (0, 1)². Stresses at nodes come from the
2 x 2 Gauss points of each cell, where they are most accurate (Barlow, 1976), continued
bilinearly to the cell's nodes; the cells' mean is the value at a node.
"""

from __future__ import annotations

import numpy as np

from opkit.base.arrays import Array
from opkit.solvers.fem.quads.grids import QuadGrid, Quads


def gauss(order: int) -> tuple[Array, Array]:
    """Points (q, 2) and weights (q,) of the tensor Gauss rule on the unit square."""
    x, w = np.polynomial.legendre.leggauss(order)
    x, w = (x + 1) / 2, w / 2
    points = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2)
    return points, np.outer(w, w).ravel()


def shapes(points: Array) -> Array:
    """Shape functions (q, 9) at points (q, 2) of the unit square, in lattice order."""
    a, b = (_line(points[:, k]) for k in (0, 1))
    products: Array = np.einsum("qi,qj->qij", a, b).reshape(-1, 9)
    return products


def shape_gradients(points: Array) -> Array:
    """Derivatives (q, 9, 2) of the shape functions in the unit square."""
    a, b = (_line(points[:, k]) for k in (0, 1))
    da, db = (_slope(points[:, k]) for k in (0, 1))
    pairs = [np.einsum("qi,qj->qij", f, g) for f, g in ((da, b), (a, db))]
    return np.stack([pair.reshape(-1, 9) for pair in pairs], axis=-1)


def jacobians(grid: Quads, nodes: Array, points: Array) -> Array:
    """∂x/∂ξ (cell, q, 2, 2), x in the first of the two axes."""
    return _slopes(grid, nodes.T, points)


def gradients(grid: Quads, nodes: Array, values: Array, points: Array) -> Array:
    """∂u_a/∂x_b (cell, q, a, b) of values (a, node) at points of every cell."""
    (a, b), (c, d) = np.moveaxis(jacobians(grid, nodes, points), (-2, -1), (0, 1))
    det = a * d - b * c
    first, second = np.moveaxis(_slopes(grid, values, points), -1, 0)
    x = (first * d[..., None] - second * c[..., None]) / det[..., None]
    y = (second * a[..., None] - first * b[..., None]) / det[..., None]
    return np.stack([x, y], axis=-1)


def at_points(grid: QuadGrid, values: Array, points: Array) -> Array:
    """Values (a, node) at points of every cell (a, cell, q)."""
    result: Array = np.einsum("acn,qn->acq", values[:, grid.lattice], shapes(points))
    return result


def to_nodes(grid: QuadGrid, at_gauss: Array) -> Array:
    """Nodal means (a, node) of values at the 2 x 2 Gauss points (cell, 4, a)."""
    x = gauss(2)[0][[0, 1], 1]
    t = np.array([0.0, 0.5, 1.0])
    line = np.stack([(x[1] - t) / (x[1] - x[0]), (t - x[0]) / (x[1] - x[0])], axis=1)
    extend = np.einsum("ip,jq->ijpq", line, line).reshape(9, 4)
    values = np.moveaxis(extend @ at_gauss, -1, 0).reshape(at_gauss.shape[-1], -1)
    places, size = grid.lattice.ravel(), int(np.prod(grid.shape))
    sums = np.stack([np.bincount(places, row, size) for row in values])
    return sums / np.bincount(places, minlength=size)


def integral(grid: QuadGrid, nodes: Array, values: Array) -> Array:
    """∫ u dx (a,) of biquadratic values (a, node)."""
    points, weights = gauss(3)
    area = np.linalg.det(jacobians(grid, nodes, points)) * weights
    result: Array = np.einsum("acq,cq->a", at_points(grid, values, points), area)
    return result


def smallest_jacobian(grid: QuadGrid, nodes: Array) -> float:
    """Least det ∂x/∂ξ over 3 x 3 Gauss points of all cells: negative is inverted."""
    return float(np.linalg.det(jacobians(grid, nodes, gauss(3)[0])).min())


def relative_l2(grid: QuadGrid, nodes: Array, values: Array, exact: Array) -> float:
    """|u - v| / |v| in L2 over the grid, values (a, node), by 3 x 3 Gauss points."""
    points, weights = gauss(3)
    area = np.linalg.det(jacobians(grid, nodes, points)) * weights
    squares = [
        np.einsum("acq,cq->", at_points(grid, field, points) ** 2, area)
        for field in (np.atleast_2d(values - exact), np.atleast_2d(exact))
    ]
    return float(np.sqrt(squares[0] / squares[1]))


def _slopes(grid: Quads, values: Array, points: Array) -> Array:
    """∂u_a/∂ξ_k (cell, q, a, k) of values (a, node)."""
    shapes = np.moveaxis(shape_gradients(points), 1, 0).reshape(9, -1)
    products = values[:, grid.lattice] @ shapes
    parts = products.reshape(len(values), -1, len(points), 2)
    return np.moveaxis(parts, 0, 2)


def _line(t: Array) -> Array:
    return np.stack([(1 - t) * (1 - 2 * t), 4 * t * (1 - t), t * (2 * t - 1)], axis=1)


def _slope(t: Array) -> Array:
    return np.stack([4 * t - 3, 4 - 8 * t, 4 * t - 1], axis=1)
