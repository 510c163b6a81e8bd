"""Modes of a linear model of the dynamics, each with its own error.

    Ψ_y ≈ Ψ_x K,   K v = λ v,   so that g = Ψ v has g(u after a step) ≈ λ g(u)
    res² = v*(L − λ A* − λ̄ A + |λ|² G) v / v* G v,   which is |g∘S − λ g|² / |g|²

Ψ: features of a state, its coordinates in POD modes (dynamic mode decomposition) and,
in the extended one, their products; G = Ψ_x*Ψ_x, A = Ψ_x*Ψ_y, L = Ψ_y*Ψ_y. The residual
needs no second model, but data that the mode was not fitted to: with fewer pairs than
features it would vanish for any system.

Source: Schmid, J. Fluid Mech. 656 (2010); Williams, Kevrekidis, Rowley, J. Nonlinear
Sci. 25 (2015); Colbrook, Townsend, Commun. Pure Appl. Math. 77 (2024), residuals.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opkit.base.arrays import Array, Complex
from opkit.errors import DataError, OpkitInputError

MOST = 32
"""Most POD modes."""
VERIFIED = 0.1
"""Largest residual of a mode that counts as verified."""


@dataclass(frozen=True)
class Modes:
    """Eigenfunctions of the dynamics, the smallest residual first.

    Args:
        eigenvalues: λ over one interval (mode,).
        residuals: res of each, on trajectories that they were not fitted to.
        interval: time between frames.
        features: number of them.
    """

    eigenvalues: Complex
    residuals: Array
    interval: float
    features: int

    @property
    def growth(self) -> Array:
        """Growth rates, log|λ| / interval."""
        rate: Array = np.log(np.maximum(np.abs(self.eigenvalues), 1e-300))
        return rate / self.interval

    @property
    def frequency(self) -> Array:
        """Turns in a unit of time, arg λ / 2π interval."""
        return np.angle(self.eigenvalues) / (2 * np.pi * self.interval)

    @property
    def verified(self) -> NDArray[np.bool_]:
        """Whether the residual is at most `VERIFIED`."""
        return self.residuals <= VERIFIED


def modes(
    trajectories: Array,
    interval: float,
    most: int = MOST,
    quadratic: bool = False,
) -> Modes:
    """Fit a linear model to half of the trajectories and verify it on the others.

    Args:
        trajectories: (sample, frame, ...), two samples and two frames or more.
        interval: time between frames.
        most: POD modes.
        quadratic: use their products too.

    Raises:
        OpkitInputError: too few samples or frames, or values that are not finite.
    """
    if trajectories.ndim < 3 or len(trajectories) < 2 or trajectories.shape[1] < 2:
        raise OpkitInputError(
            f"trajectories of shape {trajectories.shape}: give two samples and two "
            "frames or more, (sample, frame, ...)"
        )
    u = np.asarray(trajectories, np.float64)
    u = u.reshape(*u.shape[:2], -1)
    if not np.isfinite(u).all():
        raise OpkitInputError("the trajectories are not finite: leave such samples out")
    largest = float(np.abs(u).max(initial=0.0))
    if largest and not 1e-100 < largest < 1e100:
        u = u / largest  # squares stay in range; modes know no units
    fitted, kept = u[::2], u[1::2]
    mean = fitted.mean((0, 1))
    flat = (fitted - mean).reshape(-1, u.shape[-1])
    pairs = len(fitted) * (u.shape[1] - 1)
    _, size, basis = np.linalg.svd(flat, full_matrices=False)
    # two pairs a feature at least, and no modes within rounding
    count = min(most, int((size > 1e-10 * max(size[0], 1e-300)).sum()))
    while count > 1 and 2 * _features(count, quadratic) > pairs:
        count -= 1
    scale = size[:count] / np.sqrt(len(flat))

    def lifted(states: Array) -> tuple[Array, Array]:
        z = (states - mean) @ basis[:count].T / np.maximum(scale, 1e-300)
        psi = _lift(z, quadratic)
        return (
            psi[:, :-1].reshape(-1, psi.shape[-1]),
            psi[:, 1:].reshape(-1, psi.shape[-1]),
        )

    before, after = lifted(fitted)
    step = np.linalg.lstsq(before, after, rcond=1e-12)[0]
    values, vectors = np.linalg.eig(step)
    x, y = lifted(kept)
    here, there = x @ vectors, y @ vectors
    size_of = np.sqrt((np.abs(here) ** 2).sum(0))
    left = np.sqrt((np.abs(there - values * here) ** 2).sum(0))
    residuals = left / np.maximum(size_of, 1e-300)
    order = np.argsort(residuals)
    return Modes(values[order], residuals[order], interval, step.shape[0])


def modes_of_file(
    data: Path, split: str = "train", most: int = MOST, quadratic: bool = False
) -> Modes:
    """Return the modes of the trajectories of a data file.

    Raises:
        DataError: nothing evolves in the file, or its frames are not evenly spaced.
    """
    from opkit.case.recipe import Recipe
    from opkit.evaluate.baselines import frames_of

    samples = Recipe(operator="fno", mode="autoregressive").samples(data, split)
    gaps = np.diff(samples.times)
    if not len(gaps) or not np.allclose(gaps, gaps[0]):
        raise DataError(f"{data}: modes need three frames or more, evenly spaced")
    return modes(frames_of(samples).numpy(), float(gaps[0]), most, quadratic)


def _features(count: int, quadratic: bool) -> int:
    return 1 + count + (count * (count + 1) // 2 if quadratic else 0)


def _lift(z: Array, quadratic: bool) -> Array:
    """Features of coordinates (..., mode): one, themselves, their products."""
    parts = [np.ones((*z.shape[:-1], 1)), z]
    if quadratic:
        one, two = np.triu_indices(z.shape[-1])
        parts.append(z[..., one] * z[..., two])
    lifted: Array = np.concatenate(parts, -1)
    return lifted
