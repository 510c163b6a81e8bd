"""Quadrature weights of nodes: w_i = ∫ φ_i, so that ∫ u ≈ Σ_i w_i u_i.

φ_i are the functions of degree 1 on simplices, multilinear on quadrilaterals, hexahedra
and grids whose points are moved; cells of degree 2 are cut into cells of degree 1, so
that every weight is positive. The sum over fields that are linear on the mesh is exact,
and the weights sum to the length, area or volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from opkit.errors import OpkitInputError

Array = NDArray[np.float64]
Cells = NDArray[np.int64]

TRIANGLES_OF_SIX = ((0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5))
TETRAHEDRA_OF_TEN = (
    (0, 4, 6, 7), (4, 1, 5, 8), (6, 5, 2, 9), (7, 8, 9, 3),
    (4, 6, 9, 5), (4, 7, 9, 6), (4, 8, 9, 7), (4, 5, 9, 8),
)  # fmt: skip
"""Corners of the parts in VTK's order, oriented as the whole."""
PARTS: dict[tuple[int, int], tuple[tuple[int, ...], ...]] = {
    (2, 3): ((0, 1, 2),),
    (3, 3): ((0, 1, 2),),
    (2, 6): TRIANGLES_OF_SIX,
    (3, 6): TRIANGLES_OF_SIX,
    (3, 4): ((0, 1, 2, 3),),
    (3, 10): TETRAHEDRA_OF_TEN,
    (2, 4): ((0, 1, 3, 2),),
    (3, 8): ((0, 1, 3, 2, 4, 5, 7, 6),),
}
"""Parts of degree 1 by (dimension, corners); the last two count corners by bits."""
MULTILINEAR = {(2, 4): 2, (3, 8): 3}
"""Number of axes of the cells that are no simplices."""
KINDS = "triangles, quadrilaterals, tetrahedra or hexahedra"


class NodeWeights:
    """Weights of the nodes of meshes that have one topology.

    Args:
        cells: (cell, corner) indices of nodes, in VTK's order.
        nodes: number of them.
        dimension: 2 or 3; cells of 3 or 6 corners are surfaces in space.

    Raises:
        OpkitInputError: there are no weights for such cells.
    """

    def __init__(self, cells: Cells, nodes: int, dimension: int) -> None:
        kind = (dimension, cells.shape[1])
        if kind not in PARTS:
            raise OpkitInputError(
                f"cells of {kind[1]} corners in {dimension} dimensions: give {KINDS}"
            )
        self._axes = MULTILINEAR.get(kind, 0)
        self._parts = cells[:, np.array(PARTS[kind])]  # (cell, part, corner)
        self._nodes = nodes

    def __call__(self, points: Array) -> Array:
        """Return the weights (..., node) of points (..., node, d)."""
        lead = points.shape[:-2]
        shares = self._shares(points).reshape(*lead, -1)
        flat = shares.reshape(-1, shares.shape[-1])
        weights: Array = np.asarray(self._gather @ flat.T).T
        return weights.reshape(*lead, self._nodes)

    def volumes(self, points: Array) -> Array:
        """Return the size of each cell (..., cell) of points (..., node, d)."""
        volumes: Array = self._shares(points).sum((-1, -2))
        return volumes

    def least(self, points: Array) -> Array:
        """Return the smallest determinant in each cell (cell,) of points (node, d).

        Negative where a cell, or a part of it, is turned over; of surfaces in space it
        is their area.
        """
        if not self._axes:
            return _determinants(points[self._parts]).min(-1)
        corners = points[self._parts[:, 0]]
        spots = product((0.0, 1.0), repeat=self._axes)
        slopes = [
            _jacobian(corners, np.array(s))[..., ::-1, :] for s in spots
        ]  # x, y, z
        return np.min([np.linalg.det(each) for each in slopes], 0)

    def _shares(self, points: Array) -> Array:
        """∫ φ_i over each part, (..., cell, part, corner)."""
        corners = points[..., self._parts, :]
        if self._axes:
            return _multilinear(corners, self._axes)
        count = corners.shape[-2]
        size = np.abs(_determinants(corners)) / np.prod(np.arange(1, count))
        return np.broadcast_to((size / count)[..., None], corners.shape[:-1])

    @cached_property
    def _gather(self) -> Any:
        """The sparse matrix (node, corner of a part) that adds up shares."""
        node = self._parts.reshape(-1)
        place = np.arange(len(node))
        shape = (self._nodes, len(node))
        return sparse.csr_array((np.ones(len(node)), (node, place)), shape)


