"""One IFRK4 step of one vorticity field, compiled: stages fused with the transforms.

After each row pass the grid is read column by column; the slope, the Runge-Kutta sums
and the next stage's velocity are formed while the columns are in cache. The formulas
are those of `opkit.solvers.steppers.IFRK4`, the embedded third-order result included.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from opkit.solvers.navier_stokes.kernels import (
    FAST,
    Passes,
    gather_tile,
    row_pass,
    scatter_tile,
    slope,
    velocity,
)
from opkit.solvers.navier_stokes.step_control import defect_weights

# What the states s[...] of one trajectory are.
STATE, SLOPE, RESULT, RESULT_SLOPE, PAST, PAST_SLOPE, LAST_SLOPE, STAGE = range(8)
NUM_STATES = 8

_weights = njit(cache=True, nogil=True)(defect_weights)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def start(p: Passes, s: Any, order: Any) -> float:
    """Compute the slope of the state; return max(|u| + |v|)."""
    tile, modes = p.fill.shape[1], p.kx.size
    for first in range(0, modes, tile):
        width = min(tile, modes - first)
        for x in range(first, first + width):
            velocity(p, x, first, width, s[order[STATE], x])
        scatter_tile(p, first, width)
    speed = float(row_pass(p, True))
    for first in range(0, modes, tile):
        width = min(tile, modes - first)
        gather_tile(p, first, width)
        for x in range(first, first + width):
            slope(p, x, first, width, s[order[SLOPE], x])
    return speed


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def trial(
    p: Passes, dt: float, previous: float, decay: Any, s: Any, order: Any
) -> tuple[float, float, float]:
    """Advance the state by dt into RESULT, and compute RESULT_SLOPE.

    Args:
        p: workspace.
        dt: step.
        previous: the step before, 0 if there is none.
        decay: (4, P) exp(dt L / 2) as factors by kx and by ky, then the same of the
            step before.
        s: states.
        order: which row of s is STATE, SLOPE, ...

    Returns:
        Error estimate and |u¹|, root mean square, and max(|u| + |v|) of the result.
    """
    for stage in range(2, 6):
        if stage > 2:
            row_pass(p, False)
        _stage(p, stage, dt, decay, s, order)
    speed = row_pass(p, True)
    tile, modes = p.fill.shape[1], p.kx.size
    a, b0, b1, b2 = _weights(previous / dt if previous > 0 else 1.0)
    error = norm = 0.0
    for first in range(0, modes, tile):
        width = min(tile, modes - first)
        gather_tile(p, first, width)
        for x in range(first, first + width):
            result, new = s[order[RESULT], x], s[order[RESULT_SLOPE], x]
            slope(p, x, first, width, new)
            weight = 1.0 if x == 0 else 2.0  # half plane
            norm += weight * _norm(result)
            if previous == 0:
                line = (dt / 10) ** 2 * _distance(s[order[LAST_SLOPE], x], new)
            else:
                line = _defect(
                    (result, new, s[order[STATE], x], s[order[SLOPE], x]),
                    (s[order[PAST], x], s[order[PAST_SLOPE], x]),
                    (dt * b2, 1 - a, dt * b1, a, dt * b0),
                    (decay[0, x], decay[1], decay[2, x], decay[3]),
                )
            error += weight * line
    scale = 1.0 if previous == 0 else 1 + a
    return float(np.sqrt(error) / scale), float(np.sqrt(norm)), speed


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _stage(p: Passes, stage: int, dt: float, decay: Any, s: Any, order: Any) -> None:
    """Form stage 2, 3, 4 or the result (5) from the slope of the stage before."""
    tile, modes = p.fill.shape[1], p.kx.size
    for first in range(0, modes, tile):
        width = min(tile, modes - first)
        if stage > 2:
            gather_tile(p, first, width)
        for x in range(first, first + width):
            u, total = s[order[STATE], x], s[order[RESULT], x]
            new, v = s[order[LAST_SLOPE], x], s[order[STAGE], x]
            ex, ey = decay[0, x], decay[1]
            if stage > 2:
                slope(p, x, first, width, new)
            if stage == 2:
                _second(u, s[order[SLOPE], x], ex, ey, dt, total, v)
            elif stage == 3:
                _third(u, new, ex, ey, dt, total, v)
            elif stage == 4:
                _fourth(u, new, ex, ey, dt, total, v)
            else:
                _last(new, dt, total)
                if x == 0:
                    _mirror(total, modes - 1)
                v = total
            velocity(p, x, first, width, v)
        scatter_tile(p, first, width)


@njit(cache=True, nogil=True, fastmath=FAST)  # type: ignore[untyped-decorator]
def _second(
    u: Any, new: Any, ex: float, ey: Any, dt: float, total: Any, v: Any
) -> None:
    for y in range(u.size):
        e = ex * ey[y]
        v[y] = e * (u[y] + dt / 2 * new[y])
        total[y] = e * e * (u[y] + dt / 6 * new[y])


@njit(cache=True, nogil=True, fastmath=FAST)  # type: ignore[untyped-decorator]
def _third(u: Any, new: Any, ex: float, ey: Any, dt: float, total: Any, v: Any) -> None:
    for y in range(u.size):
        e = ex * ey[y]
        v[y] = e * u[y] + dt / 2 * new[y]
        total[y] += dt / 3 * e * new[y]


@njit(cache=True, nogil=True, fastmath=FAST)  # type: ignore[untyped-decorator]
def _fourth(
    u: Any, new: Any, ex: float, ey: Any, dt: float, total: Any, v: Any
) -> None:
    for y in range(u.size):
        e = ex * ey[y]
        v[y] = e * (e * u[y] + dt * new[y])
        total[y] += dt / 3 * e * new[y]


@njit(cache=True, nogil=True, fastmath=FAST)  # type: ignore[untyped-decorator]
def _last(new: Any, dt: float, total: Any) -> None:
    for y in range(new.size):
        total[y] += dt / 6 * new[y]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _mirror(line: Any, most: int) -> None:
    """Make ω̂(0, −ky) the conjugate of ω̂(0, ky): round-off must not break it."""
    line[most] = line[most].real
    for y in range(1, most + 1):
        line[most - y] = np.conj(line[most + y])


@njit(cache=True, nogil=True, fastmath=FAST)  # type: ignore[untyped-decorator]
def _defect(now: Any, past: Any, weights: Any, decay: Any) -> float:
    result, new, u, f = now
    u0, f0 = past
    w_new, w_u, w_f, w_u0, w_f0 = weights
    ex, ey, px, py = decay
    total = 0.0
    for y in range(u.size):
        e, e0 = ex * ey[y], px * py[y]
        old = e0 * e0 * (w_u0 * u0[y] + w_f0 * f0[y])
        d = result[y] - w_new * new[y] - e * e * (w_u * u[y] + w_f * f[y] + old)
        total += d.real**2 + d.imag**2
    return total


@njit(cache=True, nogil=True, fastmath=FAST)  # type: ignore[untyped-decorator]
def _distance(a: Any, b: Any) -> float:
    total = 0.0
    for y in range(a.size):
        difference = a[y] - b[y]
        total += difference.real**2 + difference.imag**2
    return total


@njit(cache=True, nogil=True, fastmath=FAST)  # type: ignore[untyped-decorator]
def _norm(a: Any) -> float:
    total = 0.0
    for y in range(a.size):
        total += a[y].real ** 2 + a[y].imag ** 2
    return total
