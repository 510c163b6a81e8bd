"""Multipole graph neural operator: V-cycles of kernel integrals on coarser points.

    down    w₀ = v,    w_{l+1} = σ(K_{l,l+1} w_l)
    up      w_l ← w_l + σ(M_l (w_l, K_{l,l} w_l)),
            w_l ← w_l + σ(N_l (w_l, K_{l+1,l} w_{l+1}))
    out     K_{0,0} v + K_{1,0} w₁

takes the place of the integral of a layer of `GNO`: near points see each other through
the finest kernel, far ones through coarser points, so that a long reach costs few
pairs. Points of level l ≥ 1 are the centres of mass of the points in each cell of a
lattice over the domain, with the sum of their weights: whatever the order, and however
a point is split, they stay; the lattice does not change with the points, so answers
converge as points are refined. The published levels are random subsets.

Source: Li, Kovachki, Azizzadenesheli, Liu, Bhattacharya, Stuart, Anandkumar,
"Multipole Graph Neural Operator", NeurIPS 2020, arXiv:2006.09535.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from opkit.errors import OpkitInputError
from opkit.operators.gno.frame import Frame
from opkit.operators.gno.gno import (
    MEMORY,
    Batch,
    PairOperator,
    PointOptions,
    arrays,
)
from opkit.operators.gno.kernel import KernelIntegral
from opkit.operators.gno.neighbours import Pairs, Search, described
from opkit.operators.shapes import DataShape, MeshShape


@dataclass(frozen=True)
class Level:
    """Points of one level of all samples, laid one after another.

    Args:
        unit: (point, axis) in the unit box of the domain.
        places: (point, column) as kernels see them.
        weights: (point,) of the quadrature.
        counts: points of each sample.
    """

    unit: Tensor
    places: Tensor
    weights: Tensor
    counts: list[int]

    def coarser(self, frame: Frame, cells: int) -> Level:
        """Return the centres of mass of the points in each cell of a lattice.

        Args:
            frame: of the domain.
            cells: of the lattice along the domain's greatest length.
        """
        lengths = (frame.size / frame.size.max()).to(self.unit)
        along = (lengths * cells).ceil().clamp(min=1)
        index = (self.unit.detach() * along).floor().clamp(min=0)
        index = torch.minimum(index, along - 1).long()
        sizes = torch.tensor(self.counts, device=index.device)
        sample = torch.arange(len(sizes), device=index.device).repeat_interleave(sizes)
        key = sample
        for axis, count in enumerate(along.long().tolist()):
            key = key * count + index[:, axis]
        cell, inverse = torch.unique(key, return_inverse=True)
        mass = self.weights.new_zeros(len(cell)).index_add(0, inverse, self.weights)
        moment = self.unit.new_zeros(len(cell), self.unit.shape[1])
        moment = moment.index_add(0, inverse, self.unit * self.weights[:, None])
        unit = moment / mass.clamp(min=torch.finfo(mass.dtype).tiny)[:, None]
        owner = torch.zeros_like(cell).index_copy(0, inverse, sample)
        counts = torch.bincount(owner, minlength=len(sizes)).tolist()
        return Level(unit, frame.embed(unit), mass, counts)


class Cycle(nn.Module):
    """One V-cycle.

    Args:
        levels: of points, two or more.
        columns: numbers of a place.
        width: channels.
        hidden: width of the kernels' networks.
        linear: leave out what is not linear.
    """

    def __init__(
        self, levels: int, columns: int, width: int, hidden: int, linear: bool
    ) -> None:
        super().__init__()
        self.linear = linear

        def kernels(count: int) -> nn.ModuleList:
            return nn.ModuleList(
                KernelIntegral(columns, width, hidden) for _ in range(count)
            )

        def mixing(count: int) -> nn.ModuleList:
            return nn.ModuleList(
                nn.Linear(2 * width, width, bias=not linear) for _ in range(count)
            )

        self.within, self.down, self.up = (
            kernels(levels), kernels(levels - 1), kernels(levels - 1)
        )  # fmt: skip
        self.mix_within, self.mix_up = mixing(levels - 1), mixing(levels - 2)

    def forward(self, v: Tensor, pairs: dict[tuple[int, int], Pairs]) -> Tensor:
        """Map features of the finest points (point, together, width) to the same.

        Args:
            v: features.
            pairs: of points of one level around those of another, by their numbers.
        """
        levels = [v]
        for k, carry in enumerate(self.down):
            levels.append(self._bent(carry(levels[-1], pairs[k, k + 1])))
        last = len(levels) - 1
        for k in range(last, 0, -1):
            own = self.within[k](levels[k], pairs[k, k])
            levels[k] = self._added(levels[k], own, self.mix_within[k - 1])
            if k < last:
                above = self.up[k](levels[k + 1], pairs[k + 1, k])
                levels[k] = self._added(levels[k], above, self.mix_up[k - 1])
        near: Tensor = self.within[0](v, pairs[0, 0])
        far: Tensor = self.up[0](levels[1], pairs[1, 0])
        return near + far

    def _bent(self, w: Tensor) -> Tensor:
        return w if self.linear else F.gelu(w)

    def _added(self, w: Tensor, integral: Tensor, mix: nn.Module) -> Tensor:
        return w + self._bent(mix(torch.cat([w, integral], 2)))


class MultipoleGNO(PairOperator):
    """Multipole graph neural operator on grids, meshes, and clouds of points.

    Args:
        data: channels, and grid, mesh or points.
        options: sizes; see `MultipoleGNO.Options`.
    """

    name: ClassVar[str] = "multipole-gno"

    class Options(PointOptions):
        """Options of the multipole GNO."""

        n_layers: int = Field(default=2, ge=1, description="V-cycles")
        radius: float = Field(
            default=0.1,
            gt=0,
            description="of the finest neighbourhoods, over the domain's length",
        )
        cells: tuple[int, ...] = Field(
            default=(16, 4),
            min_length=1,
            description="of the lattice of each coarser level, along the domain",
        )
        reach: float = Field(
            default=4.0,
            ge=1.5,
            description="radius of a coarser level, in cells of its lattice",
        )
        memory: float = MEMORY

    def __init__(self, data: DataShape | MeshShape, options: Options) -> None:
        cells = options.cells
        if min(cells) < 1 or list(cells) != sorted(set(cells), reverse=True):
            raise OpkitInputError(
                f"operator {self.name}: model.cells={list(cells)}: give numbers of "
                "cells that fall from level to level, such as [16, 4]"
            )
        width, hidden, levels = (
            options.hidden_channels, options.kernel_width, 1 + len(cells)
        )  # fmt: skip
        super().__init__(
            data,
            options,
            lambda columns: Cycle(levels, columns, width, hidden, options.linear),
        )
        self.cells = cells
        self.radii = [options.radius, *(options.reach / n for n in cells)]
        layers = options.n_layers
        floats = (layers * (4 * hidden + 2 * width), layers * 2 * width)
        self.searches = {
            (one, other): Search(
                self.name, self.radii[max(one, other)], options.memory, floats
            )
            for one, other in _steps(levels)
        }

    def pairs(self, batch: Batch) -> dict[tuple[int, int], Pairs]:
        """Return the points of each level around those of itself and its neighbours."""
        levels = [Level(batch.unit, batch.places, batch.weights, batch.counts)]
        for cells in self.cells:
            levels.append(levels[-1].coarser(self.frame, cells))
        cut = [arrays(level.places, level.counts) for level in levels]
        return {
            (one, other): described(
                search(cut[other], cut[one], batch.together, alone=one == other == 0),
                levels[other].places,
                levels[one].places,
                levels[one].weights,
                search.radius,
            )
            for (one, other), search in self.searches.items()
        }


def _steps(levels: int) -> Sequence[tuple[int, int]]:
    """From which level to which kernels reach."""
    own = [(k, k) for k in range(levels)]
    down = [(k, k + 1) for k in range(levels - 1)]
    return [*own, *down, *((other, one) for one, other in down)]