def of_grid(points: Array, axes: int, periodic: Sequence[bool]) -> Array:
    """Return the weights (..., *space) of a grid whose points are moved.

    Args:
        points: (..., *space, d).
        axes: of space; fewer than d of curves and surfaces.
        periodic: whether the point after the last is the first, of each axis.
    """
    *lead, d = points.shape
    space = lead[len(lead) - axes :]
    cells = _cells_of_grid(space, periodic).reshape(-1, 2**axes)
    flat = points.reshape(-1, int(np.prod(space)), d)
    shares = _multilinear(flat[:, cells], axes).reshape(len(flat), -1)
    weights = np.zeros(flat.shape[:2])
    for weight, share in zip(weights, shares, strict=True):
        weight += np.bincount(cells.reshape(-1), share, flat.shape[1])
    return weights.reshape(*lead)


def folded(points: Array, periodic: Sequence[bool]) -> tuple[int, ...] | None:
    """Return the first cell of a moved grid that is turned over; None if there is none.

    A cell is turned over where the determinant of its slopes has another sign than
    that of most cells, at one of the Gauss points of the weights. Cells without area
    are none, as along the cut of a C-grid: the sine between slopes must be below
    -1e-3, and the determinant beyond the rounding of float32.

    Args:
        points: (*space, d), d as many as axes of space.
        periodic: whether the point after the last is the first, of each axis.
    """
    d = points.shape[-1]
    rounding = 4 * np.finfo(np.float32).eps * np.abs(points).max()
    for axis, closed in enumerate(periodic):
        if closed:
            points = np.concatenate([points, points.take([0], axis)], axis)
    ends = (slice(None, -1), slice(1, None))
    corners = [
        points[tuple(ends[b] for b in bits)] for bits in product((0, 1), repeat=d)
    ]
    spots = product((0.5 - 0.5 / np.sqrt(3), 0.5 + 0.5 / np.sqrt(3)), repeat=d)
    slopes = np.stack([_slopes(corners, np.array(spot)) for spot in spots])
    areas = _determinant(slopes)
    lengths = np.linalg.norm(slopes, axis=-1)
    least = np.maximum(1e-3 * lengths.prod(1), rounding * lengths.max(1) ** (d - 1))
    turned = (areas * np.sign(np.median(areas)) < -least).any(0)
    return tuple(int(k) for k in np.argwhere(turned)[0]) if turned.any() else None


def fold_of_grid(points: Array, dims: Sequence[str], periodic: Sequence[bool]) -> str:
    """Say in words which cell of a moved grid is turned over; empty if none is.

    Args:
        points: (*space, d), d as many as axes of space; not looked at unless finite.
        dims: names of the axes.
        periodic: whether the point after the last is the first, of each axis.
    """
    cell = folded(points, periodic) if np.isfinite(points).all() else None
    if cell is None:
        return ""
    where = ", ".join(f"{dim} {k}" for dim, k in zip(dims, cell, strict=True))
    return (
        f"the cell at {where} is inverted: the grid folds over itself there; correct "
        "its points"
    )


def _slopes(corners: Sequence[Array], where: Array) -> Array:
    """Slopes (axis, *cells, d) of cells at a place; corners are counted by bits."""
    axes = len(where)
    parts = np.stack([1 - where, where])
    slopes = []
    for axis in range(axes):
        own = parts.copy()
        own[:, axis] = -1.0, 1.0
        pairs = zip(_products(own, axes), corners, strict=True)
        slopes.append(sum(weight * corner for weight, corner in pairs))
    return np.stack(slopes)


