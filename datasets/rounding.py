"""Numbers that a stored type cannot hold: beyond its range, or lost in its rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from opkit.errors import DataError

LOST = 0.01
"""Rounding over spread from which a variation counts as lost."""
NOISE = 1e-11
"""Spread over magnitude under which it counts as round-off."""


def rounded(name: str, values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return a batch in a stored type that can hold it.

    One sample alone may be as good as constant; two or more that differ less than the
    type resolves, in every point and from each other, are lost.

    Args:
        name: of the variable.
        values: (batch, ...).
        dtype: stored type.

    Raises:
        DataError: a value is beyond the range of the type, or all variation is lost.
    """
    with np.errstate(over="ignore"):
        stored: NDArray[Any] = values.astype(dtype)
    if not values.size or not np.isfinite(values).all():
        return stored
    if not np.isfinite(stored).all():
        raise DataError(beyond(name, float(np.abs(values).max()), dtype))
    if values.ndim < 2 or len(values) < 2:
        return stored
    exact = values.astype(np.float64)
    error = float(np.abs(exact - stored).max())
    message = lost(name, float(exact.min()), float(exact.max()), error, dtype)
    if message is not None:
        raise DataError(message)
    return stored


def beyond(name: str, largest: float, dtype: str) -> str:
    """Say that a value is beyond the range of a type, and the remedy."""
    return (
        f"{name} reaches {largest:.3g}, beyond the range of {dtype} "
        f"({np.finfo(dtype).max:.1e}): {wider(dtype)}"
    )


def lost(name: str, low: float, high: float, error: float, dtype: str) -> str | None:
    """Say that the variation of values is lost in their rounding; None if it is not.

    Args:
        name: of the variable.
        low: least value.
        high: largest value.
        error: largest difference between values and stored values.
        dtype: stored type.
    """
    spread, largest = high - low, max(abs(high), abs(low))
    if not (error > LOST * spread and spread > NOISE * largest):
        return None
    return (
        f"{name} varies by {spread:.3g} around {high:.6g}, which {dtype} rounds by "
        f"{error:.1g}: {wider(dtype)}, or subtract a reference value"
    )


def wider(dtype: str) -> str:
    """Name the remedy where a type is too narrow."""
    return "store it with --float64" if dtype == "float32" else "choose other units"
