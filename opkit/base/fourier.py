"""Real Fourier transforms of tensors, defined for empty batches as well.

Some builds of ``torch.fft`` (MKL, torch 2.14) raise where an axis that is not
transformed is empty; the result is then empty, and no library needs to be asked.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def rfftn(x: Tensor, dim: Sequence[int], norm: str = "backward") -> Tensor:
    """Return û = Σ_x u_x exp(-i k·x) over ``dim``; see `torch.fft.rfftn`."""
    result: Tensor
    if x.numel():
        result = torch.fft.rfftn(x, dim=tuple(dim), norm=norm)
        return result
    shape = list(x.shape)
    shape[dim[-1]] = shape[dim[-1]] // 2 + 1
    return torch.zeros(shape, dtype=x.dtype.to_complex(), device=x.device)


def irfftn(
    x_hat: Tensor, s: Sequence[int], dim: Sequence[int], norm: str = "backward"
) -> Tensor:
    """Return the inverse of `rfftn` on ``s`` points along ``dim``."""
    result: Tensor
    if x_hat.numel():
        result = torch.fft.irfftn(x_hat, s=tuple(s), dim=tuple(dim), norm=norm)
        return result
    shape = list(x_hat.shape)
    for axis, count in zip(dim, s, strict=True):
        shape[axis] = count
    return torch.zeros(shape, dtype=x_hat.dtype.to_real(), device=x_hat.device)
