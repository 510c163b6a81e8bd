"""Graphs of the cells inside a curve, for whole batches at once.

Level 0 has a node for every cell inside, level l one for every block of 2^l by 2^l
cells that holds some. Nodes of all samples are numbered through, so that graphs of
different sizes make one batch; sums over edges and blocks are `index_add`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from opkit.errors import OpkitInputError

CURVE = (
    "boundary_x",
    "boundary_y",
    "boundary_value",
    "boundary_kind",
    "normal_x",
    "normal_y",
)
OFFSETS = tuple(d for d in product((-1, 0, 1), repeat=2) if d != (0, 0))


@dataclass(frozen=True)
class Curve:
    """Data on the boundary curves of a batch, each (batch, face).

    Args:
        x: position of the middle of each face.
        y: the same along y.
        value: g, or ∂u/∂n where ``kind`` is 1.
        kind: 0 Dirichlet, 1 Neumann.
        normal_x: outward normal.
        normal_y: the same along y.
    """

    x: Tensor
    y: Tensor
    value: Tensor
    kind: Tensor
    normal_x: Tensor
    normal_y: Tensor

    @property
    def places(self) -> Tensor:
        """(batch, face, 2): x and y."""
        return torch.stack([self.x, self.y], dim=-1)

    @property
    def normals(self) -> Tensor:
        """(batch, face, 2): along x and y."""
        return torch.stack([self.normal_x, self.normal_y], dim=-1)


def channel_order(names: tuple[str, ...]) -> list[int]:
    """Where the six boundary variables are among the boundary channels.

    Raises:
        OpkitInputError: one is missing.
    """
    for name in CURVE:
        if name not in names:
            raise OpkitInputError(
                f"boundary data lack {name}: have {', '.join(names) or 'none'}"
            )
    return [names.index(name) for name in CURVE]


def curve_of(boundary: Tensor, order: list[int]) -> Curve:
    """Name the channels of boundary data (batch, channel, face)."""
    return Curve(*(boundary[:, channel] for channel in order))


def sizes(samples: Mapping[str, Tensor], order: list[int]) -> Tensor:
    """Root mean squares of f, g, q and u over training samples; 1 where all are 0.

    Args:
        samples: ``inputs`` (sample, 2, y, x), ``boundary`` and ``outputs``.
        order: of the boundary channels, from `channel_order`.
    """
    source, inside = samples["inputs"].unbind(1)
    curve = curve_of(samples["boundary"], order)
    neumann, within = curve.kind > 0.5, inside > 0
    of = [source[within], curve.value[~neumann], curve.value[neumann]]
    of.append(samples["outputs"].transpose(1, 0)[:, within])
    squares = torch.stack([(v.square().sum() / max(v.numel(), 1)) for v in of])
    return torch.where(squares > 0, squares.sqrt(), 1.0)


def face_cells(curve: Curve, cells: int) -> tuple[Tensor, Tensor]:
    """Row and column of the inside cell at every face, (batch, face) each."""
    column = curve.x * cells - 0.5 - 0.5 * curve.normal_x
    row = curve.y * cells - 0.5 - 0.5 * curve.normal_y
    return tuple(p.round().long().clamp(0, cells - 1) for p in (row, column))  # type: ignore[return-value]


def check_curve(inside: Tensor, curve: Curve) -> None:
    """Refuse faces that do not run counter-clockwise around the domain, one by one.

    Left out while a graph is traced.

    Args:
        inside: (batch, y, x), 1 inside; square.
        curve: its boundary faces.

    Raises:
        OpkitInputError: the message names sample and face.
    """
    if torch.compiler.is_compiling():
        return
    cells = inside.shape[1]
    row, column = face_cells(curve, cells)
    sample = torch.arange(len(inside), device=inside.device)[:, None]
    padded = F.pad(inside, (1, 1, 1, 1))
    step_y, step_x = curve.normal_y.round().long(), curve.normal_x.round().long()
    step_y, step_x = step_y.clamp(-1, 1), step_x.clamp(-1, 1)
    beyond = padded[sample, 1 + row + step_y, 1 + column + step_x]
    loose = (inside[sample, row, column] < 0.5) | (beyond > 0.5)
    for i, k in loose.nonzero().tolist():
        raise OpkitInputError(
            f"sample {i}: boundary face {k} at ({curve.x[i, k]:g}, {curve.y[i, k]:g}) "
            "is not between a cell inside and one outside"
        )
    place, normal = curve.places * (2 * cells), curve.normals
    travel = torch.stack([-normal[..., 1], normal[..., 0]], dim=-1)
    end, start = (place + travel).round(), (place - travel).round().roll(-1, dims=1)
    for i, k in (end != start).any(dim=-1).nonzero().tolist():
        x, y = (end[i, k] / (2 * cells)).tolist()
        raise OpkitInputError(
            f"sample {i}: boundary is not closed: face {k} ends at ({x:g}, {y:g}), "
            "where the next one does not start; order the faces counter-clockwise"
        )


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
    made: list[Level] = []
    batch = torch.arange(len(inside), device=inside.device)[:, None]
    for depth in range(levels):
        number = _number(share > 0)
        last = depth == levels - 1 or share.shape[1] <= 2
        coarse = share if last else _halve(share)
        parent, quadrant = _parents(number, _number(coarse > 0), last)
        made.append(
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
    return made


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
