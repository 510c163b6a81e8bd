"""Laws of shapes: a void in a cell, a curved pipe, bumps on the floor of a channel.

    void      r(θ) = 0.2 + 0.2 / (1 + exp g(θ)),  g = Σ_k a_k cos kθ + b_k sin kθ
    pipe      y = s(x): cubic Hermite through 5 stations, their positions and slopes
    bumps     b(x) = Σ h_k (1 - ((x - x_k) / w_k)²)³ where |x - x_k| < w_k

The published law of the void, g ~ N(0, 4² (-Δ + 3²)⁻¹) on the circle, is
a_k, b_k ~ N(0, s_k²), s_k = 4 (k² + 9)^(-1/2) / √π (`VOID_STD`). Sources: void and
pipe, Li et al., "Fourier neural operator with learned deformations" (JMLR 24, 2023),
and the authors' code.
"""

from __future__ import annotations

import numpy as np

from opkit.base.arrays import Array
from opkit.errors import OpkitInputError

VOID_MODES = 5
VOID_STD = np.tile(4 / np.sqrt((np.arange(1, VOID_MODES + 1) ** 2 + 9) * np.pi), 2)
"""Published standard deviations of a_1, ..., a_5, b_1, ..., b_5."""
STATIONS = 5
PIPE_LENGTH = 10.0


def void_radius(coefficients: Array, angles: Array) -> Array:
    """Radius of the void at angles, between 0.2 and 0.4.

    Args:
        coefficients: a_1, ..., a_5, b_1, ..., b_5 (10,).
        angles: θ.
    """
    k = np.arange(1, VOID_MODES + 1)
    waves = np.outer(angles, k)
    cosine, sine = coefficients[:VOID_MODES], coefficients[VOID_MODES:]
    # where g is large, exp(g) = inf makes the radius 0.2, as it should
    with np.errstate(over="ignore", invalid="ignore"):
        g = np.cos(waves) @ cosine + np.sin(waves) @ sine
        radius: Array = 0.2 + 0.2 / (1 + np.exp(g))
    return radius


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


def check_bumps(bumps: Array, length: float) -> None:
    """Refuse bumps that overlap, leave the channel, or pinch it off.

    Args:
        bumps: place, height and half width of each (bump, 3), finite.
        length: of the channel.

    Raises:
        OpkitInputError: which bump, and the limit.
    """
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
