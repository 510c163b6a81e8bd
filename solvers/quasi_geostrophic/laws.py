"""Random initial potential vorticity for quasi-geostrophic flow."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from opkit.base.records import Positive, Record

Wavenumber = Annotated[int, Field(ge=1, le=256)]


class RandomWaves(Record):
    """Gaussian noise in a band of wavenumbers, independent in each layer.

    q̂ is white for low ≤ |n| ≤ high, n integer wavenumbers (periods a domain), and zero
    elsewhere; the expected mean square of q is rms².

    Args:
        low, high: band of wavenumbers.
        rms: of the potential vorticity of each layer, 1/s.
    """

    kind: Literal["random-waves"] = "random-waves"
    low: Wavenumber = 3
    high: Wavenumber = 10
    rms: Positive = 1e-6

    @model_validator(mode="after")
    def _ordered(self) -> RandomWaves:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}: swap them")
        return self

    def draw(
        self, rng: np.random.Generator, layers: int, shape: tuple[int, int]
    ) -> NDArray[np.float64]:
        """Draw q (layer, y, x), 1/s.

        Wavenumbers are drawn shell by shell, so that a seed gives the same waves on
        every grid; those a grid cannot hold are left out.
        """
        modes = _shells(self.low, self.high)
        noise = rng.standard_normal((len(modes), layers, 2))
        # Each mode stands for ±n: 2 E|q̂|² summed over the modes is rms².
        noise *= self.rms / np.sqrt(4 * len(modes))
        ny, nx = shape
        holds = (np.abs(modes[:, 0]) < ny / 2) & (modes[:, 1] < nx / 2)
        (rows, columns), noise = modes[holds].T, noise[holds]
        q_hat = np.zeros((layers, ny, nx // 2 + 1), complex)
        q_hat[:, rows, columns] = (noise[..., 0] + 1j * noise[..., 1]).T
        # irfft2 reads columns of k = 0 at l and -l.
        edge = columns == 0
        q_hat[:, -rows[edge], 0] = q_hat[:, rows[edge], 0].conj()
        return np.fft.irfft2(q_hat, s=shape, norm="forward")


class Turbulence(RandomWaves):
    """`RandomWaves` evolved by the equations until the flow is turbulent.

    The spin-up runs on a grid of its own, so that a seed gives the same field at every
    resolution: finer grids get the field of ``grid`` interpolated by its Fourier
    series, coarser ones its large scales. Set ``grid`` to the resolution for data
    with developed small scales.

    Args:
        spin_up: time, s.
        grid: points along each axis during the spin-up.
    """

    kind: Literal["turbulence"] = "turbulence"  # type: ignore[assignment]
    spin_up: Positive = 1.8e8
    grid: Annotated[int, Field(ge=16, multiple_of=16)] = 64


Distribution = Annotated[RandomWaves | Turbulence, Field(discriminator="kind")]


def resample(q: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Interpolate or truncate the Fourier series of (..., y, x) to another grid."""
    (old_y, old_x), (ny, nx) = q.shape[-2:], shape
    if (old_y, old_x) == (ny, nx):
        return q
    q_hat = np.fft.rfft2(q, norm="forward")
    wide, high = min(old_x, nx) // 2, min(old_y, ny) // 2
    new = np.zeros((*q.shape[:-2], ny, nx // 2 + 1), complex)
    # Nyquist modes of the coarser grid are left out.
    new[..., :high, :wide] = q_hat[..., :high, :wide]
    new[..., 1 - high :, :wide] = q_hat[..., 1 - high :, :wide]
    return np.fft.irfft2(new, s=shape, norm="forward")


def _shells(low: int, high: int) -> NDArray[np.int64]:
    """(l, k) of half the plane, in order of |n|², then k, then l."""
    l, k = np.mgrid[-high : high + 1, 0 : high + 1]
    square = l**2 + k**2
    half = (square >= low**2) & (square <= high**2) & ((k > 0) | (l > 0))
    l, k, square = l[half], k[half], square[half]
    order = np.lexsort((l, k, square))
    return np.stack([l[order], k[order]], axis=1)
