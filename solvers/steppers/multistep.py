"""Adams-Bashforth methods, alone or with an implicit linear part, L diagonal.

(1 − θ dt L) uⁿ⁺¹ = (1 + (1 − θ) dt L) uⁿ + dt Σⱼ βⱼ N(uⁿ⁻ʲ)      (θ given)
uⁿ⁺¹ = uⁿ + dt Σⱼ βⱼ (L uⁿ⁻ʲ + N(uⁿ⁻ʲ))                          (θ is None)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from opkit.solvers.steppers.exponential import IFRK4, Array, Nonlinear

_ADAMS_BASHFORTH = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12))


@dataclass(frozen=True)
class Multistep:
    """A method as data.

    Args:
        name: what cases call it.
        order: order of convergence, as a test measures it.
        steps: how many slopes are remembered (1 is explicit Euler).
        theta: implicit weight of L; ``None`` treats L explicitly.
        start: how the first steps are made: by the lower-order formulas, or by the
            classical Runge-Kutta method.
    """

    name: str
    order: int
    steps: Literal[1, 2, 3]
    theta: float | None = None
    start: Literal["lower-order", "runge-kutta"] = "lower-order"

    def prepare(
        self,
        linear: NDArray[Any],
        dt: float,
        nonlinear: Nonlinear,
        asarray: Callable[[Any], Array] = np.asarray,
    ) -> MultistepStep:
        """Fix operator and step; as `ExponentialRungeKutta.prepare`.

        The function it returns remembers past slopes: it serves one trajectory.
        """
        return MultistepStep(self, np.asarray(linear), dt, nonlinear, asarray)


class MultistepStep:
    """One step of fixed size of one trajectory."""

    def __init__(
        self,
        method: Multistep,
        linear: NDArray[Any],
        dt: float,
        nonlinear: Nonlinear,
        asarray: Callable[[Any], Array],
    ) -> None:
        self._method, self._dt = method, dt
        self._slopes: list[Array] = []
        if method.theta is None:
            diagonal = asarray(linear)
            self._slope: Nonlinear = lambda u: diagonal * u + nonlinear(u)
            self._kept, self._gain = None, dt
        else:
            implicit = 1 / (1 - method.theta * dt * linear)
            explicit = 1 + (1 - method.theta) * dt * linear
            self._slope = nonlinear
            self._kept, self._gain = (
                asarray(explicit * implicit),
                asarray(dt * implicit),
            )
        zero = np.zeros_like(linear)
        self._runge_kutta = IFRK4.prepare(zero, dt, self._slope, asarray)

    def __call__(self, u: Array) -> Array:
        """Advance ``u``, which is left as it is, by one step."""
        self._slopes.insert(0, self._slope(u))
        del self._slopes[self._method.steps :]
        known = len(self._slopes)
        if self._method.start == "runge-kutta" and known < self._method.steps:
            return self._runge_kutta(u)
        slope = sum(
            weight * past
            for weight, past in zip(
                _ADAMS_BASHFORTH[known - 1], self._slopes, strict=True
            )
        )
        return (u if self._kept is None else self._kept * u) + self._gain * slope


AB3 = Multistep(name="ab3", order=3, steps=3, start="runge-kutta")
# The Euler first step leaves an error of order dt², once.
AB3_EULER_START = Multistep(name="ab3-euler-start", order=2, steps=3)
CNAB2 = Multistep(name="cnab2", order=2, steps=2, theta=0.5)
EULER_CN = Multistep(name="euler-cn", order=1, steps=1, theta=0.5)
