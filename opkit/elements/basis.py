"""Basis functions and quadrature on the reference simplex.

The reference simplex has the corners 0 and the unit vectors; λ_0 = 1 - Σ x_a and
λ_a = x_{a-1} are its barycentric coordinates.

`check` says which meshes carry Lagrange elements.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import roots_jacobi

from opkit.errors import OpkitInputError

Array = NDArray[np.float64]
EDGES = ((0, 1), (1, 2), (2, 0), (0, 3), (1, 3), (2, 3))
"""Corners of the edges in VTK's order; the first three are a triangle's."""
DEGREES = {(2, 3): 1, (2, 6): 2, (3, 4): 1, (3, 10): 2}
"""Degree by (dimension, nodes of a cell)."""


def degree_of(dimension: int, corners: int) -> int:
    """Degree of the elements of a mesh.

    Raises:
        OpkitInputError: there are no such elements here.
    """
    if (dimension, corners) not in DEGREES:
        raise OpkitInputError(
            f"mesh of {dimension} dimensions with cells of {corners} corners: give "
            "triangles or tetrahedra of degree 1 or 2"
        )
    return DEGREES[dimension, corners]


def values(barycentric: Array, degree: int) -> Array:
    """Values of the basis functions, λ_i or λ_i (2 λ_i - 1) and 4 λ_i λ_j.

    Args:
        barycentric: (..., d + 1).
        degree: 1 or 2.

    Returns:
        (..., basis function).
    """
    if degree == 1:
        return barycentric
    ends = np.array(_edges(barycentric.shape[-1] - 1)).T
    middle = 4 * barycentric[..., ends[0]] * barycentric[..., ends[1]]
    return np.concatenate([barycentric * (2 * barycentric - 1), middle], axis=-1)


def gradients(barycentric: Array, degree: int) -> Array:
    """Reference gradients of the basis functions, (..., basis function, d)."""
    corners = barycentric.shape[-1]
    slopes = np.concatenate([-np.ones((1, corners - 1)), np.eye(corners - 1)])
    shape = (*barycentric.shape[:-1], corners, corners - 1)
    if degree == 1:
        return np.broadcast_to(slopes, shape)
    at_corners = (4 * barycentric - 1)[..., None] * slopes
    i, j = np.array(_edges(corners - 1)).T
    middle = 4 * (
        barycentric[..., i, None] * slopes[j] + barycentric[..., j, None] * slopes[i]
    )
    return np.concatenate([at_corners, middle], axis=-2)


@lru_cache
def quadrature(dimension: int) -> tuple[Array, Array]:
    """Barycentric points (point, d + 1) and weights of sum 1 / d!, exact to degree 5.

    Conical product of Gauss-Jacobi rules with three points along each axis (Stroud,
    Approximate Calculation of Multiple Integrals, 1971, 2.5).
    """
    points, weights = np.zeros((1, 0)), np.ones(1)
    for axis in range(dimension):
        x, w = roots_jacobi(3, axis, 0)  # weight (1 - x)^axis on [-1, 1]
        x, w = (1 + x) / 2, w / 2 ** (axis + 1)
        shrunk = points[None] * (1 - x)[:, None, None]
        first = np.broadcast_to(x[:, None, None], (*shrunk.shape[:2], 1))
        points = np.concatenate([first, shrunk], axis=2).reshape(-1, axis + 1)
        weights = np.outer(w, weights).ravel()
    return np.column_stack([1 - points.sum(axis=1), points]), weights


def _edges(dimension: int) -> tuple[tuple[int, int], ...]:
    return EDGES[: 3 if dimension == 2 else 6]


FLAT = 1e-14
"""Volume of a cell, of the mesh's size to the power d, below which it has none."""
STRAIGHT = 1e-3
"""How far the middle of a straight edge may be off, of the edge's length."""


def check_mesh(points: NDArray[np.float64], cells: NDArray[np.int64]) -> None:
    """Refuse points and cells on which there are no elements of this package.

    The orientation of cells does not matter here.

    Raises:
        OpkitInputError: a coordinate that is not finite, an index out of range, a node
            of no cell, a cell without volume, or a curved edge; the first is named.
    """
    degree = degree_of(points.shape[1], cells.shape[1])
    finite = np.isfinite(points).all(axis=1)
    if not finite.all():
        raise OpkitInputError(
            f"node {int(np.argmin(finite))} has a coordinate that is NaN or infinite"
        )
    wrong = ((cells < 0) | (cells >= len(points))).any(axis=1)
    if wrong.any():
        raise OpkitInputError(
            f"cell {int(np.argmax(wrong))} names a node that is not among the "
            f"{len(points)} there are: number them from 0"
        )
    used = np.zeros(len(points), dtype=bool)
    used[cells] = True
    if not used.all():
        raise OpkitInputError(f"node {int(np.argmin(used))} belongs to no cell: remove")
    dimension = points.shape[1]
    corner = points[cells[:, : dimension + 1]]
    volume = np.abs(np.linalg.det(corner[:, 1:] - corner[:, :1]))
    flat = volume <= FLAT * np.ptp(points, axis=0).max() ** dimension
    if flat.any():
        raise OpkitInputError(f"cell {int(np.argmax(flat))} has no volume: remove it")
    if degree == 2:
        for k, (i, j) in enumerate(EDGES[: cells.shape[1] - dimension - 1]):
            middle = points[cells[:, dimension + 1 + k]]
            off = np.linalg.norm(middle - (corner[:, i] + corner[:, j]) / 2, axis=1)
            length = np.linalg.norm(corner[:, i] - corner[:, j], axis=1)
            if (off > STRAIGHT * length).any():
                cell = int(np.argmax(off > STRAIGHT * length))
                raise OpkitInputError(
                    f"cell {cell} has a curved edge or its middles in another order: "
                    "give straight edges, middles in VTK's order"
                )
