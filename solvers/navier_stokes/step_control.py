"""How long the next step is: the rules shared by compiled and array code.

A step's error estimate is the relative L2 norm of the defect

    d = uⁿ⁺¹ − (1 − a) uⁿ − a uⁿ⁻¹ − dt (b₁ Nⁿ + b₀ Nⁿ⁻¹ + b₂ Nⁿ⁺¹),

all carried to the same time by exp(L t), divided by 1 + a. The weights make it vanish
for polynomials of degree 4 (Simpson's rule where both steps are equal), so that d is of
the size of the fourth-order method's own local errors (Shampine and Watts, Math. Comp.
25 (1971) 445). The first step has no past: there the distance to the embedded
third-order result, which is larger, stands in.

A step of length dt may have rtol dt / duration of error, so that a trajectory's sum
stays below rtol. All functions take numbers or arrays, one a sample.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SAFETY = 0.9
SHRINK, GROW = 0.2, 4.0
MAX_REJECTIONS = 20  # in a row; 0.2^20 of the first guess
SHORTEST = 1e-6  # of the time to a record: no run takes a million steps for one
# RK4 is stable to |λ dt| = 2.83 on the imaginary axis; the fastest kept mode of the 2/3
# rule has |λ| = 2.09 (|u|/dx + |v|/dx).
MAX_CFL = 1.35


def factor(error: Any, allowed: Any) -> Any:
    """Return the change of dt that makes an estimate of order dt⁴ a unit time fit."""
    wish = SAFETY * (allowed / np.maximum(error, 1e-300)) ** 0.25
    return np.minimum(np.maximum(wish, SHRINK), GROW)


def divide(remaining: Any, dt: Any) -> Any:
    """Return the longest step not above dt of which a whole number fills remaining."""
    return remaining / np.maximum(np.ceil(remaining / dt - 1e-9), 1.0)


def defect_weights(ratio: Any) -> tuple[Any, Any, Any, Any]:
    """Return a, b₀, b₁, b₂ of the defect for ratio = previous step / step."""
    a = (1 + 2 * ratio) / (ratio**3 * (2 + ratio))
    b0 = (a * ratio**2 * (ratio + 1.5) - 0.5) / (3 * ratio * (1 + ratio))
    b2 = (1 - a * ratio**2) / 2 + ratio * b0
    return a, b0, 1 + a * ratio - b0 - b2, b2
