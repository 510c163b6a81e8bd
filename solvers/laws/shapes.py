"""Laws of shapes: a void in a cell, a curved pipe, bumps on the floor of a channel.

    void      r(θ) = 0.2 + 0.2 / (1 + exp g(θ)),  g ~ N(0, 4² (-Δ + 3²)⁻¹) on the circle
    pipe      y = s(x): cubic Hermite through 5 stations, positions and slopes uniform
    bumps     b(x) = Σ h_k (1 - ((x - x_k) / w_k)²)³ where |x - x_k| < w_k

Sources: void and pipe, Li et al., "Fourier neural operator with learned deformations"
(JMLR 24, 2023), and the authors' code.
"""

from __future__ import annotations

import numpy as np

from opkit.base.arrays import Array
from opkit.errors import OpkitInputError

VOID_MODES = 5
STATIONS = 5
PIPE_LENGTH = 10.0
_SLOTS = np.array([1.5, 3.7, 5.9])


def draw_void(rng: np.random.Generator) -> Array:
    """Coefficients (10,), standard normal: five cosines, then five sines."""
    return rng.standard_normal(2 * VOID_MODES)


def void_radius(coefficients: Array, angles: Array) -> Array:
    """Radius of the void at angles, between 0.2 and 0.4.

    g(θ) = Σ_k 4 (k² + 9)^(-1/2) (a_k cos kθ + b_k sin kθ) / √π, k = 1..5.
    """
    k = np.arange(1, VOID_MODES + 1)
    scale = 4.0 / np.sqrt((k**2 + 9.0) * np.pi)
    cosine, sine = coefficients[:VOID_MODES], coefficients[VOID_MODES:]
    waves = np.cos(np.outer(angles, k)), np.sin(np.outer(angles, k))
    g = waves[0] @ (scale * cosine) + waves[1] @ (scale * sine)
    radius: Array = 0.2 + 0.2 / (1 + np.exp(g))
    return radius


def draw_pipe(rng: np.random.Generator) -> Array:
    """Position and slope at the stations (5, 2), U(-1, 1), the first position 0."""
    shape = rng.uniform(-1, 1, (STATIONS, 2))
    shape[0, 0] = 0.0
    return shape


def pipe_shift(stations: Array, x: Array) -> Array:
    """Vertical shift s of a pipe at x in [0, 10].

    Slopes count in element lengths, as in the published code: ds/dx = slope / 2.5.

    Raises:
        OpkitInputError: the axis is so steep that the pipe pinches off.
    """
    length = PIPE_LENGTH / (STATIONS - 1)
    element = np.clip((x / length).astype(np.int64), 0, STATIONS - 2)
    t = x / length - element
    (p, d), (q, e) = stations[element].T, stations[element + 1].T
    hermite = (2 * t**3 - 3 * t**2 + 1, t**3 - 2 * t**2 + t, 3 * t**2 - 2 * t**3)
    slopes = (6 * t**2 - 6 * t, 3 * t**2 - 4 * t + 1, 3 * t**2 - 2 * t)
    steep = np.abs((p - q) * slopes[0] + d * slopes[1] + e * slopes[2]) / length
    if steep.max() > 4:
        raise OpkitInputError(
            f"pipe: its axis has slope {steep.max():.3g} at x = {x[steep.argmax()]:.3g}"
            " and pinches off (limit 4, a quarter of the width)"
        )
    shift: Array = p * hermite[0] + d * hermite[1] + q * hermite[2] + e * (t**3 - t**2)
    return shift


def draw_bumps(rng: np.random.Generator) -> Array:
    """Place, height and half width (3, 3) of three bumps that do not overlap.

    Places within 0.3 of 1.5, 3.7 and 5.9, heights in (0.1, 0.4), widths in (0.5, 0.8).
    """
    place = _SLOTS + rng.uniform(-0.3, 0.3, 3)
    return np.stack([place, rng.uniform(0.1, 0.4, 3), rng.uniform(0.5, 0.8, 3)], axis=1)


def check_bumps(bumps: Array, length: float) -> None:
    """Refuse bumps that overlap, leave the channel, or pinch it off.

    Raises:
        OpkitInputError: which bump, and the limit.
    """
    if bumps.ndim != 2 or bumps.shape[1] != 3 or not np.isfinite(bumps).all():
        raise OpkitInputError(
            f"bumps: an array (bump, 3) of finite numbers, not {bumps.shape}: "
            "place, height and half width of each"
        )
    order = np.argsort(bumps[:, 0], kind="stable")
    right = 0.0
    for k in order:
        place, height, width = bumps[k]
        if not 0 <= height <= 0.7:
            raise OpkitInputError(
                f"bump {k}: height {height:.3g} is outside [0, 0.7]; at 1 the channel "
                "is pinched off"
            )
        if not width >= max(0.2, height / 2):
            raise OpkitInputError(
                f"bump {k}: half width {width:.3g} is below {max(0.2, height / 2):.3g}:"
                " at least 0.2 and half the height"
            )
        if place - width < right or place + width > length:
            what = "the bump before it" if right > 0 else "the inlet"
            if place + width > length:
                what = "the outlet"
            raise OpkitInputError(
                f"bump {k}: from {place - width:.3g} to {place + width:.3g} it overlaps"
                f" with {what} ({length if what == 'the outlet' else right:.3g})"
            )
        right = place + width


def floor(bumps: Array, x: Array) -> Array:
    """Height of the channel's floor at x."""
    s = (x[:, None] - bumps[:, 0]) / bumps[:, 2]
    height: Array = (bumps[:, 1] * np.maximum(1 - s**2, 0.0) ** 3).sum(axis=1)
    return height
