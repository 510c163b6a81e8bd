"""Morphing of triangulations onto the unit disk, without folds.

    x_i = Σ_j λ_ij x_j,   λ_ij ∝ (tan(α/2) + tan(β/2)) / |x_j - x_i|

for each inner node i and its neighbours j, α and β the angles at i beside the edge
(mean-value coordinates: positive, exact for linear maps). Nodes of the boundary lie on
the circle, as far apart as along the boundary. With a convex boundary and positive
weights no cell folds. Source: Floater, Computer Aided Geometric Design 14, 1997 and 20,
2003.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import spsolve

from opkit.base.arrays import Array
from opkit.errors import OpkitInputError

Cells = NDArray[np.int64]
START = np.pi
"""Angle of the first node of the boundary, the leftmost and of these the lowest."""


def on_disk(points: Array, cells: Cells, sample: int = 0) -> Array:
    """Return where the nodes of a triangulation lie in the unit disk, (node, 2).

    Args:
        points: (node, 2).
        cells: (cell, 3), in any order of corners.
        sample: number of the sample, for messages.

    Raises:
        OpkitInputError: no triangles in the plane, a boundary of several curves, or a
            cell that is folded over.
    """
    if points.shape[1:] != (2,) or cells.shape[1:] != (3,):
        raise OpkitInputError(
            f"sample {sample}: a mesh of {points.shape[-1]} dimensions with cells of "
            f"{cells.shape[-1]} corners: morphing takes triangles in the plane"
        )
    refuse_folds(points, cells, f"sample {sample}")
    ring = boundary(cells, sample)
    ring = np.roll(ring, -int(np.lexsort((points[ring, 1], points[ring, 0]))[0]))
    if _area(points[ring]) < 0:
        ring = np.concatenate([ring[:1], ring[:0:-1]])
    sides = np.linalg.norm(np.roll(points[ring], -1, 0) - points[ring], axis=1)
    angles = START + 2 * np.pi * (np.cumsum(sides) - sides) / sides.sum()
    places = np.zeros(points.shape)
    places[ring] = np.stack([np.cos(angles), np.sin(angles)], 1)
    inner = np.ones(len(points), bool)
    inner[ring] = False
    if inner.any():
        shares = mean_value(points, cells)
        right = shares[inner][:, ~inner] @ places[~inner]
        eye = sparse.eye_array(int(inner.sum()))
        matrix = (eye - shares[inner][:, inner]).tocsc()
        places[inner] = spsolve(matrix, right).reshape(-1, 2)
    refuse_folds(places, cells, f"sample {sample} on the disk")
    return places


def boundary(cells: Cells, sample: int = 0) -> NDArray[np.int64]:
    """Return the nodes of the boundary in order.

    Raises:
        OpkitInputError: there is none, or it is not one curve.
    """
    edges = np.concatenate([cells[:, [0, 1]], cells[:, [1, 2]], cells[:, [2, 0]]])
    _, first, count = np.unique(
        np.sort(edges, 1), axis=0, return_index=True, return_counts=True
    )
    open_edges = edges[first[count == 1]]
    after: dict[int, list[int]] = {}
    for one, other in open_edges.tolist():
        after.setdefault(one, []).append(other)
        after.setdefault(other, []).append(one)
    ring = [int(open_edges[0, 0])] if len(open_edges) else []
    while ring and len(ring) <= len(open_edges):
        beside = [node for node in after[ring[-1]] if node not in ring[-2:]]
        if not beside or beside[0] == ring[0]:
            break
        ring.append(beside[0])
    if not ring or len(ring) != len(open_edges):
        raise OpkitInputError(
            f"sample {sample}: the boundary is not one closed curve (the first has "
            f"{len(ring)} of {len(open_edges)} edges): morphing to the disk takes "
            "shapes without holes"
        )
    return np.array(ring)


def mean_value(points: Array, cells: Cells) -> sparse.csr_array:
    """Return the shares (node, node) of neighbours, whose rows sum to 1."""
    rows, columns, entries = [], [], []
    for k in range(3):
        at, one, other = (cells[:, (k + j) % 3] for j in range(3))
        to_one, to_other = points[one] - points[at], points[other] - points[at]
        cross = to_one[:, 0] * to_other[:, 1] - to_one[:, 1] * to_other[:, 0]
        lengths = [np.linalg.norm(step, axis=1) for step in (to_one, to_other)]
        # tan of half the angle: sin / (1 + cos)
        half = np.abs(cross) / (lengths[0] * lengths[1] + (to_one * to_other).sum(1))
        rows += [at, at]
        columns += [one, other]
        entries += [half / lengths[0], half / lengths[1]]
    where = (np.concatenate(rows), np.concatenate(columns))
    nodes = len(points)
    matrix = sparse.coo_array((np.concatenate(entries), where), shape=(nodes, nodes))
    matrix = matrix.tocsr()
    scale = 1 / np.asarray(matrix.sum(axis=1)).ravel()
    return sparse.csr_array(sparse.diags_array(scale) @ matrix)


def refuse_folds(points: Array, cells: Cells, what: str) -> None:
    """Refuse a mesh of which some cells go round the other way than the most.

    Args:
        points: (node, 2).
        cells: (cell, 3).
        what: the mesh, for the message.

    Raises:
        OpkitInputError: names the worst cell.
    """
    areas = signed_areas(points, cells)
    areas = areas * (np.sign(np.sum(np.sign(areas))) or 1.0)
    if areas.min() > 0:
        return
    cell = int(areas.argmin())
    middle = points[cells[cell]].mean(0)
    raise OpkitInputError(
        f"{what}: {int((areas <= 0).sum())} of {len(cells)} cells are folded over or "
        f"flat, worst cell {cell} near ({middle[0]:.4g}, {middle[1]:.4g}): give a mesh "
        "whose cells all go round the same way"
    )


def signed_areas(points: Array, cells: Cells) -> Array:
    """Return twice the area of each triangle, negative for clockwise corners."""
    a, b, c = (points[cells[:, k]] for k in range(3))
    result: Array = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (
        c[:, 0] - a[:, 0]
    )
    return result


def _area(ring: Array) -> float:
    """Twice the area within a closed curve, negative for a clockwise one."""
    after = np.roll(ring, -1, 0)
    return float((ring[:, 0] * after[:, 1] - ring[:, 1] * after[:, 0]).sum())
