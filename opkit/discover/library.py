"""Candidate terms u^p ∂^d u on periodic grids, with spectral derivatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product

import numpy as np
from numpy.typing import ArrayLike

from opkit.base.arrays import Array
from opkit.errors import OpkitInputError

Library = Mapping[str, Callable[[Array], Array]]
"""Name of a term to a function from states (sample, *space) to its values."""
AXES = ("x", "y", "z")
MOST = 20
"""Largest power and order: beyond it the terms exceed the range of floats."""


def spectral_library(
    axes: tuple[ArrayLike, ...],
    periods: tuple[float, ...],
    powers: int = 4,
    derivatives: int = 4,
) -> dict[str, Callable[[Array], Array]]:
    """Return u^p and u^p ∂^d u with p up to ``powers``, d up to ``derivatives``.

    Args:
        axes: coordinates along each axis, in array order, equally spaced.
        periods: length of each axis.
        powers: largest p.
        derivatives: largest order d, of all axes together.

    Returns:
        Names such as ``u^2 u_xx`` to functions; 24 of them on one axis with the
        defaults. The constant is not among them.

    Raises:
        OpkitInputError: axes that are not equally spaced and closed, or numbers out of
            range.
    """
    if len(axes) != len(periods) or not 1 <= len(axes) <= 3:
        raise OpkitInputError(
            f"{len(axes)} axes and {len(periods)} periods: give one to three of each"
        )
    if not (0 <= powers <= MOST and 0 <= derivatives <= MOST):
        raise OpkitInputError(f"powers and derivatives: give numbers from 0 to {MOST}")
    waves = []
    for axis, period in zip(axes, periods, strict=True):
        x = np.asarray(axis, np.float64)
        if x.ndim != 1 or len(x) < 4 or not np.allclose(np.diff(x), period / len(x)):
            raise OpkitInputError(
                "the spectral library needs equally spaced points on periodic axes: "
                "give functions of your own"
            )
        k = 2j * np.pi / period * np.fft.fftfreq(len(x), 1 / len(x))
        if len(x) % 2 == 0:
            k[len(x) // 2] = 0  # the wave that has no slope on the grid
        waves.append(k)
    terms: dict[str, Callable[[Array], Array]] = {
        _power(p): _product(p, None) for p in range(1, powers + 1)
    }
    orders = product(range(derivatives + 1), repeat=len(axes))
    for order in sorted(orders, key=lambda o: (sum(o), o[::-1])):
        if not 1 <= sum(order) <= derivatives:
            continue
        # names of the axes end with x: (y, x) as arrays have them
        letters = "".join(
            AXES[len(axes) - 1 - a] * order[a] for a in reversed(range(len(axes)))
        )
        symbol = np.ones((1,) * len(axes), complex)
        for a, k in enumerate(waves):
            shape = [1] * len(axes)
            shape[a] = -1
            symbol = symbol * (k ** order[a]).reshape(shape)
        for p in range(powers + 1):
            name = f"{_power(p)} u_{letters}" if p else f"u_{letters}"
            terms[name] = _product(p, symbol)
    return terms


def _power(p: int) -> str:
    return "u" if p == 1 else f"u^{p}"


def _product(p: int, symbol: np.ndarray | None) -> Callable[[Array], Array]:
    def term(states: Array) -> Array:
        if symbol is None:
            return states**p
        space = tuple(range(-symbol.ndim, 0))
        slope: Array = np.fft.ifftn(
            symbol * np.fft.fftn(states, axes=space), axes=space
        ).real
        return states**p * slope

    return term
