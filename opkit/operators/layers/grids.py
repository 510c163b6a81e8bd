"""Grids as operators see them: coordinates, resampling, boundary padding.

An axis of n points covers the unit interval. A non-periodic axis has both ends,
x_i = i/(n-1); a periodic one leaves the last out, x_i = i/n.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Boundary = Literal["zeros", "circular", "reflect", "replicate"]
LETTERS = "abc"  # one einsum index for each spatial axis


def axis_points(
    n: int, periodic: bool, like: Tensor | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """Return the n points of one axis in the unit interval."""
    device = None if like is None else like.device
    dtype = dtype or (torch.get_default_dtype() if like is None else like.dtype)
    # in float64 first: x_i is then the rounded exact value on every device
    points = torch.arange(n, dtype=torch.float64, device=device)
    return (points / (n if periodic else max(n - 1, 1))).to(dtype)


def coordinates(
    shape: Sequence[int], periodic: Sequence[bool], like: Tensor | None = None
) -> Tensor:
    """Return the coordinates of every grid point, (dimension, *shape)."""
    axes = [
        axis_points(n, wraps, like) for n, wraps in zip(shape, periodic, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def with_coordinates(x: Tensor, periodic: Sequence[bool]) -> Tensor:
    """Append one channel a spatial axis that holds its coordinate.

    Args:
        x: (batch, channel, *space).
        periodic: which axes leave out their end point.
    """
    grid = coordinates(x.shape[2:], periodic, like=x)
    return torch.cat([x, grid.expand(x.shape[0], *grid.shape)], dim=1)


@functools.lru_cache(maxsize=64)
def interpolation_matrix(source: int, target: int, periodic: bool) -> Tensor:
    """Linear interpolation between two grids of one axis, (target, source), float64.

    Rows sum to one; points that both grids share are copied exactly; a periodic axis
    wraps around. Do not write to it: it is kept for the next call.
    """
    intervals = source if periodic else source - 1
    place = axis_points(target, periodic, dtype=torch.float64) * intervals
    left = place.floor().long().clamp(0, max(intervals - 1, 0))
    fraction = place - left
    rows = torch.arange(target)
    matrix = torch.zeros(target, source, dtype=torch.float64)
    matrix[rows, left] += 1 - fraction
    right = (left + 1) % source if periodic else (left + 1).clamp(max=source - 1)
    matrix[rows, right] += fraction
    return matrix


def resample(x: Tensor, shape: Sequence[int], periodic: Sequence[bool]) -> Tensor:
    """Interpolate linearly onto another grid of the same domain.

    Args:
        x: (..., *space), with as many trailing axes as ``shape`` has.
        shape: the grid wanted.
        periodic: which axes wrap around.
    """
    d = len(shape)
    for axis, (n, wraps) in enumerate(zip(shape, periodic, strict=True)):
        if x.shape[axis - d] != n:
            matrix = interpolation_matrix(x.shape[axis - d], n, wraps).to(x)
            x = torch.tensordot(x, matrix, dims=([axis - d], [1])).movedim(-1, axis - d)
    return x


def boundaries(
    periodic: Sequence[bool], otherwise: Boundary = "zeros"
) -> tuple[Boundary, ...]:
    """How a convolution continues each axis: around, or as ``otherwise`` says."""
    return tuple("circular" if wraps else otherwise for wraps in periodic)


def crop(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Keep the first points of each axis: (batch, channel, *shape)."""
    for axis, n in enumerate(shape):
        x = x.narrow(2 + axis, 0, n)
    return x


def pad(
    x: Tensor, width: int | Sequence[tuple[int, int]], modes: Sequence[Boundary]
) -> Tensor:
    """Continue a field beyond its boundary.

    Args:
        x: (batch, channel, *space).
        width: points on each end, one number or (low, high) for each axis.
        modes: zeros (odd continuation's first order: Dirichlet), circular (periodic),
            reflect (Neumann) or replicate, for each axis.
    """
    d = len(modes)
    widths = [(width, width)] * d if isinstance(width, int) else list(width)
    for mode in dict.fromkeys(modes):
        amounts: list[int] = []
        for axis in reversed(range(d)):  # torch counts from the last axis
            amounts += widths[axis] if modes[axis] == mode else (0, 0)
        if any(amounts):
            x = F.pad(x, amounts, "constant" if mode == "zeros" else mode)
    return x
