"""Which Fourier modes are kept, in which order, and how they sit on a grid.

An axis with a full transform keeps K modes with the integer wavenumbers
0, 1, …, P-1, -1, -2, …, -Q where P = ⌈K/2⌉ and Q = ⌊K/2⌋ (for even K the mode -Q has no
partner). The last axis has a real transform and keeps the wavenumbers 0, 1, …, K-1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from opkit.errors import OpkitInputError

NORMS = ("forward", "ortho", "backward")


def split(count: int) -> tuple[int, int]:
    """Return (P, Q): how many wavenumbers are non-negative and how many negative."""
    return (count + 1) // 2, count // 2


def highest(count: int) -> int:
    """Largest |wavenumber| among ``count`` modes."""
    return count // 2


def wavenumbers(count: int) -> list[int]:
    """Integer wavenumbers of an axis with a full transform, in storage order."""
    positive, negative = split(count)
    return [*range(positive), *range(-1, -negative - 1, -1)]


def shifted_order(count: int) -> list[int]:
    """Position in ascending order (-Q … P-1) of each mode in storage order."""
    return [wavenumber + count // 2 for wavenumber in wavenumbers(count)]


def available(shape: Sequence[int]) -> list[int]:
    """Return the largest number of modes that a real field of this shape holds."""
    return [*shape[:-1], shape[-1] // 2 + 1]


def scales(
    norm: str, in_shape: Sequence[int], out_shape: Sequence[int]
) -> tuple[float, float]:
    """Factors of the analysis and of the synthesis under a torch.fft normalisation."""
    if norm == "forward":
        return 1 / math.prod(in_shape), 1.0
    if norm == "backward":
        return 1.0, 1 / math.prod(out_shape)
    if norm == "ortho":
        return math.prod(in_shape) ** -0.5, math.prod(out_shape) ** -0.5
    raise OpkitInputError(f"fft_norm {norm!r} is unknown: use one of {NORMS}")
