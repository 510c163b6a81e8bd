"""What every launch of a Triton kernel needs: device, blocks, arithmetic."""

from __future__ import annotations

from typing import Any

import torch


def run(kernel: Any, grid: tuple[int, ...], *args: Any, **options: Any) -> None:
    """Launch a kernel on the device of its first argument."""
    device = args[0].device
    if device.type != "cuda" or device.index == torch.cuda.current_device():
        kernel[grid](*args, **options)
        return
    with torch.cuda.device(device):
        kernel[grid](*args, **options)


def block(size: int, most: int) -> int:
    """Power of two between 16, the least that tensor cores take, and ``most``."""
    return min(most, max(16, 1 << (size - 1).bit_length()))


def products(precision: str) -> str:
    """Arithmetic of the tensor cores: three tf32 products for one of float32."""
    return "tf32x3" if precision == "fp32" else "tf32"
