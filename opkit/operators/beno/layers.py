"""Message passing on levels of cells: linear in the data, weights from geometry."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opkit.operators.beno.graph import OFFSETS, Level
from opkit.operators.layers.boundary_curve import Curve

FEATURES = 13


def gather_sum(values: Tensor, target: Tensor, nodes: int) -> Tensor:
    """Sum rows of values into (node, channel) by target."""
    zero = values.new_zeros(nodes, values.shape[1])
    return zero.index_add(0, target, values)


def node_features(level: Level, curve: Curve) -> Tensor:
    """(node, 13): share inside, faces on each side by kind, distances to the boundary.

    The four distances, left, right, down and up, are in units of the domain's side.
    """
    normals = curve.normals
    sides = torch.stack(
        [
            normals[..., 1] < 0,
            normals[..., 0] > 0,
            normals[..., 1] > 0,
            normals[..., 0] < 0,
        ],
        dim=-1,
    ).to(normals.dtype)
    faces = torch.cat(
        [sides * (1 - curve.kind[..., None]), sides * curve.kind[..., None]], -1
    )
    scale = level.cells / (curve.x.shape[1] / 4)  # faces along a block's side
    count = gather_sum(faces.flatten(0, 1), level.face.flatten(), level.nodes) * scale
    inside = (level.number >= 0).to(normals.dtype)
    distances = torch.stack(
        [
            _row_length(inside, 2, False),
            _row_length(inside, 2, True),
            _row_length(inside, 1, False),
            _row_length(inside, 1, True),
        ],
        dim=-1,
    )
    return torch.cat(
        [level.share[:, None], count, distances[inside > 0] / level.cells], dim=-1
    )


def _row_length(inside: Tensor, axis: int, backwards: bool) -> Tensor:
    """Number of inside cells in a row, up to each one."""
    x = inside.flip(axis) if backwards else inside
    place = torch.arange(1, x.shape[axis] + 1, device=x.device, dtype=x.dtype)
    place = place.view([-1 if a == axis else 1 for a in range(3)])
    wall = torch.where(x > 0, 0.0, place).cummax(dim=axis).values
    run = (place - wall) * x
    return run.flip(axis) if backwards else run


def mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers with SiLU between them."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


class GeometryNet(nn.Module):
    """What every node knows of the domain: up the levels and down again.

    Args:
        width: channels of the geometry.
        levels: number of levels.
    """

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        self.up = nn.ModuleList(
            mlp((FEATURES + (width if depth else 0), width, width))
            for depth in range(levels)
        )
        self.down = nn.ModuleList(
            mlp((2 * width, width, width)) for _ in range(levels - 1)
        )

    def forward(self, levels: list[Level], curve: Curve) -> list[Tensor]:
        """(node, width) for every level."""
        known: list[Tensor] = []
        for depth, level in enumerate(levels):
            x = node_features(level, curve)
            if depth:
                below = levels[depth - 1]
                x = torch.cat([x, _mean_up(known[-1], below, level)], dim=-1)
            known.append(self.up[depth](x))
        for depth in reversed(range(len(levels) - 1)):
            above = known[depth + 1][levels[depth].parent]
            joined = torch.cat([known[depth], above], dim=-1)
            known[depth] = known[depth] + self.down[depth](joined)
        return known


def _mean_up(values: Tensor, below: Level, above: Level) -> Tensor:
    return 0.25 * gather_sum(values, below.parent, above.nodes)


class Messages(nn.Module):
    """z_i ← z_i + W (Σ_j a_ij ⊙ z_j + s_i ⊙ z_i + c_i ⊙ b_i),   j next to i.

    a_ij, s_i and c_i are functions of geometry; b is the data as they enter.

    Args:
        geometry: channels of the geometry.
        channels: channels of the data z.
    """

    def __init__(self, geometry: int, channels: int) -> None:
        super().__init__()
        self.receive = nn.Linear(geometry, geometry)
        self.send = nn.Linear(geometry, geometry, bias=False)
        self.offset = nn.Embedding(len(OFFSETS), geometry)
        self.gate = nn.Linear(geometry, channels)
        self.own = nn.Linear(geometry, 2 * channels)
        self.mix = nn.Linear(channels, channels, bias=False)

    def forward(self, z: Tensor, b: Tensor, h: Tensor, level: Level) -> Tensor:
        """Data (node, channel) to the same; h (node, geometry)."""
        hidden = F.silu(
            self.receive(h)[level.target]
            + self.send(h)[level.source]
            + self.offset(level.kind)
        )
        passed = self.gate(hidden) * z[level.source]
        keep, enter = self.own(h).chunk(2, dim=-1)
        total = gather_sum(passed, level.target, level.nodes) + keep * z + enter * b
        result: Tensor = z + self.mix(total)
        return result


class Transfer(nn.Module):
    """Sum over the nodes of a block, a matrix for each quarter; and back."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.up = nn.Linear(channels, 4 * channels, bias=False)
        self.down = nn.Linear(channels, 4 * channels, bias=False)

    def coarse(self, z: Tensor, below: Level, above: Level) -> Tensor:
        """(node below, channel) to (node above, channel)."""
        return gather_sum(self._own(self.up(z), below), below.parent, above.nodes) / 4

    def fine(self, z: Tensor, below: Level) -> Tensor:
        """(node above, channel) to (node below, channel)."""
        return self._own(self.down(z)[below.parent], below)

    @staticmethod
    def _own(wide: Tensor, below: Level) -> Tensor:
        quarters = wide.view(len(wide), 4, wide.shape[1] // 4)
        place = torch.arange(len(wide), device=wide.device)
        return quarters[place, below.quadrant]


class Cycle(nn.Module):
    """One V-cycle: messages on the way down to the coarsest level and up again."""

    def __init__(self, geometry: int, channels: int, levels: int) -> None:
        super().__init__()
        self.before = nn.ModuleList(Messages(geometry, channels) for _ in range(levels))
        self.after = nn.ModuleList(Messages(geometry, channels) for _ in range(levels))
        self.between = nn.ModuleList(Transfer(channels) for _ in range(levels - 1))

    def forward(
        self, z: Tensor, b: list[Tensor], h: list[Tensor], levels: list[Level]
    ) -> Tensor:
        """Data on level 0 to the same; b and h for every level."""
        skips = []
        last = len(levels) - 1
        transfers = cast("list[Transfer]", list(self.between))
        for depth, level in enumerate(levels):
            z = self.before[depth](z, b[depth], h[depth], level)
            if depth < last:
                skips.append(z)
                z = transfers[depth].coarse(z, level, levels[depth + 1])
        for depth in reversed(range(len(levels))):
            if depth < last:
                z = skips[depth] + transfers[depth].fine(z, levels[depth])
            z = self.after[depth](z, b[depth], h[depth], levels[depth])
        return z


def mean_of_cells(field: Tensor, level: Level) -> Tensor:
    """(node,) mean over all cells of each block of a field (batch, y, x)."""
    block = field.shape[1] // level.cells
    means = F.avg_pool2d(field[:, None], block)[:, 0] if block > 1 else field
    return means[level.number >= 0]


def centres(level: Level, like: Tensor) -> Tensor:
    """(y * x, 2): x and y of the middles of all blocks."""
    place = (torch.arange(level.cells, device=like.device, dtype=like.dtype) + 0.5) / (
        level.cells
    )
    y, x = torch.meshgrid(place, place, indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1)
