"""A channel with a cylinder, as quadratic quadrilaterals of one topology.

An O-grid fills the part of the channel around the cylinder, from the inlet to a line
behind it; a straight grid fills the rest. Both share the nodes of that line. The nodes
depend smoothly on place and radius of the cylinder. Needs no FEniCSx.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from opkit.base.arrays import Array, Indices
from opkit.solvers.fem.quads.grids import QuadGrid

GROWTH = 7.0
"""Thickness of the O-grid's outermost cells over that of the cells on the cylinder."""
STRETCH = 2.0
"""Length of the last cells before the outlet over that of the first ones behind."""


@dataclass(frozen=True)
class Channel:
    """The rectangle (0, length) x (0, height); the O-grid ends at x = ``box``."""

    length: float
    height: float
    box: float


@dataclass(frozen=True)
class WakeGrid:
    """The topology: nodes of the O-grid, cylinder first; then those behind it.

    Args:
        radial: cells from the cylinder to the walls.
        side: cells across the channel; the O-grid has four times as many around.
        behind: cells from the O-grid to the outlet.
    """

    radial: int
    side: int
    behind: int

    @cached_property
    def ring(self) -> QuadGrid:
        """The O-grid: outwards, then counter-clockwise from the corner (box, 0)."""
        return QuadGrid(self.radial, 4 * self.side, periodic=True)

    @cached_property
    def tail(self) -> QuadGrid:
        """The straight grid: downstream, then upwards."""
        return QuadGrid(self.behind, self.side)

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return int(np.prod(self.ring.shape) + np.prod(self.tail.shape)) - self._across

    @property
    def _across(self) -> int:
        return 2 * self.side + 1

    @cached_property
    def _tail_nodes(self) -> Indices:
        """Numbers of the straight grid's nodes: its first row is the O-grid's."""
        ring = int(np.prod(self.ring.shape))
        new = ring + np.arange(np.prod(self.tail.shape) - self._across)
        return np.concatenate([self.ring.edge("last")[: self._across], new])

    @cached_property
    def lattice(self) -> Indices:
        """Nodes of each cell (cell, 9), as `QuadGrid.lattice`."""
        return np.concatenate([self.ring.lattice, self._tail_nodes[self.tail.lattice]])

    @cached_property
    def basix_cells(self) -> Indices:
        """Cells (cell, 9) in the order of basix's Lagrange elements."""
        tail = self._tail_nodes[self.tail.basix_cells]
        return np.concatenate([self.ring.basix_cells, tail])

    @cached_property
    def triangles(self) -> Indices:
        """Each cell cut into eight linear triangles (8 cell, 3) on the same nodes."""
        corners = [
            [(k, k + 3, k + 4), (k, k + 4, k + 1)] for k in (0, 1, 3, 4)
        ]  # lattice points of the quarters of a cell
        return self.lattice[:, np.reshape(corners, (8, 3))].reshape(-1, 3)

    @cached_property
    def vertices(self) -> Indices:
        """Nodes at the corners of cells, increasing."""
        tail = self._tail_nodes[self.tail.vertices]
        return np.unique(np.concatenate([self.ring.vertices, tail]))

    @cached_property
    def cylinder(self) -> Indices:
        """Nodes on the cylinder."""
        return self.ring.edge("first")

    @cached_property
    def inlet(self) -> Indices:
        """Nodes at x = 0, corners included, downwards."""
        side = 2 * self.side
        return self.ring.edge("last")[2 * side : 3 * side + 1]

    @cached_property
    def walls(self) -> Indices:
        """Nodes at y = 0 and y = height, corners included."""
        side, outer = 2 * self.side, self.ring.edge("last")
        upper, lower = (
            outer[side : 2 * side + 1],
            np.append(outer[3 * side :], outer[0]),
        )
        edges = (self._tail_nodes[self.tail.edge(name)] for name in ("low", "high"))
        return np.unique(np.concatenate([upper, lower, *edges]))

    @cached_property
    def outlet(self) -> Indices:
        """Nodes at x = length, corners included, upwards."""
        return self._tail_nodes[self.tail.edge("last")]

    def points(self, channel: Channel, centre: Array, radius: float) -> Array:
        """Nodes (node, 2) for a cylinder: rays to points in equal steps on the walls.

        Args:
            channel: the rectangle.
            centre: of the cylinder (2,).
            radius: of the cylinder.
        """
        s = np.arange(2 * self.side) / (2 * self.side)
        box, H = channel.box, channel.height
        corners = np.array([[box, 0], [box, H], [0, H], [0, 0], [box, 0]])
        sides = [a + s[:, None] * (b - a) for a, b in pairwise(corners)]
        outer = np.concatenate(sides)
        # Corners of the rectangle see the cylinder at these angles, as a square's do.
        angles = (np.arange(8 * self.side) / (2 * self.side) - 0.5) * np.pi / 2
        circle = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        t = _graded(self.ring.shape[0], GROWTH)[:, None, None]
        ring = ((1 - t) * circle + t * outer).reshape(-1, 2)
        x = box + (channel.length - box) * _graded(self.tail.shape[0], STRETCH)[1:]
        y = H * np.arange(self._across) / (2 * self.side)
        tail = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
        return np.concatenate([ring, tail])

    def at_nodes(self, vertex_values: Array) -> Array:
        """Bilinear values (vertex,) at all nodes (node,)."""
        values = np.zeros(self.nodes)
        values[self.vertices] = vertex_values
        ring = self.ring.at_nodes(values[self.ring.vertices])
        tail = self.tail.at_nodes(values[self._tail_nodes[self.tail.vertices]])
        return self._join(ring, tail)

    def interpolate(self, values: Array, other: WakeGrid) -> Array:
        """Biquadratic values (..., node) at the nodes of another grid (..., node)."""
        ring = self.ring.interpolate(
            values[..., : np.prod(self.ring.shape)], other.ring
        )
        tail = self.tail.interpolate(values[..., self._tail_nodes], other.tail)
        return other._join(ring, tail)

    def _join(self, ring: Array, tail: Array) -> Array:
        return np.concatenate([ring, tail[..., self._across :]], axis=-1)


def _graded(count: int, growth: float) -> Array:
    """``count`` places from 0 to 1 in steps that grow geometrically by ``growth``."""
    u = np.linspace(0, 1, count)
    places: Array = np.expm1(np.log(growth) * u) / (growth - 1)
    places[-1] = 1.0
    return places
