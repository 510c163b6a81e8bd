"""Orthonormal waves on the unit box, and weights of points that lie anywhere in it.

periodic axis: 1, √2 cos 2πkx, √2 sin 2πkx;    other axes: 1, √2 cos πkx
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from opkit.errors import OpkitInputError

FINE = 2**14
"""Points of the grid whose parts are given to the nearest point."""


def waves(points: Tensor, count: int, periodic: Sequence[bool]) -> Tensor:
    """Return products of waves of the axes.

    Args:
        points: (..., d) in the unit box.
        count: largest k of an axis.
        periodic: which axes are closed.

    Returns:
        (..., wave), the constant first.

    Raises:
        OpkitInputError: points of another dimension, or not finite.
    """
    _refuse(points, periodic)
    k = torch.arange(1, count + 1, dtype=points.dtype, device=points.device)
    product = points.new_ones(*points.shape[:-1], 1)
    for axis, closed in enumerate(periodic):
        angle = math.pi * points[..., axis, None] * k * (2 if closed else 1)
        parts = [angle.cos(), angle.sin()] if closed else [angle.cos()]
        parts = [torch.ones_like(angle[..., :1]), *(2**0.5 * part for part in parts)]
        one = torch.cat(parts, -1)
        product = (product[..., :, None] * one[..., None, :]).flatten(-2)
    return product


def shares(points: Tensor, periodic: Sequence[bool]) -> Tensor:
    """Return which share of the unit box is nearest to each point, (point,); sum 1.

    Args:
        points: (point, d).
        periodic: which axes are closed.

    Raises:
        OpkitInputError: points of another dimension, or not finite.
    """
    _refuse(points, periodic)
    d = len(periodic)
    n = max(round(FINE ** (1 / d)), 8)
    axis = (np.arange(n) + 0.5) / n
    grid = np.stack(np.meshgrid(*[axis] * d, indexing="ij"), -1).reshape(-1, d)
    at = points.detach().cpu().double().numpy()
    box = [1.0 if closed else 0.0 for closed in periodic]  # 0: not periodic
    at = np.where(periodic, at % 1.0, at)
    nearest = cKDTree(at, boxsize=box).query(grid)[1]
    part = np.bincount(nearest, minlength=len(at)) / len(grid)
    return torch.from_numpy(part).to(points)


def _refuse(points: Tensor, periodic: Sequence[bool]) -> None:
    if points.shape[-1] != len(periodic):
        raise OpkitInputError(
            f"points of shape {tuple(points.shape)}: give (point, {len(periodic)})"
        )
    if not bool(points.isfinite().all()):
        raise OpkitInputError("the points are not finite: leave such points out")
