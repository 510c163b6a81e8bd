"""An L-shaped bracket as one mesh of tetrahedra whose nodes a sample moves.

A leg hangs from a clamped end and carries an arm. Seen from the side:

    y = height   ┌──┐  clamped                 leg: thickness of the leg
                 │  │                          arm: thickness of the arm at the fillet
                 │  ╰──────┐  load             taper: thickness at the load, of ``arm``
    y = 0        └─────────┘                   fillet: radius in the inner corner
               x = 0     x = length

``width`` is along z. The mesh is a strip of n x m x l boxes, bent around the corner:
3/9 of n along the leg, 2/9 around the fillet, 4/9 along the arm. Each box is cut into
six tetrahedra (Kuhn, 1960), quadratic with straight edges; their nodes are a grid of
(2n + 1) x (2m + 1) x (2l + 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

import numpy as np

from opkit.base.arrays import Array, Indices
from opkit.elements.basis import EDGES
from opkit.errors import OpkitInputError

LENGTHS = ("length", "height", "leg", "arm", "taper", "width", "fillet")
REFERENCE = dict(
    zip(LENGTHS, (100.0, 100.0, 20.0, 20.0, 0.75, 40.0, 12.0), strict=True)
)


@dataclass(frozen=True)
class BoxStrip:
    """The topology of n x m x l boxes of six quadratic tetrahedra.

    Args:
        along: n, a multiple of 9, from the clamped end to the loaded one.
        across: m, from the outer to the inner side.
        wide: l.
    """

    along: int
    across: int
    wide: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Nodes in each direction; ``field.reshape(strip.shape)`` is the grid."""
        return 2 * self.along + 1, 2 * self.across + 1, 2 * self.wide + 1

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return int(np.prod(self.shape))

    @cached_property
    def cells(self) -> Indices:
        """Nodes of each tetrahedron (cell, 10): corners, middles in VTK's order."""
        numbers = np.arange(self.nodes).reshape(self.shape)
        boxes = (self.along, self.across, self.wide)
        lowest = np.stack(np.meshgrid(*(2 * np.arange(n) for n in boxes)), axis=-1)
        lowest = lowest.reshape(-1, 1, 3)
        parts = []
        for order in permutations(range(3)):
            steps = 2 * np.eye(3, dtype=np.int64)[list(order)]
            corners = np.concatenate([np.zeros((1, 3), dtype=np.int64), steps])
            corners = corners.cumsum(axis=0)
            if np.linalg.det(steps) < 0:
                corners = corners[[0, 2, 1, 3]]
            middles = [(corners[i] + corners[j]) // 2 for i, j in EDGES]
            i, j, k = np.moveaxis(lowest + np.concatenate([corners, middles]), -1, 0)
            parts.append(numbers[i, j, k])
        return np.concatenate(parts)

    def end(self, last: bool) -> Indices:
        """Nodes of the clamped end, or of the loaded one."""
        size = self.shape[1] * self.shape[2]
        nodes: Indices = np.arange(size) + (self.nodes - size if last else 0)
        return nodes

    @cached_property
    def loaded(self) -> Indices:
        """Triangles of the loaded end (facet, 6): corners, middles of 01, 12, 20."""
        on = self.cells[:, :4] >= self.end(True)[0]
        column = {frozenset(edge): 4 + k for k, edge in enumerate(EDGES)}
        facets = []
        for cell in np.flatnonzero(on.sum(axis=1) == 3):
            a, b, c = np.flatnonzero(on[cell]).tolist()
            edges = [column[frozenset(edge)] for edge in ((a, b), (b, c), (c, a))]
            facets.append(self.cells[cell][[a, b, c, *edges]])
        return np.array(facets)


def place(strip: BoxStrip, numbers: Mapping[str, float], sample: int = 0) -> Array:
    """Nodes (node, 3) of one bracket.

    Args:
        strip: topology.
        numbers: one for each of `LENGTHS`.
        sample: its number, for messages.

    Raises:
        OpkitInputError: an inverted cell, named; the bracket has no such shape.
    """
    side = _side(strip, numbers)
    z = numbers["width"] * np.linspace(-0.5, 0.5, strip.wide + 1)
    points = np.zeros((*strip.shape, 3))
    points[::2, ::2, ::2, :2] = side[:, :, None]
    points[::2, ::2, ::2, 2] = z
    nodes = points.reshape(-1, 3)
    for k, (i, j) in enumerate(EDGES):
        ends = nodes[strip.cells[:, [i, j]]]
        nodes[strip.cells[:, 4 + k]] = ends.mean(axis=1)
    corner = nodes[strip.cells[:, :4]]
    volume = np.linalg.det(corner[:, 1:] - corner[:, :1])
    if not (volume > 0).all():
        cell = int(np.argmax(~(volume > 0)))
        shown = ", ".join(f"{name} {numbers[name]:.4g}" for name in LENGTHS)
        raise OpkitInputError(
            f"sample {sample}: cell {cell} is inverted ({shown}): length must exceed "
            "leg + fillet, and height arm + fillet"
        )
    return nodes


def _side(strip: BoxStrip, numbers: Mapping[str, float]) -> Array:
    """Corners of boxes seen from the side (n + 1, m + 1, 2)."""
    length, height, leg, arm = (numbers[k] for k in ("length", "height", "leg", "arm"))
    radius = numbers["fillet"]
    third, half = strip.along // 3, strip.along // 9
    y = np.linspace(height, arm + radius, third + 1)
    turn = np.linspace(0, np.pi / 2, 2 * half + 1)[1:]
    x = np.linspace(leg + radius, length, strip.along - third - 2 * half + 1)[1:]
    t = np.linspace(0, 1, half + 1)[1:]
    round_x, round_y = (
        leg + radius * (1 - np.cos(turn)),
        arm + radius * (1 - np.sin(turn)),
    )
    inner = [
        [np.full_like(y, leg), round_x, x],
        [y, round_y, np.full_like(x, arm)],
    ]
    rise = arm * (1 - numbers["taper"]) * np.linspace(0, 1, len(x) + 1)[1:]
    outer = [
        [np.zeros_like(y), 0 * t, (leg + radius) * t, x],
        [y, (arm + radius) * (1 - t), 0 * t, rise],
    ]
    inside, outside = (
        np.stack([np.concatenate(part) for part in line], axis=-1)
        for line in (inner, outer)
    )
    q = np.linspace(0, 1, strip.across + 1)[:, None]
    side: Array = outside[:, None] * (1 - q) + inside[:, None] * q
    return side
