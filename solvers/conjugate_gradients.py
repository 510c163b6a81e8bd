"""Preconditioned conjugate gradients for one sample."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Map = Callable[[Array], Array]


def conjugate_gradients(
    apply: Map,
    precondition: Map,
    p: Array,
    residual: Array,
    target: float,
    max_iterations: int,
) -> tuple[Array, int]:
    """Improve p until √(rᵀ M⁻¹ r) <= target, r = b - A p.

    Args:
        apply: p -> A p, symmetric positive definite.
        precondition: r -> M⁻¹ r, symmetric positive definite.
        p: first guess; not changed.
        residual: b - A p of the first guess; overwritten by the recurrence.
        target: absolute, in the norm that M⁻¹ defines.
        max_iterations: stop there in any case.

    Returns:
        The improved p and the number of iterations.
    """
    z = precondition(residual)
    rz = float(np.vdot(residual, z))
    p, direction = p.copy(), z
    for iteration in range(max_iterations):
        if not rz > target**2:
            return p, iteration
        image = apply(direction)
        step = rz / float(np.vdot(direction, image))
        p += step * direction
        image *= step
        residual -= image
        z = precondition(residual)
        rz, previous = float(np.vdot(residual, z)), rz
        direction *= rz / previous
        direction += z
    return p, max_iterations
