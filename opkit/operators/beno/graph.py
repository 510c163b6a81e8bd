"""Graphs of the cells inside a curve, for whole batches at once.

Level 0 has a node for every cell inside, level l one for every block of 2^l by 2^l
cells that holds some. Nodes of all samples are numbered through, so that graphs of
different sizes make one batch; sums over edges and blocks are `index_add`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from opkit.operators.layers.boundary_curve import Curve, face_cells

OFFSETS = tuple(d for d in product((-1, 0, 1), repeat=2) if d != (0, 0))


@dataclass(frozen=True)
class Level:
    """The nodes of one level.

    Args:
        cells: blocks along an axis.
        number: (batch, y, x) node of each block, -1 where there is none.
        share: (node,) part of the block that is inside.
        source: (edge,) node an edge comes from.
        target: (edge,) node it goes to.
        kind: (edge,) which of `OFFSETS` leads from target to source.
        parent: (node,) node of the next level; empty on the last one.
        quadrant: (node,) which quarter of its parent a node is.
        face: (batch, face) node at every boundary face.
    """

    cells: int
    number: Tensor
    share: Tensor
    source: Tensor
    target: Tensor
    kind: Tensor
    parent: Tensor
    quadrant: Tensor
    face: Tensor

    @property
    def nodes(self) -> int:
        """Number of nodes in the batch."""
        return len(self.share)

    @property
    def flat(self) -> Tensor:
        """(node,) position of each node in the flattened (batch, y, x) array."""
        return (self.number >= 0).flatten().nonzero()[:, 0]


def build_levels(inside: Tensor, curve: Curve, levels: int) -> list[Level]:
    """Make the nodes, edges and blocks of a batch.

    Args:
        inside: (batch, y, x), 1 inside; square.
        curve: its boundary faces.
        levels: how many; fewer where a grid is too small to halve.
    """
    row, column = face_cells(curve, inside.shape[1])
    share = inside.float()
    hierarchy: list[Level] = []
    batch = torch.arange(len(inside), device=inside.device)[:, None]
    for depth in range(levels):
        number = _number(share > 0)
        last = depth == levels - 1 or share.shape[1] <= 2
        coarse = share if last else _halve(share)
        parent, quadrant = _parents(number, _number(coarse > 0), last)
        hierarchy.append(
            Level(
                share.shape[1],
                number,
                share[number >= 0],
                *_edges(number),
                parent,
                quadrant,
                number[batch, row >> depth, column >> depth],
            )
        )
        if last:
            break
        share = coarse
    return hierarchy


def _number(used: Tensor) -> Tensor:
    number = used.flatten().cumsum(0) - 1
    return torch.where(used, number.reshape(used.shape), -1)


def _halve(share: Tensor) -> Tensor:
    """Means over blocks of 2 by 2; an odd axis is continued by outside cells."""
    odd = share.shape[1] % 2
    return F.avg_pool2d(F.pad(share, (0, odd, 0, odd))[:, None], 2)[:, 0]


def _edges(number: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    padded = F.pad(number, (1, 1, 1, 1), value=-1)
    ny, nx = number.shape[1:]
    near = torch.stack(
        [padded[:, 1 + r : 1 + r + ny, 1 + c : 1 + c + nx] for r, c in OFFSETS], dim=-1
    )
    here = number[..., None].expand_as(near)
    joined = (here >= 0) & (near >= 0)
    kind = torch.arange(len(OFFSETS), device=number.device).expand_as(near)
    return near[joined], here[joined], kind[joined]


def _parents(number: Tensor, above: Tensor, last: bool) -> tuple[Tensor, Tensor]:
    if last:
        empty = number.new_zeros(0)
        return empty, empty
    sample, row, column = (number >= 0).nonzero(as_tuple=True)
    return above[sample, row >> 1, column >> 1], (row & 1) * 2 + (column & 1)
