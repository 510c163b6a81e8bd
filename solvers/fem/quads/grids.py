"""Structured grids of quadratic quadrilaterals whose points differ between samples.

A grid has m x n cells and the nodes of biquadratic (Q2) elements: node (i, j) has the
number i J + j, i along the first direction and j along the second, J nodes in a row.
The numbering never changes; a sample is an array of points (node, 2). Needs no
FEniCSx.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np

from opkit.base.arrays import Array, Indices
from opkit.errors import OpkitInputError

# Position in the 3 x 3 lattice of a cell (3 a + b) of the nodes in other orders.
_BASIX = (0, 6, 2, 8, 3, 1, 7, 5, 4)
_VTK = (0, 6, 8, 2, 3, 7, 5, 1, 4)
_TRIANGLES = ((0, 6, 8, 3, 7, 4), (0, 8, 2, 4, 5, 1))


class Quads(Protocol):
    """Topology of quadratic quadrilaterals: of a `QuadGrid`, or of several joined."""

    @property
    def lattice(self) -> Indices:
        """Nodes of each cell (cell, 9), lattice point (a, b) in column 3 a + b."""
        ...

    @property
    def basix_cells(self) -> Indices:
        """Cells (cell, 9) in the order of basix's Lagrange elements."""
        ...

    @property
    def vertices(self) -> Indices:
        """Nodes at the corners of cells, increasing."""
        ...


@dataclass(frozen=True)
class QuadGrid:
    """The topology of m x n biquadratic cells.

    Args:
        first: m, cells in the first direction.
        second: n, cells in the second direction.
        periodic: the second direction closes on itself (an O-grid).
    """

    first: int
    second: int
    periodic: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Nodes in each direction (I, J); ``field.reshape(grid.shape)`` is the grid."""
        return 2 * self.first + 1, 2 * self.second + (not self.periodic)

    @cached_property
    def lattice(self) -> Indices:
        """Nodes of each cell (cell, 9), lattice point (a, b) in column 3 a + b."""
        columns = self.shape[1]
        i = 2 * np.arange(self.first)[:, None] + np.repeat(np.arange(3), 3)
        j = 2 * np.arange(self.second)[:, None] + np.tile(np.arange(3), 3)
        numbers = i[:, None] * columns + (j % columns)[None]
        return numbers.reshape(-1, 9)

    @property
    def basix_cells(self) -> Indices:
        """Cells (cell, 9) in the order of basix's Lagrange elements."""
        return self.lattice[:, _BASIX]

    @property
    def vtk_cells(self) -> Indices:
        """Cells (cell, 9) in the order of VTK_BIQUADRATIC_QUAD."""
        return self.lattice[:, _VTK]

    @property
    def triangles(self) -> Indices:
        """Each cell cut into two quadratic triangles (2 cell, 6) on the same nodes."""
        return self.lattice[:, _TRIANGLES].reshape(-1, 6)

    @cached_property
    def vertices(self) -> Indices:
        """Nodes at the corners of cells, increasing."""
        numbers = np.arange(np.prod(self.shape)).reshape(self.shape)
        return numbers[::2, ::2].ravel()

    def edge(self, name: str) -> Indices:
        """Nodes of an edge: ``first``, ``last`` row; ``low``, ``high`` column."""
        I, J = self.shape
        edges = {"first": np.arange(J), "last": np.arange(J) + (I - 1) * J}
        if not self.periodic:
            edges |= {"low": np.arange(I) * J, "high": np.arange(I) * J + J - 1}
        return edges[name]

    def at_nodes(self, vertex_values: Array) -> Array:
        """Bilinear values (..., vertex) at all nodes (..., node)."""
        columns = self.second + (not self.periodic)
        grid = vertex_values.reshape(*vertex_values.shape[:-1], self.first + 1, columns)
        a = lagrange_matrix(self.first, 1, 2 * self.first, False)
        b = lagrange_matrix(self.second, 1, 2 * self.second, self.periodic)
        nodes: Array = a @ grid @ b.T
        return nodes.reshape(*vertex_values.shape[:-1], len(a) * len(b))

    def interpolate(self, values: Array, other: QuadGrid) -> Array:
        """Biquadratic values (..., node) at the nodes of another grid (..., node).

        The two share their logical coordinates: where the points are smooth functions
        of (i / I, j / J), both lie at the same places.
        """
        if other.periodic != self.periodic:
            raise OpkitInputError("a periodic grid and one that is not do not match")
        grid = values.reshape(*values.shape[:-1], *self.shape)
        a = lagrange_matrix(self.first, 2, 2 * other.first, False)
        b = lagrange_matrix(self.second, 2, 2 * other.second, self.periodic)
        nodes: Array = a @ grid @ b.T
        return nodes.reshape(*values.shape[:-1], len(a) * len(b))


