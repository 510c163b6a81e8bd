"""Random domains, sources and boundary data for the elliptic-boundary case.

Domain: the unit square less rectangles at some of its corners. Source: a Gaussian field

    f = σ c Σ_k (π²|k|² + τ²)^(-α/2) ξ_k cos(π k_x x) cos(π k_y y) (times √2 for k ≠ 0),

data along the curve: the same law on the circle of length 4, the length of every such
curve, in the arc length s: σ c Σ_k ((2πk/4)² + τ²)^(-α/2) (ξ_k cos + η_k sin)(2πks/4).
c makes the variance, averaged over the square or the circle, σ².
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from opkit.base.arrays import Array, Mask
from opkit.base.records import Record
from opkit.solvers.laws.cosine_fields import cosine_field_at

Condition = Literal["dirichlet", "neumann", "mixed"]
Corners = Annotated[int, Field(ge=0, le=4)]
_MODES = 24  # of f along an axis, and of g along the curve


class SmoothField(Record):
    """Law of a Gaussian field.

    Args:
        alpha: smoothness α.
        tau: inverse length τ.
        sigma: standard deviation σ.
    """

    alpha: float = Field(default=3.0, gt=1, le=20)
    tau: float = Field(default=5.0, gt=0, le=1e6)
    sigma: float = Field(default=1.0, ge=0)

    def on_square(self, rng: np.random.Generator, x: Array, y: Array) -> Array:
        """Draw at points of the unit square, constant part included."""
        k = np.arange(_MODES)
        spectrum = (np.pi**2 * (k[:, None] ** 2 + k**2) + self.tau**2) ** -self.alpha
        constant = rng.standard_normal() * self.tau**-self.alpha
        points = np.stack([x.ravel(), y.ravel()], axis=1)
        waves = cosine_field_at(rng, points, self.alpha, self.tau, _MODES)
        waves = waves * self.tau ** (1 - self.alpha)
        field: Array = self.sigma * (constant + waves) / np.sqrt(spectrum.sum())
        return field.reshape(x.shape)

    def on_curve(self, rng: np.random.Generator, s: Array) -> Array:
        """Draw at arc lengths of a closed curve of length 4, constant part included."""
        k = np.arange(_MODES + 1)
        size = ((np.pi / 2 * k) ** 2 + self.tau**2) ** (-self.alpha / 2)
        size[1:] *= np.sqrt(2.0)
        xi, eta = rng.standard_normal((2, len(k)))
        phase = np.pi / 2 * s[:, None] * k
        waves = np.cos(phase) @ (size * xi) + np.sin(phase[:, 1:]) @ (size * eta)[1:]
        variance = size[0] ** 2 + (size[1:] ** 2).sum()
        field: Array = self.sigma * waves / np.sqrt(variance)
        return field


class CornerCuts(Record):
    """Law of domain, source and boundary data.

    Args:
        corners: how many corners are cut, or several numbers to choose from.
        low: shortest side of a rectangle, as a fraction of the square's.
        high: longest; below a half, so that cuts of two corners do not meet.
        condition: what the boundary data are. ``mixed``: Neumann on one arc of 1/4 to
            3/4 of the curve, Dirichlet on the rest.
        source: law of f.
        dirichlet: law of g.
        neumann: law of q. For pure Neumann data the mean of q is then set to what
            ∮ q ds = ∫ f dx asks for.
    """

    kind: Literal["corner-cuts"] = "corner-cuts"
    corners: Corners | Annotated[tuple[Corners, ...], Field(min_length=1)] = 4
    low: float = Field(default=0.1, gt=0)
    high: float = Field(default=0.4, lt=0.5)
    condition: Condition = "dirichlet"
    source: SmoothField = SmoothField(alpha=3.0, tau=5.0, sigma=20.0)
    dirichlet: SmoothField = SmoothField(alpha=3.0, tau=4.0, sigma=1.0)
    neumann: SmoothField = SmoothField(alpha=3.0, tau=4.0, sigma=3.0)

    @model_validator(mode="after")
    def _ordered(self) -> CornerCuts:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}: swap them")
        return self

    def draw_domain(self, rng: np.random.Generator, cells: int) -> Mask:
        """Cut corners; sides are rounded to whole cells, at least one."""
        choices = np.atleast_1d(self.corners)
        count = int(rng.choice(choices))
        chosen = rng.permutation(4)[:count]
        sides = rng.uniform(self.low, self.high, (4, 2))
        size = np.clip(np.rint(sides * cells), 1, (cells - 1) // 2).astype(int)
        inside = np.ones((cells, cells), dtype=bool)
        for corner in chosen:
            height, width = size[corner]
            rows = slice(height) if corner < 2 else slice(cells - height, None)
            left = corner % 2 == 0
            columns = slice(width) if left else slice(cells - width, None)
            inside[rows, columns] = False
        return inside

    def draw_kind(self, rng: np.random.Generator, s: Array) -> Mask:
        """Whether the data at each arc length are a normal derivative."""
        start, length = rng.uniform(0, 4), rng.uniform(1, 3)
        if self.condition == "mixed":
            arc: Mask = (s - start) % 4 < length
            return arc
        return np.full(s.shape, self.condition == "neumann")
