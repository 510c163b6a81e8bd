"""Windows of a domain, which overlap, and weights that sum to 1 everywhere.

    Σ_w χ_w(x) = 1,   χ_w(x) = Π_axes max(0, 1 - |x_axis - c_w| / h)

with centres c evenly spaced from end to end of each axis, h apart; around a periodic
axis there are as many intervals as centres. Source of the partition of unity: Babuška,
Melenk, Int. J. Numer. Methods Eng. 40, 727-758 (1997).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opkit.base.arrays import Indices
from opkit.errors import OpkitInputError
from opkit.operators.shapes import DataShape, MeshShape

MOST = 4096
"""Windows of a domain at most."""


@dataclass(frozen=True)
class Windows:
    """Points and weights of every window.

    Args:
        places: (window, point of it) indices into the points; windows of fewer points
            than the largest are filled up with point 0.
        weights: χ there (window, point of it); 0 where filled up.
        points: the places of each window that are not filled up, as an array.
    """

    places: Tensor
    weights: Tensor
    points: tuple[Indices, ...]


def windows(data: DataShape | MeshShape, counts: Sequence[int]) -> Windows:
    """Cover a grid or a mesh.

    Args:
        data: grid or mesh.
        counts: windows along each axis of the grid, or each coordinate of the mesh;
            one window where empty.

    Raises:
        OpkitInputError: other axes than the data have, or too many windows.
    """
    axes = data.points.shape[1] if isinstance(data, MeshShape) else len(data.shape)
    if counts and len(counts) != axes:
        raise OpkitInputError(
            f"pod-gp: windows={list(counts)} has {len(counts)} numbers, the data have "
            f"{axes} axes: give one number per axis"
        )
    counts = tuple(counts) or (1,) * axes
    if np.prod(np.array(counts, float)) > MOST:
        raise OpkitInputError(
            f"pod-gp: windows={list(counts)} are more than {MOST} windows: give fewer"
        )
    if isinstance(data, MeshShape):
        low, high = data.points.min(0), data.points.max(0)
        places = (data.points - low) / (high - low)
        hats = [
            _hats(x, n, False) for x, n in zip(places.T, counts, strict=True)
        ]  # each (count, point)
    else:
        hats = []
        for n, count, wraps in zip(data.shape, counts, data.periodic, strict=True):
            if count > n:
                raise OpkitInputError(
                    f"pod-gp: {count} windows on an axis of {n} points: give fewer"
                )
            places = np.arange(n) / (n if wraps else max(n - 1, 1))
            hats.append(_hats(places, count, wraps))
        for axis, hat in enumerate(hats):  # to (count, *space), flattened
            shape = [1] * axes
            shape[axis] = hat.shape[1]
            spread = np.broadcast_to(
                hat.reshape(len(hat), *shape), (len(hat), *data.shape)
            )
            hats[axis] = spread.reshape(len(hat), -1)
    weights = hats[0]
    for hat in hats[1:]:
        weights = (weights[:, None] * hat).reshape(-1, hat.shape[1])
    return _packed(weights[(weights > 0).any(axis=1)])


def _hats(x: NDArray[np.float64], count: int, wraps: bool) -> NDArray[np.float64]:
    """Weights (count, point) at places in [0, 1]."""
    if count == 1:
        return np.ones((1, len(x)))
    intervals = count if wraps else count - 1
    off = x - (np.arange(count) / intervals)[:, None]
    if wraps:
        off = (off + 0.5) % 1 - 0.5
    hats: NDArray[np.float64] = np.maximum(1 - np.abs(off) * intervals, 0)
    return hats


def _packed(weights: NDArray[np.float64]) -> Windows:
    """Leave out the points where a window is 0."""
    inside = weights > 0
    most = int(inside.sum(axis=1).max())
    places = np.argsort(~inside, axis=1, kind="stable")[:, :most]
    values = np.take_along_axis(weights, places, axis=1)
    kept = tuple(row[own > 0] for row, own in zip(places, values, strict=True))
    return Windows(
        torch.from_numpy(np.where(values > 0, places, 0)),
        torch.from_numpy(values),
        kept,
    )