def o_grid(grid: QuadGrid, radius: Array) -> Array:
    """Points (node, 2) between a star-shaped void and the edge of the unit square.

    Args:
        grid: periodic; first direction outwards, second counter-clockwise from the
            corner (1, 0), a multiple of 4 cells around.
        radius: of the void about (1/2, 1/2), at the angles of `ray_angles`.

    Raises:
        OpkitInputError: the void is empty or crosses the edge of the square.
    """
    angles = ray_angles(grid)
    if radius.shape != angles.shape:
        raise OpkitInputError(f"radius has shape {radius.shape}, not {angles.shape}")
    direction = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    edge = 0.5 / np.abs(direction).max(axis=1)
    if not (radius > 0).all():
        raise OpkitInputError("void: its radius must be finite and above zero")
    if not (radius < 0.98 * edge).all():
        k = int(np.argmax(radius / edge))
        raise OpkitInputError(
            f"void: radius {radius[k]:.3g} at angle {angles[k]:.3g} crosses the edge "
            f"of the cell, {edge[k]:.3g} away (limit 0.98 of it)"
        )
    t = np.linspace(0, 1, grid.shape[0])
    s = t * (0.6 + 0.4 * t)  # cells at the void are 2.3 times thinner than at the edge
    rays = (1 - s)[:, None] * radius + s[:, None] * edge
    points: Array = 0.5 + rays[..., None] * direction
    points[-1][np.abs(points[-1]) < 1e-12] = 0.0
    points[-1][np.abs(points[-1] - 1) < 1e-12] = 1.0
    return points.reshape(-1, 2)


def ray_angles(grid: QuadGrid) -> Array:
    """Angles (J,) of an O-grid's rays: they meet the square at equal distances."""
    if not grid.periodic or grid.second % 4:
        raise OpkitInputError(
            f"an O-grid needs a multiple of 4 cells around, not {grid.second}"
        )
    s = 8 * np.arange(grid.shape[1]) / grid.shape[1]  # two units for each side
    side = np.floor(s / 2)
    angles: Array = np.arctan(s - 2 * side - 1) + side * np.pi / 2
    return angles


def channel_grid(grid: QuadGrid, x: Array, low: Array, high: Array) -> Array:
    """Points (node, 2) of a channel between two walls, equal steps across.

    Args:
        grid: first direction along the channel, second from the low to the high wall.
        x: stations (I,), increasing.
        low: height of the lower wall at the stations (I,).
        high: height of the upper wall (I,).
    """
    t = np.linspace(0, 1, grid.shape[1])
    y = low[:, None] + (high - low)[:, None] * t
    return np.stack([np.broadcast_to(x[:, None], y.shape), y], axis=-1).reshape(-1, 2)


@lru_cache(maxsize=256)
def lagrange_matrix(cells: int, degree: int, steps: int, periodic: bool) -> Array:
    """Matrix from the Lagrange nodes of equal cells to ``steps`` equal steps."""
    t = np.arange(steps + (not periodic)) * cells / steps
    cell = np.minimum(t.astype(np.int64), cells - 1)
    u = t - cell
    own = degree * cells + (not periodic)
    matrix = np.zeros((len(t), own))
    shapes = (
        [1 - u, u]
        if degree == 1
        else [(1 - u) * (1 - 2 * u), 4 * u * (1 - u), u * (2 * u - 1)]
    )
    for k, shape in enumerate(shapes):
        np.add.at(matrix, (np.arange(len(t)), (degree * cell + k) % own), shape)
    matrix.flags.writeable = False
    return matrix
