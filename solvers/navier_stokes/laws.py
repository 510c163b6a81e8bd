"""Laws of initial fields, and forcings, of two-dimensional flows."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from pydantic import Field

from opkit.base.arrays import Array
from opkit.base.records import Record
from opkit.solvers.laws.periodic_fields import GaussianField
from opkit.solvers.symmetry import Symmetry


class PublishedField(Record):
    """Initial vorticity of the published data sets, on the unit torus.

    σ = τ^{α−1}, which is 7^{3/2}; the text that went with it says σ² = 7^{3/2}.

    Args:
        amplitude: ``2020`` as the script that made the public data (pointwise standard
            deviation 0.262), ``2022`` as the script was published last: √2 smaller,
            since complex noise of unit variance took the place of two real ones.
        alpha: smoothness.
        tau: inverse length.
    """

    kind: Literal["published"] = "published"
    amplitude: Literal["2020", "2022"] = "2020"
    alpha: float = Field(default=2.5, gt=1, le=20)
    tau: float = Field(default=7.0, gt=0, le=1e6)

    def law(self, length: float) -> GaussianField:
        """Return the Gaussian law this names."""
        sigma = self.tau ** (self.alpha - 1)
        if self.amplitude == "2020":
            sigma *= math.sqrt(2)
        return GaussianField(alpha=self.alpha, tau=self.tau, sigma=sigma, length=length)


class GaussianVorticity(Record):
    """Gaussian initial vorticity; see `laws.periodic_fields.GaussianField`."""

    kind: Literal["gaussian"] = "gaussian"
    alpha: float = Field(gt=0, le=20)
    tau: float = Field(ge=0, le=1e6)
    sigma: float = Field(gt=0)

    def law(self, length: float) -> GaussianField:
        """Return the law on a domain of this side."""
        return GaussianField(
            alpha=self.alpha, tau=self.tau, sigma=self.sigma, length=length
        )


class PublishedForcing(Record):
    """f = A (sin 2π(x+y)/L + cos 2π(x+y)/L)."""

    kind: Literal["published"] = "published"
    amplitude: float = 0.1

    @property
    def highest(self) -> int:
        """Largest wavenumber along an axis."""
        return 1

    def field(self, points: int, length: float) -> Array:
        """Evaluate on the grid (N, N), which covers the domain whatever its side."""
        x = 2 * np.pi * np.arange(points) / points
        phase = x + x[:, None]
        forcing: Array = self.amplitude * (np.sin(phase) + np.cos(phase))
        return forcing


class KolmogorovForcing(Record):
    """A body force (A sin κy, 0), κ = 2πn/L: its curl is f = −A κ cos κy."""

    kind: Literal["kolmogorov"] = "kolmogorov"
    amplitude: float = 1.0
    wavenumber: int = Field(default=4, ge=1, description="n, waves across the domain")

    @property
    def highest(self) -> int:
        """Largest wavenumber along an axis."""
        return self.wavenumber

    def field(self, points: int, length: float) -> Array:
        """Evaluate on the grid (N, N)."""
        kappa = 2 * np.pi * self.wavenumber / length
        y = length * np.arange(points)[:, None] / points
        forcing: Array = -self.amplitude * kappa * np.cos(kappa * y)
        return np.broadcast_to(forcing, (points, points)).copy()


def symmetries_of(
    forcing: PublishedForcing | KolmogorovForcing | None, carried: bool
) -> dict[str, Symmetry]:
    """Return the symmetries of vorticity on the torus under a forcing.

    A reflection changes the sign of vorticity, so it has to change that of the forcing,
    which a further shift may do.

    Args:
        forcing: f, or none.
        carried: whether there is a mean flow, which only shifts keep.
    """
    x, y = {"x": 1}, {"y": 1}
    if isinstance(forcing, PublishedForcing):  # √2 A sin(2π(x + y)/L + π/4)
        known = {
            "shift": Symmetry(shifts=({"x": 1, "y": -1},)),
            "transpose": Symmetry(
                sign=-1, transpose=True, offset={"x": 0.25, "y": 0.25}
            ),
            "rotate": Symmetry(flips=("x", "y"), offset={"x": 0.125, "y": 0.125}),
        }
    elif isinstance(forcing, KolmogorovForcing):
        half = {"y": 0.5 / forcing.wavenumber}
        known = {
            "shift": Symmetry(shifts=(x,)),
            "flip_x": Symmetry(sign=-1, flips=("x",), offset=half),
            "flip_y": Symmetry(sign=-1, flips=("y",), offset=half),
            "rotate": Symmetry(flips=("x", "y")),
        }
    else:
        known = {
            "shift": Symmetry(shifts=(x, y)),
            "flip_x": Symmetry(sign=-1, flips=("x",)),
            "flip_y": Symmetry(sign=-1, flips=("y",)),
            "transpose": Symmetry(sign=-1, transpose=True),
            "rotate": Symmetry(flips=("x", "y")),
        }
    return {"shift": known["shift"]} if carried else known
