"""BENO made linear in its data: u = P(domain) [E_f f + E_g g]."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from opkit.operators.beno.curve_attention import CurveEncoder, Reach
from opkit.operators.beno.graph import Level, build_levels
from opkit.operators.beno.layers import (
    Cycle,
    GeometryNet,
    centres,
    gather_sum,
    mean_of_cells,
)
from opkit.operators.layers.boundary_curve import Curve
from opkit.operators.layers.modulation import modulation


class LinearBENO(nn.Module):
    """Both branches of BENO with linear message passing on nested levels of cells.

    Args:
        outputs: channels of u.
        channels: of the data.
        geometry: channels of the geometry.
        levels: of nodes.
        cycles: V-cycles.
        transformer_layers: on the boundary curve.
        heads: of every attention.
        parameters: numbers per sample, which modulate what nodes know of the domain:
            the weights are functions of them too, and u stays linear in the data.
    """

    def __init__(
        self,
        outputs: int,
        channels: int,
        geometry: int,
        levels: int,
        cycles: int,
        transformer_layers: int,
        heads: int,
        parameters: int = 0,
    ) -> None:
        super().__init__()
        self.levels = levels
        self.modulation = modulation(parameters, "film", [geometry] * levels)
        self.geometry = GeometryNet(geometry, levels)
        self.source = nn.Parameter(torch.randn(levels, channels))
        self.curve = CurveEncoder(geometry, channels, transformer_layers, heads)
        self.touch = nn.ModuleList(
            nn.Linear(channels, channels, bias=False) for _ in range(levels)
        )
        self.reach = Reach(geometry, channels, heads)
        self.cycles = nn.ModuleList(
            Cycle(geometry, channels, levels) for _ in range(cycles)
        )
        self.decode = nn.Linear(channels, outputs, bias=False)
        self.tune = nn.Linear(geometry, channels)

    def forward(
        self,
        source: Tensor,
        inside: Tensor,
        value: Tensor,
        curve: Curve,
        numbers: Tensor | None = None,
    ) -> Tensor:
        """Return u (batch, output, y, x): 0 outside, of mean zero for Neumann data.

        Args:
            source: f (batch, y, x), scaled.
            inside: (batch, y, x).
            value: boundary data (batch, face), scaled.
            curve: geometry of the faces.
            numbers: (batch, parameter), normalised.
        """
        levels = build_levels(inside, curve, self.levels)
        h = self.geometry(levels, curve)
        if self.modulation is not None and numbers is not None:
            pairs = self.modulation(numbers)
            h = [
                torch.addcmul(x + shift[owner], x, scale[owner])
                for x, (scale, shift), owner in zip(
                    h, pairs, map(_sample_of, levels), strict=True
                )
            ]
        b = [
            mean_of_cells(source * inside, level)[:, None] * self.source[depth]
            for depth, level in enumerate(levels)
        ]
        for depth, more in enumerate(self._boundary(levels, h, value, curve)):
            b[depth] = b[depth] + more
        z = b[0]
        for cycle in self.cycles:
            z = cycle(z, b, h, levels)
        nodes = self.decode(z * (1 + self.tune(h[0])))
        nodes = nodes - _free_means(nodes, levels[0], curve)
        u = nodes.new_zeros(inside.numel(), nodes.shape[1])
        u = u.index_copy(0, levels[0].flat, nodes)
        whole: Tensor = u.view(*inside.shape, u.shape[1]).permute(0, 3, 1, 2)
        return whole

    def _boundary(
        self, levels: list[Level], h: list[Tensor], value: Tensor, curve: Curve
    ) -> list[Tensor]:
        """What the boundary data bring to the nodes of every level."""
        size = 4.0 / curve.x.shape[1]
        g, v = self.curve(curve, value, size)
        enters = [
            gather_sum(
                self.touch[depth](v).flatten(0, 1), level.face.flatten(), level.nodes
            )
            * 0.5**depth
            for depth, level in enumerate(levels)
        ]
        depth = min(1, len(levels) - 1)
        level = levels[depth]
        at = centres(level, like=value).expand(len(value), -1, -1)
        wide = h[depth].new_zeros(level.number.numel(), h[depth].shape[1])
        wide = wide.index_copy(0, level.flat, h[depth])
        wide = wide.view(len(value), level.cells**2, wide.shape[1])
        reached = self.reach(at, wide, g, v, curve, 1 / level.cells)
        enters[depth] = enters[depth] + reached.flatten(0, 1)[level.flat]
        return enters


def _sample_of(level: Level) -> Tensor:
    """Which sample of the batch each node belongs to, (node,)."""
    return level.flat // (level.number.shape[1] ** 2)


def _free_means(nodes: Tensor, level: Level, curve: Curve) -> Tensor:
    """(node, output): the mean over the domain where all data are Neumann, else 0."""
    batch, faces = curve.kind.shape
    sample = _sample_of(level)
    ones = nodes.new_ones(len(nodes), 1)
    total, count = (gather_sum(part, sample, batch) for part in (nodes, ones))
    free = (curve.kind.sum(1, keepdim=True) == faces).to(nodes.dtype)
    return (free * total / count.clamp(min=1))[sample]
