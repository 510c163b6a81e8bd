"""The closed curve of cell faces around a part of a grid, as the solver follows it.

`opkit.pde.boundary_curve` says how it runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from opkit.base.arrays import Array, Indices, Mask
from opkit.errors import OpkitInputError
from opkit.pde.boundary_curve import (
    NORMALS,
    boundary_faces,
    faces_of,
    start_vertex,
)


@dataclass(frozen=True)
class Curve:
    """Faces in order along the curve.

    Args:
        row: (face,) row of the inside cell at each face.
        column: (face,) its column.
        side: (face,) 0 bottom, 1 right, 2 top, 3 left.
    """

    row: Indices
    column: Indices
    side: Indices

    def places(self, cells: int) -> dict[str, Array]:
        """Middles and outward normals of the faces on a unit square of ``cells``²."""
        normal_y, normal_x = NORMALS[self.side].T.astype(np.float64)
        return {
            "boundary_x": (self.column + 0.5 + 0.5 * normal_x) / cells,
            "boundary_y": (self.row + 0.5 + 0.5 * normal_y) / cells,
            "normal_x": normal_x,
            "normal_y": normal_y,
        }


def trace(inside: Mask) -> Curve:
    """Follow the boundary of a domain from its lowest, there leftmost, bottom face.

    Args:
        inside: (y, x), True for cells of the domain.

    Raises:
        OpkitInputError: the domain is empty, touches itself in a point, or has more
            than one boundary curve.
    """
    row, column, side = (
        part.astype(np.int64) for part in np.nonzero(boundary_faces(inside))
    )
    if not len(row):
        raise OpkitInputError("inside marks no cell: the domain is empty")
    width = inside.shape[1] + 1
    start = start_vertex(row, column, side, width)
    end = start_vertex(row, column, (side + 1) % 4, width)
    if len(np.unique(start)) < len(start):
        k = int(np.flatnonzero(np.bincount(start)[start] > 1)[0])
        raise OpkitInputError(
            f"the domain touches itself in the point of cell ({row[k]}, {column[k]}) "
            f"where its side {side[k]} starts: no simple curve goes around it"
        )
    order = np.argsort(start)
    following = order[np.searchsorted(start[order], end)]
    walk = [int(np.argmax(side == 0))]  # rows and columns are sorted
    while (k := int(following[walk[-1]])) != walk[0]:
        walk.append(k)
    if len(walk) < len(row):
        k = int(np.setdiff1d(np.arange(len(row)), walk)[0])
        raise OpkitInputError(
            f"the domain has a second boundary curve, at cell ({row[k]}, {column[k]}): "
            "take one piece without holes"
        )
    return Curve(row[walk], column[walk], side[walk])


def curve_of(
    inside: Mask, x: Array, y: Array, normal_x: Array, normal_y: Array
) -> Curve:
    """Recognise the faces that points and normals describe; start anywhere.

    Args:
        inside: (y, x), True for cells of the domain.
        x: (face,) positions on the unit square, to 1% of a cell.
        y: the same along y.
        normal_x: (face,) outward normals.
        normal_y: the same along y.

    Raises:
        OpkitInputError: the points are not the one closed curve around the domain,
            counter-clockwise; the message names the face or the cell.
    """
    row, column, side = faces_of(inside, x, y, normal_x, normal_y)
    pieces, count = ndimage.label(inside)
    if count > 1:
        r, c = np.argwhere(pieces == 2)[0]
        raise OpkitInputError(f"inside has {count} pieces; one starts at ({r}, {c})")
    return Curve(row, column, side)
