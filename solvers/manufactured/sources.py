"""Sources and boundary data of problems whose solution is not known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from opkit.pde.geometry import VERTICES, Geometry
from opkit.pde.raster import Functions
from opkit.solvers.manufactured.draws import Draw
from opkit.solvers.manufactured.law import ManufacturedDistribution

MOST, NARROWEST, WIDEST = 4, 0.07, 0.5


@dataclass(frozen=True)
class Gaussians:
    """Σ height exp(-|x - centre|² / 2 width²), a batch of sums.

    Args:
        centre: (batch, gaussian, 2).
        width: (batch, gaussian).
        height: (batch, gaussian); 0 where there are fewer.
    """

    centre: Tensor
    width: Tensor
    height: Tensor

    def profile(self, x: Tensor, axis: int) -> Tensor:
        """Factor of each Gaussian along an axis, (batch, gaussian, node)."""
        off = (x - self.centre[..., axis, None]) / self.width[..., None]
        return torch.exp(-off.square() / 2)

    def evaluate(self, points: Tensor) -> Tensor:
        """Sum (batch, point) at points (batch, point, 2)."""
        total = points.new_zeros(points.shape[:2])
        for k in range(self.height.shape[1]):
            off = (points - self.centre[:, None, k]).square().sum(-1)
            off = off / self.width[:, None, k].square()
            total = total + self.height[:, None, k] * torch.exp(-off / 2)
        return total


def draw_gaussians(batch: int, draw: Draw) -> Gaussians:
    """Draw one to four; heights have one sign in half of the sums."""
    width = NARROWEST * (WIDEST / NARROWEST) ** draw.uniform(batch, MOST)
    place = torch.arange(MOST, device=draw.device)
    height = 0.3 + 0.7 * draw.uniform(batch, MOST)
    sign = 1 - 2 * draw.integers(0, 2, batch, MOST)
    sign = torch.where(draw.integers(0, 2, batch, 1).bool(), sign, sign[:, :1])
    height = height * sign * (place < draw.integers(1, MOST + 1, batch, 1))
    return Gaussians(draw.symmetric(batch, MOST, 2), width, height)


def draw_unlabelled(
    coefficients: Tensor,
    geometry: Geometry,
    distribution: ManufacturedDistribution,
    draw: Draw,
) -> Functions:
    """Constant source, affine data on the sides, constant data on holes.

    Each of them is 0 with probability `distribution.zero`, and all holes share one
    value with that probability. With probability `distribution.varied` the source is
    made of Gaussians or is a plane wave.

    The source is scaled so that |u| stays of order 10: |f| / (2 max(|c_3|, |c_4|))
    bounds an elliptic u; 2 |f / c_2| and 2 |f / c_4| what grows within the time 2.
    """
    batch = len(coefficients)
    _, _, c_y, c_xx, c_yy = coefficients.unbind(1)
    elliptic = c_xx * c_yy > 0
    parabolic = c_yy == 0
    timed = ~elliptic
    bound = torch.where(
        parabolic, 2 * c_y.abs().reciprocal(), 2 * c_yy.abs().reciprocal()
    )
    diffusive = 0.5 / torch.maximum(c_xx.abs(), c_yy.abs())
    bound = torch.where(elliptic, diffusive, bound)
    strength = 10 * (1 + draw.normal(batch))
    strength = strength / bound.clamp_min(1.0)
    affine = 10 * draw.symmetric(batch, 3)
    affine = affine * draw.integers(0, 2, batch, 3)
    affine = affine / affine.abs().sum(1, keepdim=True).clamp_min(10.0) * 10
    affine[:, 2] = torch.where(timed, 0.0, affine[:, 2])
    level = 10 * draw.symmetric(batch, geometry.start.shape[1])
    owner = geometry.hole_of_piece()
    first = torch.where(owner < 0, 0, 4 + owner.clamp_min(0) * VERTICES)
    level = level[:, first]
    if distribution.zero:
        off = draw.uniform(batch, 4) < distribution.zero
        level = torch.where(off[:, 3:], level[:, -1:], level)
        level = level.masked_fill(off[:, 2:3], 0.0)
        affine = affine.masked_fill(off[:, 1:2], 0.0)
        # Not everything at once: a source is dropped only where the sides have data.
        strength = strength * ~(off[:, 0] & (affine != 0).any(1))
    waving = _varied(batch, distribution, draw)

    def boundary(
        points: Tensor, normals: Tensor, piece: Tensor
    ) -> tuple[Tensor, Tensor]:
        slope = affine[:, None, 1:]
        side = affine[:, None, 0] + (points * slope).sum(-1)
        g = torch.where(owner[piece] < 0, side, level.gather(1, piece))
        h = torch.where(owner[piece] < 0, (normals * slope).sum(-1), 0.0)
        return g, h

    def source(points: Tensor) -> Tensor:
        constant = strength[:, None].expand(points.shape[:2])
        return constant if waving is None else constant * waving(points)

    return Functions(source, boundary)


def _varied(
    batch: int, distribution: ManufacturedDistribution, draw: Draw
) -> Callable[[Tensor], Tensor] | None:
    """Factor that makes a constant source one of Gaussians or of a wave, or neither."""
    if not distribution.varied:
        return None
    peaks = draw_gaussians(batch, draw)
    # Up to five times the frequency, and mostly far less.
    steep = 5 * distribution.frequency * draw.uniform(batch, 2)
    slope = steep * draw.symmetric(batch, 2)
    phase = torch.pi * draw.symmetric(batch, 1)
    chance = draw.uniform(batch, 1)

    def factor(points: Tensor) -> Tensor:
        wave = torch.sin((points * slope[:, None]).sum(-1) + phase)
        shape = torch.where(
            chance < distribution.varied / 2, peaks.evaluate(points), wave
        )
        return torch.where(chance < distribution.varied, shape, 1.0)

    return factor
