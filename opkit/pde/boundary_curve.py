"""The closed curve of cell faces around a part of a grid: data on it, and its check.

The curve runs counter-clockwise, the domain to its left. On each of its faces: the
middle (x, y), the datum (u where the kind is 0, Dirichlet; ∂u/∂n where it is 1,
Neumann), and the outward normal. Face k goes from ``p - t h/2`` to ``p + t h/2`` with p
its middle, n = (n_x, n_y) the normal and t = (-n_y, n_x) the direction of travel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from opkit.errors import OpkitInputError

CURVE = (
    "boundary_x",
    "boundary_y",
    "boundary_value",
    "boundary_kind",
    "normal_x",
    "normal_y",
)
"""Variables on the faces, in the order in which operators name their channels."""

# Sides of a cell in the order of travel: bottom, right, top, left, as (row, column).
NORMALS = np.array([(-1, 0), (0, 1), (1, 0), (0, -1)])
_STARTS = np.array([(0, 0), (0, 1), (1, 1), (1, 0)])


def faces_of(
    inside: NDArray[np.bool_],
    x: NDArray[Any],
    y: NDArray[Any],
    normal_x: NDArray[Any],
    normal_y: NDArray[Any],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Recognise the faces that points and normals describe; start anywhere.

    Args:
        inside: ([batch,] y, x), True for cells of the domain, on a square.
        x: ([batch,] face) positions on the unit square, to 1% of a cell.
        y: the same along y.
        normal_x: ([batch,] face) outward normals.
        normal_y: the same along y.

    Returns:
        Row and column of the inside cell at each face and the cell's side (0 bottom,
        1 right, 2 top, 3 left), ([batch,] face) each.

    Raises:
        OpkitInputError: the points are not one closed curve through all boundary faces,
            counter-clockwise; the message names the face, and the sample of a batch.
    """
    cells, count = inside.shape[-1], x.shape[-1]
    boundary = boundary_faces(inside).reshape(-1, cells, cells, 4)
    sample = np.arange(len(boundary))[:, None]
    x, y, normal_x, normal_y = (
        part.reshape(len(boundary), count) for part in (x, y, normal_x, normal_y)
    )

    def at(fault: NDArray[np.bool_]) -> tuple[int, int, str]:
        i, k = (int(n) for n in np.argwhere(fault)[0])
        return i, k, f"sample {i}: " if inside.ndim == 3 else ""

    number = boundary.sum(axis=(1, 2, 3))[:, None]
    if (number != count).any():
        i, _, who = at(number != count)
        raise OpkitInputError(
            f"{who}the domain has {number[i, 0]} boundary faces and the data {count} "
            "points"
        )
    normal = np.stack([normal_y, normal_x], axis=-1)
    side = np.argmin(((normal[..., None, :] - NORMALS) ** 2).sum(axis=-1), axis=-1)
    oblique = ~(np.abs(normal - NORMALS[side]).max(axis=-1) <= 1e-3)
    if oblique.any():
        i, k, who = at(oblique)
        raise OpkitInputError(
            f"{who}boundary face {k}: normal ({normal_x[i, k]:g}, {normal_y[i, k]:g}) "
            "is not one of (±1, 0), (0, ±1)"
        )
    centre = np.stack([y, x], axis=-1) * cells - 0.5 - 0.5 * NORMALS[side]
    nearest = np.rint(np.nan_to_num(centre, nan=-1.0)).clip(-1, cells)
    row, column = np.moveaxis(nearest.astype(np.int64), -1, 0)
    on_grid = (np.abs(centre - nearest).max(axis=-1) < 1e-2) & (
        (nearest >= 0) & (nearest < cells)
    ).all(axis=-1)
    between = boundary[sample, row.clip(0, cells - 1), column.clip(0, cells - 1), side]
    loose = ~(on_grid & between)
    if loose.any():
        i, k, who = at(loose)
        raise OpkitInputError(
            f"{who}boundary face {k} at ({x[i, k]:g}, {y[i, k]:g}) with normal "
            f"({normal_x[i, k]:g}, {normal_y[i, k]:g}) is not between a cell inside "
            "and one outside"
        )
    start = start_vertex(row, column, side, cells + 1)
    end = start_vertex(row, column, (side + 1) % 4, cells + 1)
    gap = end != np.roll(start, -1, axis=1)
    if gap.any():
        i, k, who = at(gap)
        after = (k + 1) % count
        raise OpkitInputError(
            f"{who}boundary is not closed: face {k} ends at {_point(end[i, k], cells)} "
            f"and face {after} starts at {_point(start[i, after], cells)}; order the "
            "faces counter-clockwise"
        )
    ordered = np.sort(start, axis=1)
    if (ordered[:, 1:] == ordered[:, :-1]).any():
        twice = (start[:, :, None] == start[:, None, :]).sum(axis=2) > 1
        i, k, who = at(twice)
        raise OpkitInputError(
            f"{who}boundary passes twice through {_point(start[i, k], cells)}, at face "
            f"{k}"
        )
    shape = (*inside.shape[:-2], count)
    return row.reshape(shape), column.reshape(shape), side.reshape(shape)


def boundary_faces(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(..., y, x, side): whether a side of an inside cell is a boundary face."""
    padded = np.pad(inside, [(0, 0)] * (inside.ndim - 2) + [(1, 1), (1, 1)])
    ny, nx = inside.shape[-2:]
    beyond = [padded[..., 1 + r : 1 + r + ny, 1 + c : 1 + c + nx] for r, c in NORMALS]
    faces: NDArray[np.bool_] = inside[..., None] & ~np.stack(beyond, axis=-1)
    return faces


def start_vertex(
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    side: NDArray[np.int64],
    width: int,
) -> NDArray[np.int64]:
    """Number of the vertex where a side of a cell starts, ``width`` in a row."""
    number: NDArray[np.int64] = (
        (row + _STARTS[side, 0]) * width + column + _STARTS[side, 1]
    )
    return number


def _point(vertex: int, cells: int) -> str:
    row, column = divmod(int(vertex), cells + 1)
    return f"({column / cells:g}, {row / cells:g})"
