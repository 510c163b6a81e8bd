"""Exponential Runge-Kutta methods for du/dt = L u + N(u), L diagonal.

uᵢ = e^{cᵢz} u + dt Σ_{j<i} aᵢⱼ(z) N(uⱼ),   u¹ = e^{z} u + dt Σᵢ bᵢ(z) N(uᵢ),   z = dt L

The coefficients are made of the functions

    φ₀(z) = eᶻ,   φₖ₊₁(z) = (φₖ(z) − 1/k!) / z,   φₖ(0) = 1/k!

The recurrence cancels for small z, so |z| < 1 is summed as a Taylor series.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = Any  # numpy array or torch tensor, real or complex
Nonlinear = Callable[[Array], Array]
Weights = tuple[Any, ...]


@dataclass(frozen=True)
class ExponentialRungeKutta:
    """A method as data.

    Args:
        name: what cases call it.
        order: order of convergence, as a test measures it.
        nodes: c₂, c₃, ... of the stages after the first.
        weights: z to (rows of a, b); a zero weight is ``None``.
        embedded: z to the weights d of u¹ − û¹ = dt Σ dᵢ N(uᵢ), whose last one belongs
            to N(u¹), the first stage of the next step.
        reference: where the method is from.
    """

    name: str
    order: int
    nodes: tuple[float, ...]
    weights: Callable[[NDArray[Any]], tuple[tuple[Weights, ...], Weights]]
    reference: str
    embedded: Callable[[NDArray[Any]], Weights] | None = None

    def prepare(
        self,
        linear: Array,
        dt: Any,
        nonlinear: Nonlinear,
        asarray: Callable[[Any], Array] = np.asarray,
    ) -> ExponentialStep:
        """Fix operator and step.

        Args:
            linear: the diagonal of L, broadcastable against the state.
            dt: step, one number or broadcastable against the state.
            nonlinear: N; must return a new array.
            asarray: makes the coefficients arrays of the state's library.

        Returns:
            A function from the state to the state one step later.
        """
        return ExponentialStep(self, linear, dt, nonlinear, asarray)


class ExponentialStep:
    """One step of fixed size.

    Where a pair is embedded, ``difference`` holds u¹ − û¹ and ``slope`` holds N(u¹).
    """

    def __init__(
        self,
        method: ExponentialRungeKutta,
        linear: Array,
        dt: Any,
        nonlinear: Nonlinear,
        asarray: Callable[[Any], Array],
    ) -> None:
        z = dt * linear
        rows, last = method.weights(z)
        self._decays = [asarray(_exp(c * z)) for c in (*method.nodes, 1.0)]
        self._rows = [_scaled(row, dt, asarray) for row in (*rows, last)]
        self._embedded = method.embedded and _scaled(method.embedded(z), dt, asarray)
        self._nonlinear = nonlinear
        self._known: tuple[Array, Array] | None = None
        self.difference: Array | None = None
        self.slope: Array | None = None

    def __call__(self, u: Array, slope: Array | None = None) -> Array:
        """Advance ``u``, which is left as it is, by one step.

        Args:
            u: state.
            slope: N(u) where known; a state this step returned is recognised.
        """
        if slope is None and self._known and self._known[0] is u:
            slope = self._known[1]
        slopes = [self._nonlinear(u) if slope is None else slope]
        for decay, row in zip(self._decays, self._rows, strict=True):
            stage = _combine(decay * u, row, slopes)
            if len(slopes) < len(self._rows):
                slopes.append(self._nonlinear(stage))
        if self._embedded is not None:
            slopes.append(self._nonlinear(stage))
            self.slope = slopes[-1]
            self._known = (stage, self.slope)
            self.difference = _combine(0 * u, self._embedded, slopes)
        return stage


def _scaled(weights: Weights, dt: Any, asarray: Callable[[Any], Array]) -> list[Any]:
    products = [None if w is None else dt * w for w in weights]
    # plain numbers stay as they are: torch would make them float32
    return [p if p is None or np.isscalar(p) else asarray(p) for p in products]


def _exp(z: Array) -> Array:
    of_numpy = np.isscalar(z) or isinstance(z, np.ndarray)
    return np.exp(z) if of_numpy else z.exp()


def _combine(start: Array, weights: list[Any], slopes: list[Array]) -> Array:
    for weight, slope in zip(weights, slopes, strict=False):
        if weight is not None:
            start = start + weight * slope
    return start


def _ifrk4(z: NDArray[Any]) -> tuple[tuple[Weights, ...], Weights]:
    half = _exp(z / 2)
    rows = ((half / 2,), (None, 0.5), (None, None, half))
    return rows, (half**2 / 6, half / 3, half / 3, 1 / 6)


def _etdrk2(z: NDArray[Any]) -> tuple[tuple[Weights, ...], Weights]:
    one, two = phi(z, 2)
    return ((one,),), (one - two, two)


def _etdrk4(z: NDArray[Any]) -> tuple[tuple[Weights, ...], Weights]:
    (half,) = phi(z / 2, 1)
    one, two, three = phi(z, 3)
    rows = (
        (half / 2,),
        (None, half / 2),
        (half / 2 * (np.exp(z / 2) - 1), None, half),
    )
    middle = 2 * two - 4 * three
    return rows, (one - 3 * two + 4 * three, middle, middle, 4 * three - two)


def _last_stage(weight: Any) -> Weights:
    return (None, None, None, weight, -weight)


IFRK4 = ExponentialRungeKutta(
    name="ifrk4",
    order=4,
    nodes=(0.5, 0.5, 1.0),
    weights=_ifrk4,
    # û¹ weighs the last stage 1/15 and N(u¹) 1/10, and is of order 3
    embedded=lambda z: (None, None, None, 1 / 10, -1 / 10),
    reference="Balac and Mahe, Comput. Phys. Commun. 184 (2013), ERK4(3)-IP",
)
ETDRK2 = ExponentialRungeKutta(
    name="etdrk2",
    order=2,
    nodes=(1.0,),
    weights=_etdrk2,
    reference="Cox and Matthews, J. Comput. Phys. 176 (2002)",
)
ETDRK4 = ExponentialRungeKutta(
    name="etdrk4",
    order=4,
    nodes=(0.5, 0.5, 1.0),
    weights=_etdrk4,
    # as for ifrk4: 3/5 of the last weight moves from k₄ to N(u¹)
    embedded=lambda z: _last_stage(3 / 5 * _etdrk4(z)[1][3]),
    reference="Cox and Matthews, J. Comput. Phys. 176 (2002)",
)


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
