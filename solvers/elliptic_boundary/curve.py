"""The closed curve of cell faces around a part of a grid, and its checks.

The curve runs counter-clockwise: the domain lies to its left. Face k goes from
``p - t h/2`` to ``p + t h/2`` with p its middle, n = (n_x, n_y) the outward normal and
t = (-n_y, n_x) the direction of travel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from opkit.base.arrays import Array, Indices, Mask
from opkit.errors import OpkitInputError

# Sides of a cell in the order of travel: bottom, right, top, left, as (row, column).
NORMALS = np.array([(-1, 0), (0, 1), (1, 0), (0, -1)])
_STARTS = np.array([(0, 0), (0, 1), (1, 1), (1, 0)])


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
    row, column, side = (part.astype(np.int64) for part in np.nonzero(_faces(inside)))
    if not len(row):
        raise OpkitInputError("inside marks no cell: the domain is empty")
    width = inside.shape[1] + 1
    start = _vertex(row, column, side, width)
    end = _vertex(row, column, (side + 1) % 4, width)
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
    cells = inside.shape[0]
    wanted = int(_faces(inside).sum())
    if len(x) != wanted:
        raise OpkitInputError(
            f"the domain has {wanted} boundary faces and the data {len(x)} points"
        )
    normal = np.stack([normal_y, normal_x], axis=1)
    side = np.argmin(((normal[:, None] - NORMALS) ** 2).sum(axis=2), axis=1)
    for k in np.flatnonzero(np.abs(normal - NORMALS[side]).max(axis=1) > 1e-3):
        raise OpkitInputError(
            f"boundary face {k}: normal ({normal_x[k]:g}, {normal_y[k]:g}) is not one "
            "of (±1, 0), (0, ±1)"
        )
    middle = np.stack([y, x], axis=1) * cells - 0.5
    centre = middle - 0.5 * NORMALS[side]
    cell = np.rint(centre).astype(np.int64)
    row, column = cell.T
    known = (np.abs(centre - cell).max(axis=1) < 1e-2) & (
        ((cell >= 0) & (cell < cells)).all(axis=1)
    )
    known[known] = _faces(inside)[row[known], column[known], side[known]]
    for k in np.flatnonzero(~known):
        raise OpkitInputError(
            f"boundary face {k} at ({x[k]:g}, {y[k]:g}) with normal "
            f"({normal_x[k]:g}, {normal_y[k]:g}) is not between a cell inside and one "
            "outside"
        )
    start = _vertex(row, column, side, cells + 1)
    end = _vertex(row, column, (side + 1) % 4, cells + 1)
    after = np.roll(np.arange(len(x)), -1)
    for k in np.flatnonzero(end != start[after]):
        raise OpkitInputError(
            f"boundary is not closed: face {k} ends at {_point(end[k], cells)} and "
            f"face {after[k]} starts at {_point(start[after[k]], cells)}; order the "
            "faces counter-clockwise"
        )
    for k in np.flatnonzero(np.bincount(start)[start] > 1):
        raise OpkitInputError(
            f"boundary passes twice through {_point(start[k], cells)}, at face {k}"
        )
    pieces, count = ndimage.label(inside)
    if count > 1:
        r, c = np.argwhere(pieces == 2)[0]
        raise OpkitInputError(f"inside has {count} pieces; one starts at ({r}, {c})")
    return Curve(row, column, side)


def _faces(inside: Mask) -> Mask:
    """(y, x, side): whether a side of an inside cell is a boundary face."""
    padded = np.pad(inside, 1)
    ny, nx = inside.shape
    beyond = [padded[1 + r : 1 + r + ny, 1 + c : 1 + c + nx] for r, c in NORMALS]
    faces: Mask = inside[..., None] & ~np.stack(beyond, axis=-1)
    return faces


def _vertex(row: Indices, column: Indices, side: Indices, width: int) -> Indices:
    """Number of the vertex where a side starts."""
    number: Indices = (row + _STARTS[side, 0]) * width + column + _STARTS[side, 1]
    return number


def _point(vertex: int, cells: int) -> str:
    row, column = divmod(int(vertex), cells + 1)
    return f"({column / cells:g}, {row / cells:g})"
