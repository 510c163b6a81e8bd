"""The truncated Fourier transform as real matrices, built in float64 and cached."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from opkit.kernels.spectral_conv.modes import highest


def _angles(wavenumber: Tensor, num_points: int) -> Tensor:
    # k n is reduced modulo N in integers: the argument stays below 2 pi, and
    # cos, sin keep full precision for any N.
    product = torch.outer(wavenumber, torch.arange(num_points))
    return (product % num_points).double() * (2 * torch.pi / num_points)


@lru_cache(maxsize=256)
def real_axis(
    count: int,
    num_points: int,
    scale: float,
    doubled: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Rows w_k cos(2πkn/N) and -w_k sin(2πkn/N) of the last axis, interleaved.

    w_k = scale, times 2 where ``doubled`` and the mode -k is left out: for all k but
    zero and Nyquist (2k = N), whose imaginary parts have no effect on a real field.

    Args:
        count: number K of modes.
        num_points: number N of grid points.
        scale: factor of the transform.
        doubled: weigh modes as the inverse real transform does.
        dtype: of the result.
        device: of the result.

    Returns:
        A matrix of shape (2 K, N).
    """
    wavenumber = torch.arange(count)
    angle = _angles(wavenumber, num_points)
    sine = torch.sin(angle)
    own_mirror = (2 * wavenumber) % num_points == 0
    sine[own_mirror] = 0.0
    weight = torch.full((count, 1), scale, dtype=torch.float64)
    if doubled:
        weight[~own_mirror] *= 2
    rows = torch.stack([torch.cos(angle), -sine], dim=1) * weight[..., None]
    return rows.reshape(2 * count, num_points).to(device=device, dtype=dtype)


@lru_cache(maxsize=256)
def full_axis(
    count: int, num_points: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Rows cos(2πmn/N), m = 0 … Q, then sin(2πmn/N), m = 1 … Q, of another axis.

    One pair of real rows serves the wavenumbers +m and -m.

    Returns:
        A matrix of shape (2 Q + 1, N).
    """
    wavenumber = torch.arange(highest(count) + 1)
    angle = _angles(wavenumber, num_points)
    sine = torch.sin(angle)
    sine[(2 * wavenumber) % num_points == 0] = 0.0
    rows = torch.cat([torch.cos(angle), sine[1:]])
    return rows.to(device=device, dtype=dtype)
