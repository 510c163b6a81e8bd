"""The discrete vorticity equation: what to solve, how exactly, what came out.

    ∂ω/∂t + (u·∇)ω = ν Δω − μ ω + f,   u = (∂ψ/∂y, −∂ψ/∂x) + mean flow,   −Δψ = ω

on a square periodic domain of side L, with N by N points indexed [y, x]. Kept are
|kx|, |ky| <= M, the largest M below N/3 (2/3 rule: products alias into dropped modes).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from opkit.base.arrays import Array


class Status(IntEnum):
    """How a trajectory ended."""

    DONE = 0
    NOT_FINITE = 1
    CFL_VIOLATED = 2
    NOT_CONVERGED = 3


@dataclass(frozen=True)
class Problem:
    """Equation and accuracy.

    Args:
        points: N.
        length: L.
        viscosity: ν.
        drag: μ.
        forcing: f on the grid (N, N).
        mean_flow: (U, V), constant in space and time.
        dt: a fixed step, or 0 to choose it by cfl and rtol.
        rtol: bound of the summed error estimates over ``duration``.
        cfl: bound of dt max(|u| + |v|) / dx.
        duration: the time over which rtol is spent.
    """

    points: int
    length: float
    viscosity: float
    drag: float
    forcing: Array
    mean_flow: tuple[float, float]
    dt: float
    rtol: float
    cfl: float
    duration: float

    @property
    def most(self) -> int:
        """M, the largest wavenumber kept."""
        return (self.points - 1) // 3

    @property
    def first_step(self) -> float:
        """A step that resolves the decay of what is forced.

        The embedded estimate of a first step does not see a steady force, on which an
        integrating factor errs by (λ dt)⁵ / 2880, λ the decay rate.
        """
        n, unit = self.points, 2 * np.pi / self.length
        size = np.abs(np.fft.rfft2(self.forcing))
        kx, ky = np.arange(n // 2 + 1), np.fft.fftfreq(n, 1 / n)[:, None]
        forced = size > 1e-12 * size.max()
        rates = self.viscosity * unit**2 * (kx**2 + ky**2) + self.drag
        fastest = float(rates[forced].max(initial=0.0))
        return min(self.duration, 0.05 / max(fastest, 1e-300))


@dataclass
class Trajectories:
    """What an engine hands back, one entry a sample.

    Args:
        vorticity: (sample, record, N, N).
        error: summed error estimates, relative L2.
        steps: accepted steps.
        rejected: rejected steps.
        cfl: largest dt max(|u| + |v|) / dx of an accepted step.
        turnover: ∫ rms(ω) dt, a measure of how far errors have grown.
        status: how it ended.
    """

    vorticity: Array
    error: Array = field(init=False)
    steps: Array = field(init=False)
    rejected: Array = field(init=False)
    cfl: Array = field(init=False)
    turnover: Array = field(init=False)
    status: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.vorticity)
        for name in ("error", "steps", "rejected", "cfl", "turnover"):
            setattr(self, name, np.zeros(count))
        self.status = np.zeros(count, np.int64)