def _determinant(slopes: Array) -> Array:
    """Determinants of slopes (place, axis, *cells, d), d = 1, 2 or 3."""
    rows = slopes.swapaxes(0, 1)
    areas: Array = rows[0, ..., 0]
    if len(rows) == 2:
        a, b = rows
        areas = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    elif len(rows) == 3:
        areas = (np.cross(rows[0], rows[1]) * rows[2]).sum(-1)
    return areas


def turned_over(points: Array, reference: Array, cells: Cells) -> int | None:
    """Return the first cell of a moved mesh that is turned over; None if there is none.

    A cell is turned over where its smallest determinant has another sign than on the
    reference mesh, beyond the rounding of float32, and most cells have not: a mesh may
    be mirrored as a whole. Surfaces in space have no such sign.

    Args:
        points: (node, d).
        reference: (node, d), where the cells have area or volume.
        cells: (cell, corner) indices into points.
    """
    d = points.shape[1]
    rule = NodeWeights(cells, len(points), d)
    mirror = np.where(np.arange(d) == 0, -1.0, 1.0)
    before = rule.least(reference)
    as_they_are, mirrored = rule.least(points), rule.least(points * mirror)
    if np.median(np.where(before > 0, as_they_are, mirrored)) < 0:
        as_they_are, mirrored = mirrored, as_they_are
    least = np.where(before > 0, as_they_are, mirrored)
    rounding = 4 * np.finfo(np.float32).eps * np.abs(points).max()
    turned = least < -rounding * np.abs(before) ** ((d - 1) / d)
    return int(np.argmax(turned)) if turned.any() else None


def _cells_of_grid(space: Sequence[int], periodic: Sequence[bool]) -> Cells:
    """Return the corners (*cells, 2^axes) of the cells of a grid, counted by bits."""
    steps = [np.arange(n if closed else n - 1)
             for n, closed in zip(space, periodic, strict=True)]  # fmt: skip
    firsts = np.meshgrid(*steps, indexing="ij")
    corners = [
        np.ravel_multi_index(
            [(i + b) % n for i, b, n in zip(firsts, bits, space, strict=True)],
            tuple(space),
        )
        for bits in product((0, 1), repeat=len(space))
    ]
    return np.stack(corners, -1)


def _determinants(corners: Array) -> Array:
    """Sizes times d! of simplices (..., corner, d); signed unless a surface."""
    sides = corners[..., 1:, :] - corners[..., :1, :]
    if sides.shape[-2] == sides.shape[-1]:
        determinants: Array = np.linalg.det(sides)
        return determinants
    return _size(sides)


def _multilinear(corners: Array, axes: int) -> Array:
    """∫ φ_i of cells (..., 2^axes corners, d) by two Gauss points along each axis.

    Exact where d equals ``axes``: the determinant has degree axes - 1 along an axis.
    """
    shares: Array = np.zeros(corners.shape[:-1])
    for spot in product((0.5 - 0.5 / np.sqrt(3), 0.5 + 0.5 / np.sqrt(3)), repeat=axes):
        where = np.array(spot)
        phi = _products(np.stack([1 - where, where]), axes)
        size = _size(_jacobian(corners, where))
        shares += size[..., None] * phi / 2**axes
    return shares


def _jacobian(corners: Array, where: Array) -> Array:
    """Slopes (..., axis, d) of multilinear cells at a place in [0, 1]^axes."""
    axes = len(where)
    rows = []
    for axis in range(axes):
        parts = np.stack([1 - where, where])
        parts[:, axis] = -1.0, 1.0
        rows.append(np.einsum("c,...cd->...d", _products(parts, axes), corners))
    return np.stack(rows, -2)


def _products(parts: Array, axes: int) -> Array:
    """Products over the axes of one of two numbers each (2, axis), (2^axes,)."""
    bits = np.array(list(product((0, 1), repeat=axes)))
    products: Array = parts[bits, np.arange(axes)].prod(-1)
    return products


def _size(sides: Array) -> Array:
    """Size √det(J Jᵀ) of the box that sides (..., side, d) span."""
    if sides.shape[-2] == sides.shape[-1]:
        box: Array = np.abs(np.linalg.det(sides))
        return box
    gram: Array = sides @ np.swapaxes(sides, -1, -2)
    area: Array = np.sqrt(np.maximum(np.linalg.det(gram), 0.0))
    return area
