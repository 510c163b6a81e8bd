"""Matrices that carry functions from one mesh to another.

    P_ij = φ_j(x_i): coefficients on one mesh to values at points (interpolation)
    R = diag(P^T 1)⁻¹ P^T: averages from fine to coarse; keeps constants (restriction)

P^T alone is for residuals: it would scale values by about 2^d from mesh to mesh.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import cKDTree

from opkit.elements.basis import degree_of, values
from opkit.errors import OpkitInputError

Array = NDArray[np.float64]
Cells = NDArray[np.int64]
Matrix = Any
TOLERANCE = 1e-9
"""How far below zero barycentric coordinates count as inside."""
NEIGHBOURS = 16


def interpolation(points: Array, cells: Cells, where: Array) -> Matrix:
    """Matrix (place, node) that evaluates functions of a mesh at other points.

    Exact on polynomials of the elements' degree. Points beside the mesh (two meshes of
    one curved domain) take the value at the nearest cell's point with barycentric
    coordinates clipped at zero.

    Args:
        points: (node, d).
        cells: (cell, corner).
        where: (place, d).

    Raises:
        OpkitInputError: a point is further outside than the nearest cell is long.
    """
    dimension = points.shape[1]
    degree = degree_of(dimension, cells.shape[1])
    cell, barycentric = locate(points, cells, where)
    basis = values(barycentric, degree)
    rows = np.repeat(np.arange(len(where)), cells.shape[1])
    entries = (basis.ravel(), (rows, cells[cell].ravel()))
    matrix = sparse.coo_array(entries, shape=(len(where), len(points))).tocsr()
    matrix.data[np.abs(matrix.data) < 1e-13] = 0.0  # round-off at nodes and edges
    matrix.eliminate_zeros()
    return matrix


def restriction(prolongation: Matrix) -> Matrix:
    """Averages (coarse, fine) with the weights of a prolongation (fine, coarse)."""
    transposed = abs(prolongation).T.tocsr()
    total = np.asarray(transposed.sum(axis=1)).ravel()
    if (total == 0).any():
        raise OpkitInputError(
            f"coarse node {int(np.argmin(total))} has no fine nodes: give meshes of "
            "one domain, finest first"
        )
    return (sparse.diags_array(1 / total) @ transposed).tocsr()


def locate(
    points: Array, cells: Cells, where: Array, beside: bool = True
) -> tuple[Cells, Array]:
    """Cell of each point, and the barycentric coordinates in it.

    Args:
        points: (node, d).
        cells: (cell, corner).
        where: (place, d).
        beside: whether points beside the mesh belong to the nearest cell.

    Raises:
        OpkitInputError: see `interpolation`; or a point is outside and may not be.
    """
    dimension = points.shape[1]
    if where.ndim != 2 or where.shape[1] != dimension:
        raise OpkitInputError(
            f"points of shape {where.shape} for a mesh of {dimension} dimensions"
        )
    corner = points[cells[:, : dimension + 1]]
    edges = (corner[:, 1:] - corner[:, :1]).transpose(0, 2, 1)
    inverse, origin = np.linalg.inv(edges), corner[:, 0]

    def coordinates(cell: Cells, x: Array) -> Array:
        xi = np.einsum("...ab,...b->...a", inverse[cell], x - origin[cell])
        return np.concatenate([1 - xi.sum(axis=-1, keepdims=True), xi], axis=-1)

    tree = cKDTree(corner.mean(axis=1))
    near = tree.query(where, k=min(NEIGHBOURS, len(cells)))[1].reshape(len(where), -1)
    candidates = coordinates(near, where[:, None])
    best = candidates.min(axis=2).argmax(axis=1)
    rows = np.arange(len(where))
    cell, weights = near[rows, best].astype(np.int64), candidates[rows, best]
    low, high = corner.min(axis=1), corner.max(axis=1)
    slack = TOLERANCE * (high - low).max()
    for row in np.flatnonzero(weights.min(axis=1) < -TOLERANCE):
        # graded meshes: the cell around a point may have a centroid far away
        x = where[row]
        boxes = ((low <= x + slack) & (high >= x - slack)).all(axis=1)
        inside = np.flatnonzero(boxes)
        if len(inside):
            options = coordinates(inside, x[None])
            pick = options.min(axis=1).argmax()
            if options[pick].min() >= -TOLERANCE:
                cell[row], weights[row] = inside[pick], options[pick]
    outside = np.flatnonzero(weights.min(axis=1) < -TOLERANCE)
    if len(outside) and not beside:
        first = int(outside[0])
        at = ", ".join(f"{v:g}" for v in where[first])
        raise OpkitInputError(f"point {first} at ({at}) lies outside the mesh")
    if len(outside):
        cell[outside], weights[outside] = _nearest(
            corner, near[outside], candidates[outside], where[outside], outside
        )
    return cell, weights


def _nearest(
    corner: Array, near: Cells, candidates: Array, where: Array, names: Cells
) -> tuple[Cells, Array]:
    clipped = candidates.clip(0)
    clipped /= clipped.sum(axis=2, keepdims=True)
    places = np.einsum("pkc,pkca->pka", clipped, corner[near])
    distance = np.linalg.norm(places - where[:, None], axis=2)
    best, rows = distance.argmin(axis=1), np.arange(len(where))
    cell = near[rows, best]
    span = np.ptp(corner[cell], axis=1).max(axis=1)
    far = distance[rows, best] > span
    if far.any():
        row = int(np.argmax(far))
        at = ", ".join(f"{v:g}" for v in where[row])
        raise OpkitInputError(
            f"point {int(names[row])} at ({at}) is outside the mesh by "
            f"{distance[row, best[row]]:.3g}: give meshes of one domain"
        )
    return cell.astype(np.int64), clipped[rows, best]
