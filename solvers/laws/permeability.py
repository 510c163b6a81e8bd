"""Laws of random permeability for Darcy flow on the unit square."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from opkit.base.records import Positive, Record
from opkit.solvers.laws.cosine_fields import cosine_field, cosine_field_at


class _Law(Record):
    alpha: Annotated[float, Field(gt=1, le=20)] = 2.0
    tau: Annotated[float, Field(gt=0, le=1e6)] = 3.0

    @abstractmethod
    def permeability(self, field: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn a Gaussian field into permeability, point by point."""

    def draw(
        self, rng: np.random.Generator, shape: tuple[int, int]
    ) -> NDArray[np.float64]:
        """Draw permeability on the nodes (y, x) of a grid."""
        return self.permeability(cosine_field(rng, shape, self.alpha, self.tau))

    def draw_at(
        self, rng: np.random.Generator, points: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Draw permeability at points (point, d) of the unit square or cube."""
        field = cosine_field_at(rng, points, self.alpha, self.tau)
        return self.permeability(field)


class TwoPhase(_Law):
    """a = high where the Gaussian field g >= 0, else low.

    Args:
        low, high: the two permeabilities.
        alpha, tau: g ~ N(0, τ^(2α-2) (-Δ + τ²)^(-α)), Neumann.
    """

    kind: Literal["two-phase"] = "two-phase"
    low: Positive = 3.0
    high: Positive = 12.0

    @model_validator(mode="after")
    def _ordered(self) -> TwoPhase:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}: swap them")
        return self

    def permeability(self, field: NDArray[np.float64]) -> NDArray[np.float64]:
        """Threshold a Gaussian field."""
        return np.where(field >= 0, self.high, self.low)


class LogNormal(_Law):
    """a = exp(mean + scale · g).

    Args:
        mean: mean of log a.
        scale: factor on the Gaussian field, whose own standard deviation is 0.29 for
            the default α and τ.
        alpha, tau: g ~ N(0, τ^(2α-2) (-Δ + τ²)^(-α)), Neumann.
    """

    kind: Literal["log-normal"] = "log-normal"
    mean: float = 0.0
    scale: Positive = 1.0

    def permeability(self, field: NDArray[np.float64]) -> NDArray[np.float64]:
        """Exponentiate a Gaussian field."""
        return np.exp(self.mean + self.scale * field)


Distribution = Annotated[TwoPhase | LogNormal, Field(discriminator="kind")]
