"""Sums of a few sines with random amplitudes and phases, on a ring.

    u(x) = m + Σ_{j=1..J} A_j sin(2π ℓ_j x / L + φ_j),
    A_j ~ U(−A, A),   ℓ_j uniform on low, ..., high,   φ_j ~ U(0, 2π)

Source: Brandstetter, Welling, Worrall, Lie Point Symmetry Data Augmentation for Neural
PDE Solvers, ICML 2022, arXiv:2202.07643 (ten sines, A = 1/2, ℓ from 1 to 2).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from opkit.base.arrays import Array
from opkit.base.records import NotNegative, Record


class Sines(Record):
    """Law of the fields.

    Args:
        terms: J, how many sines.
        amplitude: A, in the units of the field.
        waves: lowest and highest ℓ, waves on the ring.
        mean: m.
    """

    kind: Literal["sines"] = "sines"
    terms: int = Field(default=10, ge=1, le=1000)
    amplitude: NotNegative = 0.5
    waves: tuple[int, int] = (1, 2)
    mean: float = 0.0

    @model_validator(mode="after")
    def _ordered(self) -> Sines:
        low, high = self.waves
        if not 1 <= low <= high:
            raise ValueError(
                f"waves {low} to {high}: give the lower first, 1 or more each"
            )
        return self

    def sample(self, rng: np.random.Generator, shape: tuple[int]) -> Array:
        """Draw one field on a grid of the ring; the draws do not depend on the grid."""
        (n,) = shape
        low, high = self.waves
        amplitude = rng.uniform(-self.amplitude, self.amplitude, self.terms)
        waves = rng.integers(low, high + 1, self.terms)
        phase = rng.uniform(0, 2 * np.pi, self.terms)
        x = 2 * np.pi * np.arange(n)[:, None] / n
        field: Array = self.mean + np.sin(waves * x + phase) @ amplitude
        return field
