"""What a spectral solver cuts off a field before it begins.

    |u - P u| / |u|,   P: the projection on the modes that the solver advances

|·|: root mean square. An answer that begins with P u is wrong by as much.
"""

from __future__ import annotations

import numpy as np

from opkit.base.arrays import Array


def square_band(shape: tuple[int, ...], most: int) -> Array:
    """Return 1 where all wavenumbers are at most ``most``, else 0, as `rfftn` orders.

    Args:
        shape: of the grid, in points.
        most: M, the largest wavenumber that is advanced.
    """
    band: Array = (np.arange(shape[-1] // 2 + 1) <= most) * np.float64(1)
    for n in reversed(shape[:-1]):
        band = (np.abs(np.fft.fftfreq(n, 1 / n)) <= most).reshape(
            -1, *(1,) * band.ndim
        ) * band
    return band


def share_outside(fields: Array, band: Array) -> Array:
    """Return the relative size of what lies outside a band of modes, (batch,).

    Args:
        fields: (batch, ..., *grid).
        band: 1 where a mode is advanced, 0 where it is dropped, (*modes); the
            constant counts as advanced.

    Returns:
        Zero for a field that is zero.
    """
    dropped = 1 - band
    dropped[(0,) * band.ndim] = 0
    # numpy's transforms may round differently with the batch: one sample at a time
    return np.array([_share(field, dropped) for field in fields])


def _share(field: Array, dropped: Array) -> float:
    largest = np.abs(field).max(initial=0.0)
    if largest == 0:
        return 0.0
    scaled, axes = field / largest, tuple(range(-dropped.ndim, 0))
    grid = field.shape[-dropped.ndim :]
    outside = np.fft.irfftn(np.fft.rfftn(scaled, axes=axes) * dropped, grid, axes)
    return float(np.linalg.norm(outside) / np.linalg.norm(scaled))
