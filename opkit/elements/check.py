"""Which meshes carry elements."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from opkit.elements.basis import EDGES, degree_of
from opkit.errors import OpkitInputError

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
