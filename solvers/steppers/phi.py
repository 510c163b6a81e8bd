"""The φ functions of exponential integrators.

    φ₀(z) = eᶻ,   φₖ₊₁(z) = (φₖ(z) − 1/k!) / z,   φₖ(0) = 1/k!

The recurrence cancels for small z, so |z| < 1 is summed as a Taylor series.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TERMS = 20  # 1/20! is below the round-off of a float64


def phi(z: NDArray[Any], count: int) -> list[NDArray[Any]]:
    """Evaluate φ₁ to φ_count.

    Args:
        z: real or complex, any shape.
        count: how many functions.

    Returns:
        The functions in order, each of the shape of ``z``.
    """
    z = np.asarray(z)
    small = np.abs(z) < 1
    near, far = np.where(small, z, 0), np.where(small, 1, z)
    values = []
    recurrence = np.exp(far)
    for k in range(1, count + 1):
        recurrence = (recurrence - 1 / math.factorial(k - 1)) / far
        series = np.zeros_like(near, dtype=np.result_type(z, np.float64))
        for n in range(_TERMS, -1, -1):
            series = series * near + 1 / math.factorial(n + k)
        values.append(np.where(small, series, recurrence))
    return values
