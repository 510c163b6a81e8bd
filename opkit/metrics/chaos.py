"""Lyapunov exponents of a step, and distances of the statistics of long runs.

    Q_{k+1} R_{k+1} = DM(u_k) Q_k,    λ_j = mean of log R_jj over steps / Δ

M: one step, of length Δ; DM Q by differences of steps, so M may be a black box: a
solver, a surrogate. 1/λ₁ is the Lyapunov time, in which errors grow by a factor e.

Source: Benettin, Galgani, Giorgilli, Strelcyn, Meccanica 15 (1980).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from opkit.base.arrays import Array
from opkit.errors import NonFiniteError, OpkitInputError
from opkit.metrics.functional import energy_spectrum

_EPS = 1e-12
"""Shells of less than this part of the energy are left out of spectra."""


@dataclass(frozen=True)
class Lyapunov:
    """Exponents of a step.

    Args:
        exponents: λ, per unit of time, the largest first (exponent,).
        errors: standard errors: from the means over trajectories where there are four
            or more, else from those over eight stretches of time (exponent,).
        steps: over which they are means.
    """

    exponents: Array
    errors: Array
    steps: int

    @property
    def time(self) -> float:
        """The Lyapunov time 1/λ₁; infinite where nothing grows."""
        largest = float(self.exponents[0])
        return 1 / largest if largest > 0 else float("inf")


def lyapunov_exponents(
    step: Callable[[Array], Array],
    states: ArrayLike,
    interval: float,
    *,
    count: int = 1,
    steps: int = 1000,
    transient: int = 100,
    disturbance: float = 1e-6,
    seed: int = 0,
) -> Lyapunov:
    """Measure the largest Lyapunov exponents of a step along trajectories.

    Args:
        step: M, states (member, *space) to those one interval later.
        states: where trajectories start, on the attractor (trajectory, *space).
        interval: Δ.
        count: number of exponents.
        steps: that are averaged over.
        transient: steps before, in which directions settle.
        disturbance: size of differences, relative to that of the states; 1e-3 suits
            steps in float32.
        seed: of the first directions.

    Raises:
        OpkitInputError: numbers out of range, states without an axis of space.
        NonFiniteError: the step returns NaN or infinity.
    """
    u = np.array(states, np.float64)
    if u.ndim < 2 or not u.size or not np.isfinite(u).all():
        raise OpkitInputError(
            f"states of shape {u.shape}: give finite ones, (trajectory, *space)"
        )
    numbers = u[0].size
    if not 1 <= count <= numbers:
        raise OpkitInputError(
            f"count {count}: states of {numbers} numbers have 1 to {numbers} exponents"
        )
    if steps < 8 or transient < 0:
        raise OpkitInputError("steps and transient: give 8 or more, and 0 or more")
    if not (0 < interval < np.inf and 0 < disturbance < 1):
        raise OpkitInputError(
            "interval and disturbance: give a positive time, and a number below 1"
        )
    lines, shape = len(u), u.shape[1:]
    rng = np.random.default_rng(seed)
    q = np.linalg.qr(rng.standard_normal((lines, numbers, count)))[0]
    growth = np.empty((steps, lines, count))
    for k in range(transient + steps):
        size = disturbance * np.linalg.norm(u.reshape(lines, -1), axis=1)
        size = np.where(size > 0, size, disturbance)[:, None, None]
        moved = u[:, None] + (size * q.swapaxes(1, 2)).reshape(lines, count, *shape)
        both = np.concatenate([u[:, None], moved], 1).reshape(-1, *shape)
        ahead = np.asarray(step(both), np.float64)
        if ahead.shape != both.shape:
            raise OpkitInputError(
                f"the step returns shape {ahead.shape} for {both.shape}: it has to "
                "keep the shape"
            )
        if not np.isfinite(ahead).all():
            raise NonFiniteError(
                f"the step returned NaN or infinity at step {k}: it may be unstable"
            )
        ahead = ahead.reshape(lines, 1 + count, *shape)
        u = ahead[:, 0]
        apart = (ahead[:, 1:] - ahead[:, :1]).reshape(lines, count, numbers)
        q, r = np.linalg.qr(apart.swapaxes(1, 2) / size)
        if k >= transient:
            with np.errstate(divide="ignore"):  # a step that forgets its state: −∞
                growth[k - transient] = np.log(np.abs(np.einsum("lii->li", r)))
    rates = growth / interval
    if lines >= 4:
        parts = rates.mean(0)
    else:
        parts = np.stack([part.mean((0, 1)) for part in np.array_split(rates, 8)])
    spread = parts.std(0, ddof=1) / np.sqrt(len(parts))
    return Lyapunov(rates.mean((0, 1)), spread, steps)


def wasserstein(one: ArrayLike, two: ArrayLike) -> float:
    """Wasserstein distance of two sets of numbers, over the deviation of the second.

    W = ∫ |F⁻¹(q) − G⁻¹(q)| dq / σ; of a shift by one deviation it is 1.
    """
    from scipy.stats import wasserstein_distance

    a, b = (np.asarray(x, np.float64).ravel() for x in (one, two))
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    deviation = float(b.std())
    return float(wasserstein_distance(a, b)) / (deviation or 1.0)


@dataclass(frozen=True)
class Climate:
    """Distances of the statistics of two sets of states; means over channels.

    Args:
        values: Wasserstein distance of the values at points, in their deviations.
        energy: the same of <u²> over space.
        spectrum: mean_k |log10 E_p(k) / E_t(k)| of the mean spectra, in decades.
        variance: ratio of the variances of values at points.
    """

    values: float
    energy: float
    spectrum: float
    variance: float


def climate(prediction: Tensor, target: Tensor) -> Climate:
    """Compare the statistics of states (state, channel, *space), in any order."""
    p, t = prediction.detach().double(), target.detach().double()
    channels = range(t.shape[1])
    pairs = [(p[:, c].numpy(), t[:, c].numpy()) for c in channels]
    squares = [
        tuple((u**2).reshape(len(u), -1).mean(1) for u in pair) for pair in pairs
    ]
    distances = [wasserstein(a, b) for a, b in pairs]
    energies = [wasserstein(a, b) for a, b in squares]
    ratios = [float(a.var() / (b.var() or 1.0)) for a, b in pairs]
    mean_p, mean_t = (energy_spectrum(u).mean(0) for u in (p, t))
    floor = _EPS * mean_t.sum(-1, keepdim=True)
    seen = mean_t > floor
    decades = (
        mean_p.clamp_min(1e-300).log10() - mean_t.clamp_min(1e-300).log10()
    ).abs()
    shells = (decades * seen).sum(-1) / seen.sum(-1).clamp_min(1)
    return Climate(
        float(np.mean(distances)),
        float(np.mean(energies)),
        float(shells.mean()) if torch.isfinite(mean_p).all() else float("inf"),
        float(np.mean(ratios)),
    )
