"""The truncated Fourier transform as real matrices, built in float64 and cached.

`axis_table` and `row_table` give them as the Triton kernels read them: real and
imaginary planes, padded with zeros to whole blocks.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
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


_EXACT = (torch.float64, torch.device("cpu"))


def padded(size: int, block: int) -> int:
    """Return the smallest multiple of ``block`` not below ``size``."""
    return -(-size // block) * block


@lru_cache(maxsize=256)
def row_table(
    count: int,
    num_points: int,
    scale: float,
    doubled: bool,
    fold: bool,
    mode_block: int,
    point_block: int,
    transposed: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Cosines and minus sines of the last axis; see `matrices.real_axis`.

    Args:
        count: number of modes.
        num_points: number N of grid points.
        scale: factor of the transform.
        doubled: see `matrices.real_axis`.
        fold: keep the points 0 … N/2 only.
        mode_block: pad the modes to a multiple of this.
        point_block: pad the points to a multiple of this.
        transposed: order (block of modes, cosine or sine, point, mode) of the analysis
            instead of (cosine or sine, mode, point) of the synthesis.
        dtype: of the result.
        device: of the result.
    """
    table = real_axis(count, num_points, scale, doubled, *_EXACT)
    table = table.view(count, 2, num_points).transpose(0, 1)
    points = num_points // 2 + 1 if fold else num_points
    modes, width = padded(count, mode_block), padded(points, point_block)
    table = F.pad(table[..., :points], (0, width - points, 0, modes - count))
    if transposed:
        table = table.view(2, -1, mode_block, width).permute(1, 0, 3, 2)
    return table.to(device=device, dtype=dtype).contiguous()


@lru_cache(maxsize=256)
def axis_table(
    count: int,
    num_points: int,
    mode_block: int,
    point_block: int,
    transposed: bool,
    device: torch.device,
) -> Tensor:
    """Cosines and sines of the wavenumbers 0 … Q of another axis.

    Returns:
        (cosine or sine, wavenumber, point), the last two swapped where ``transposed``.
    """
    rows = full_axis(count, num_points, *_EXACT)
    top = highest(count)
    table = torch.stack([rows[: top + 1], F.pad(rows[top + 1 :], (0, 0, 1, 0))])
    modes, width = padded(top + 1, mode_block), padded(num_points, point_block)
    table = F.pad(table, (0, width - num_points, 0, modes - top - 1))
    table = table.transpose(1, 2) if transposed else table
    return table.to(device=device, dtype=torch.float32).contiguous()
