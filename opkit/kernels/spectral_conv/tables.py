"""The Fourier matrices as the Triton kernels read them: in planes, zero-padded."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from opkit.kernels.spectral_conv.matrices import full_axis, real_axis
from opkit.kernels.spectral_conv.modes import highest

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
