"""Periodic Gaussian random fields of mean zero, the same at every resolution.

    u(x) = Σ_{k≠0} û_k exp(2πi k·x / L),   E|û_k|² = σ² (|2πk/L|² + τ²)^(−α),

a sample of N(0, σ²(−Δ + τ²)^(−α)) less its mean. Coefficients are drawn in shells of
growing max|k|, so that a finer grid only adds modes to those a coarser one has.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from opkit.base.arrays import Array
from opkit.base.records import Record
from opkit.errors import OpkitInputError


class GaussianField(Record):
    """Law of the fields.

    Args:
        alpha: smoothness α.
        tau: inverse length τ.
        sigma: amplitude σ.
        length: side L of the periodic domain.
    """

    kind: Literal["gaussian"] = "gaussian"
    alpha: float = Field(gt=0, le=20)
    tau: float = Field(ge=0, le=1e6)
    sigma: float = Field(gt=0)
    length: float = Field(default=1.0, gt=0)

    def sample(
        self, rng: np.random.Generator, shape: tuple[int, ...], most: int | None = None
    ) -> Array:
        """Draw one field on a grid of one or two equal axes.

        Args:
            rng: advanced by an amount that depends on the resolution: draw anything
                else first.
            shape: grid points, ``(n,)`` or ``(n, n)``.
            most: largest |k| along an axis; the largest below n/2 by default.

        Raises:
            OpkitInputError: axes of different length.
        """
        (n, *others) = shape
        if any(other != n for other in others) or len(shape) > 2:
            raise OpkitInputError(f"grid {shape}: random fields need (n,) or (n, n)")
        most = (n - 1) // 2 if most is None else most
        k = shells(most, len(shape))
        pairs = rng.standard_normal((len(k), 2))
        squared = (2 * np.pi / self.length) ** 2 * (k**2).sum(1)
        size = self.sigma * (squared + self.tau**2) ** (-self.alpha / 2)
        values = size / np.sqrt(2) * (pairs[:, 0] + 1j * pairs[:, 1])
        coefficients = np.zeros((*others, n // 2 + 1), np.complex128)
        coefficients[tuple((k % n).T)] = values
        if len(shape) == 2:  # kx = 0 holds both members of a pair
            zero = k[:, -1] == 0
            coefficients[-k[zero, 0] % n, 0] = values[zero].conj()
        axes = tuple(range(len(shape)))
        field: Array = np.fft.irfftn(coefficients, shape, axes, norm="forward")
        return field


@cache
def shells(most: int, dimensions: int) -> NDArray[Any]:
    """List one wavenumber of each pair ±k, in shells of max|k| from 1 to ``most``.

    Returns:
        (pair, dimension): (kx,) or (ky, kx), with kx > 0, or kx = 0 and ky > 0.
    """
    axis = np.arange(-most, most + 1)
    grid = np.meshgrid(*(dimensions * [axis]), indexing="ij")
    k = np.stack([component.ravel() for component in grid], axis=1)
    first = k[:, 0]
    k = k[(k[:, -1] > 0) | ((k[:, -1] == 0) & (first > 0))]
    ordered: NDArray[Any] = k[np.lexsort((*k.T, np.abs(k).max(1)))]
    ordered.flags.writeable = False  # shared by all callers
    return ordered
