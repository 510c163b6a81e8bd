"""Compiled passes of the quasi-geostrophic equations over one trajectory.

The velocities of a layer are one complex field w = u + iv, the potential vorticities of
both layers another, so that five complex transforms do the work of ten real ones. With
κ = k + il, k ≥ 0, transforms W of w q, and b(k) = conj W(-k):

    ŵ(k) = -κ ψ̂(k),   ŵ(-k) = κ conj ψ̂(k),
    -F(∇·(u q))(k) = -(i/2) [conj(κ) W(k) + κ b(k)].

Fields are (ny, nx + spare) complex; column nx stands for -0, and the spare columns keep
strides off powers of two. Columns of negative k are transformed with the opposite sign,
which stores them by -l. Coefficients are kept in tiles of 16 modes of equal k: each
tile holds, one after the other, the real and imaginary parts of both layers of three
arrays (the first is the current state), then α, g, k, l and weights of the step. Modes
with k = l = 0 written there stay as they are and move nothing: so do dropped modes, and
Nyquist modes along the axis where a real field has no derivative.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from opkit.solvers.fourier.fftw import execute
from opkit.solvers.quasi_geostrophic.model import LANES
from opkit.solvers.quasi_geostrophic.team import meet

STREAMS = 20
_FIRST, _SECOND = 4 * LANES, 8 * LANES
_ALPHA, _MIXED, _K, _L = (n * LANES for n in range(12, 16))
_W = 16 * LANES  # Adams-Bashforth: the filter. ETDRK4: e^{z/2}, then three of `_etd`
_I1, _R2, _I2 = LANES, 2 * LANES, 3 * LANES
_FAST = {"contract", "nsz"}
_NONE = (0.0, 0.0, 0.0)
_ETD_DEFECT = (-0.6, 0.0, 0.6, 3)  # 3/5 dt b₄(z) (k₄ - N(u¹))

PRIME, ADAMS_BASHFORTH, STAGE_1, STAGE_2, STAGE_3, STAGE_4, MEASURE = range(7)


class Passes(NamedTuple):
    """Plans, arrays and constants of one trajectory, as a member of its team has them.

    Members share all but ``rows``, ``columns`` and ``slopes``; see `qg_compiled`.
    """

    grid: Any  # (3, ny, nx + spare) complex: w₁, w₂, q₁ + i q₂; y by k between passes
    tiles: Any  # (nk, ny / LANES, STREAMS * LANES)
    sums: Any  # (blocks of columns, 2): of `_squares`
    constants: Any  # F₁, F₂, Q₁, Q₂, r₁, r₂, 1 / (ny nx)
    mean: Any  # (2,) U₁, U₂
    layers: int
    row_plans: Any  # inverse, forward
    column_plans: Any  # (full block, last block) by (inverse +, -, forward +, -)
    rows: Any  # (3, lines, nx) complex
    columns: Any  # (3, 2, block, ny) complex: +k and -k
    slopes: Any  # (4 * LANES,)
    arrivals: Any  # see `qg_team`
    me: int


@njit(cache=True, nogil=True, fastmath=_FAST)  # type: ignore[untyped-decorator]
def row_pass(p: Passes) -> None:
    """Turn ŵ and q̂ on each grid line into the transform of w q."""
    ny, nx = p.grid.shape[1], p.rows.shape[2]
    lines, team = p.rows.shape[1], p.arrivals.shape[0]
    begin = ny // lines * p.me // team * lines
    end = ny // lines * (p.me + 1) // team * lines
    for first in range(begin, end, lines):
        execute(p.row_plans[0], p.grid[2, first].ctypes.data, p.rows[2].ctypes.data)
        for i in range(p.layers):
            execute(p.row_plans[0], p.grid[i, first].ctypes.data, p.rows[i].ctypes.data)
            for y in range(lines):
                w, q = p.rows[i, y], p.rows[2, y]
                if i == 0:
                    for x in range(nx):
                        w[x] = w[x] * q[x].real
                else:
                    for x in range(nx):
                        w[x] = w[x] * q[x].imag
            execute(p.row_plans[1], p.rows[i].ctypes.data, p.grid[i, first].ctypes.data)
            for y in range(first, first + lines):
                p.grid[i, y, nx] = p.grid[i, y, 0]
    meet(p.arrivals, p.me)


@njit(cache=True, nogil=True, fastmath=_FAST)  # type: ignore[untyped-decorator]
def _slope(t: Any, s: Any, c: Any, a1: Any, b1: Any, a2: Any, b2: Any) -> None:
    """dq̂/dt without the filter, from the transforms of w q and the current state."""
    f1, f2, g1, g2, r1, r2 = c[0], c[1], c[2], c[3], c[4], c[5]
    for n in range(LANES):
        k, l, alpha = t[_K + n], t[_L + n], t[_ALPHA + n]
        q1r, q1i, q2r, q2i = t[n], t[_I1 + n], t[_R2 + n], t[_I2 + n]
        cr = t[_MIXED + n] * (f2 * q1r + f1 * q2r)
        ci = t[_MIXED + n] * (f2 * q1i + f1 * q2i)
        p1r, p1i = alpha * q1r + cr, alpha * q1i + ci
        p2r, p2i = alpha * q2r + cr, alpha * q2i + ci
        kappa2 = k * k + l * l
        # b holds W(-k): its conjugate enters
        jr = k * (a1[2 * n] + b1[2 * n]) + l * (a1[2 * n + 1] + b1[2 * n + 1])
        ji = k * (a1[2 * n + 1] - b1[2 * n + 1]) + l * (b1[2 * n] - a1[2 * n])
        s[n] = 0.5 * ji + k * g1 * p1i + r1 * kappa2 * p1r
        s[_I1 + n] = -0.5 * jr - k * g1 * p1r + r1 * kappa2 * p1i
        jr = k * (a2[2 * n] + b2[2 * n]) + l * (a2[2 * n + 1] + b2[2 * n + 1])
        ji = k * (a2[2 * n + 1] - b2[2 * n + 1]) + l * (b2[2 * n] - a2[2 * n])
        s[_R2 + n] = 0.5 * ji + k * g2 * p2i + r2 * kappa2 * p2r
        s[_I2 + n] = -0.5 * jr - k * g2 * p2r + r2 * kappa2 * p2i


@njit(cache=True, nogil=True, fastmath=_FAST)  # type: ignore[untyped-decorator]
def _update(t: Any, s: Any, kind: int, steps: Any) -> None:
    """Advance a tile by one step or stage; see `column_pass`.

    ETDRK4 in three arrays, with E = e^{z/2}, A = dt φ₁(z/2)/2 and a = E u + A k₁:
    the third stage (E - 1) a + E u + 2 A k₃ needs no k₁.
    """
    now, soon, later = steps
    for i in range(0, 4 * LANES, LANES):
        if kind == ADAMS_BASHFORTH:
            # What this slope gives to the next two steps is added up beforehand.
            for n in range(LANES):
                slope = s[i + n]
                t[i + n] = t[_W + n] * (t[i + n] + now * slope + t[_FIRST + i + n])
                t[_FIRST + i + n] = soon * slope + t[_SECOND + i + n]
                t[_SECOND + i + n] = later * slope
        elif kind == STAGE_1:
            for n in range(LANES):
                e, a = t[_W + n], t[_W + LANES + n]
                middle, last = t[_W + 2 * LANES + n], t[_W + 3 * LANES + n]
                u, slope = t[i + n], s[i + n]
                first = a * (1 + e) - 2 * middle - last
                t[_FIRST + i + n] = u
                t[_SECOND + i + n] = e * e * u + first * slope
                t[i + n] = e * u + a * slope
        elif kind == STAGE_2:
            for n in range(LANES):
                e, a = t[_W + n], t[_W + LANES + n]
                u, slope = t[_FIRST + i + n], s[i + n]
                t[_FIRST + i + n] = (e - 1) * t[i + n] + e * u
                t[_SECOND + i + n] += t[_W + 2 * LANES + n] * slope
                t[i + n] = e * u + a * slope
        elif kind == STAGE_3:
            for n in range(LANES):
                slope = s[i + n]
                t[_SECOND + i + n] += t[_W + 2 * LANES + n] * slope
                t[i + n] = t[_FIRST + i + n] + 2 * t[_W + LANES + n] * slope
        elif kind == STAGE_4:
            # The last slope is kept: the embedded formula wants it.
            for n in range(LANES):
                t[i + n] = t[_SECOND + i + n] + t[_W + 3 * LANES + n] * s[i + n]
                t[_SECOND + i + n] = s[i + n]


@njit(cache=True, nogil=True, fastmath=_FAST | {"reassoc"})  # type: ignore[untyped-decorator]
def _squares(t: Any, s: Any, weights: Any) -> tuple[float, float]:
    """Sums over a tile of |defect|² and |q̂|²; see `column_pass`."""
    of_slope, of_first, of_second, stream = weights
    defect, size = 0.0, 0.0
    for i in range(0, 4 * LANES, LANES):
        for n in range(LANES):
            d = of_slope * s[i + n] + of_first * t[_FIRST + i + n]
            d += of_second * t[_SECOND + i + n]
            d *= t[_W + stream * LANES + n]
            defect += d * d
            size += t[i + n] * t[i + n]
    return defect, size


@njit(cache=True, nogil=True, fastmath=_FAST)  # type: ignore[untyped-decorator]
def _fields(t: Any, c: Any, a1: Any, b1: Any, a2: Any, b2: Any, a: Any, b: Any) -> None:
    """ŵ of both layers and q̂₁ + i q̂₂, at k (a) and -k (b), over ny nx."""
    f1, f2, scale = c[0], c[1], c[6]
    for n in range(LANES):
        k, l, alpha = scale * t[_K + n], scale * t[_L + n], t[_ALPHA + n]
        q1r, q1i, q2r, q2i = t[n], t[_I1 + n], t[_R2 + n], t[_I2 + n]
        psi_r = alpha * q1r + t[_MIXED + n] * (f2 * q1r + f1 * q2r)
        psi_i = alpha * q1i + t[_MIXED + n] * (f2 * q1i + f1 * q2i)
        a1[2 * n] = l * psi_i - k * psi_r
        a1[2 * n + 1] = -k * psi_i - l * psi_r
        b1[2 * n] = k * psi_r + l * psi_i
        b1[2 * n + 1] = l * psi_r - k * psi_i
    for n in range(LANES):
        k, l, alpha = scale * t[_K + n], scale * t[_L + n], t[_ALPHA + n]
        q1r, q1i, q2r, q2i = t[n], t[_I1 + n], t[_R2 + n], t[_I2 + n]
        psi_r = alpha * q2r + t[_MIXED + n] * (f2 * q1r + f1 * q2r)
        psi_i = alpha * q2i + t[_MIXED + n] * (f2 * q1i + f1 * q2i)
        a2[2 * n] = l * psi_i - k * psi_r
        a2[2 * n + 1] = -k * psi_i - l * psi_r
        b2[2 * n] = k * psi_r + l * psi_i
        b2[2 * n + 1] = l * psi_r - k * psi_i
    for n in range(LANES):
        q1r, q1i, q2r, q2i = t[n], t[_I1 + n], t[_R2 + n], t[_I2 + n]
        a[2 * n] = scale * (q1r - q2i)
        a[2 * n + 1] = scale * (q1i + q2r)
        b[2 * n] = scale * (q1r + q2i)
        b[2 * n + 1] = scale * (q2r - q1i)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _mirror(line: Any) -> None:
    """Make the tiles of k = 0 those of real fields: q̂(0, -l) = conj q̂(0, l)."""
    ny = line.shape[0] * LANES
    for l in range(1, ny // 2):
        t, n = line[l // LANES], l % LANES
        u, m = line[(ny - l) // LANES], (ny - l) % LANES
        for layer in range(2):
            re = 2 * layer * LANES
            u[re + m] = t[re + n]
            u[re + LANES + m] = -t[re + LANES + n]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _block(
    p: Passes, kind: int, steps: Any, weights: Any, first: int, width: int
) -> tuple[float, float]:
    """One block of columns of `column_pass`; returns the sums of `_squares`."""
    w1, w2 = p.columns[0].view(np.float64), p.columns[1].view(np.float64)
    q = p.columns[2].view(np.float64)
    defect, size = 0.0, 0.0
    for x in range(first, first + width):
        # The most negative k comes first
        plus, back = x - first, first + width - 1 - x
        a1, b1, a2, b2 = w1[0, plus], w1[1, back], w2[0, plus], w2[1, back]
        a, b = q[0, plus], q[1, back]
        if kind != PRIME:
            for j in range(p.tiles.shape[1]):
                t, n = p.tiles[x, j], 2 * LANES * j
                _slope(t, p.slopes, p.constants, a1[n:], b1[n:], a2[n:], b2[n:])
                if kind in (MEASURE, STAGE_1):
                    d, s = _squares(t, p.slopes, weights)
                    both = 1.0 if x == 0 else 2.0
                    defect, size = defect + both * d, size + both * s
                _update(t, p.slopes, kind, steps)
        if kind != MEASURE:
            if x == 0:
                _mirror(p.tiles[0])
            for j in range(p.tiles.shape[1]):
                t, n = p.tiles[x, j], 2 * LANES * j
                _fields(t, p.constants, a1[n:], b1[n:], a2[n:], b2[n:], a[n:], b[n:])
            if x == 0:
                p.columns[0, 0, 0, 0] = p.mean[0]
                p.columns[1, 0, 0, 0] = p.mean[1]
    return defect, size


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def column_pass(p: Passes, kind: int, steps: Any, weights: Any) -> None:
    """Slopes, one step or stage, and the next ŵ and q̂, a block of columns at a time.

    Args:
        p: the trajectory.
        kind: ``PRIME`` writes ŵ and q̂ of the state, ``MEASURE`` only looks.
        steps: for ``ADAMS_BASHFORTH``, weights of this slope in its own step and the
            next two.
        weights: of the slope and the two stored arrays in the defect, an estimate of
            the local error, and which weight of the step its modes are multiplied by;
            for ``STAGE_1`` and ``MEASURE``, which look before any update.
    """
    most, modes = p.columns.shape[2], p.tiles.shape[0]
    blocks, team = p.sums.shape[0], p.arrivals.shape[0]
    for block in range(blocks * p.me // team, blocks * (p.me + 1) // team):
        first = block * most
        width = min(most, modes - first)
        plans = p.column_plans[0 if width == most else 1]
        minus = p.rows.shape[2] - first - width + 1
        if kind != PRIME:
            for i in range(p.layers):
                c = p.columns[i]
                execute(plans[2], p.grid[i, 0, first:].ctypes.data, c[0].ctypes.data)
                execute(plans[3], p.grid[i, 0, minus:].ctypes.data, c[1].ctypes.data)
        sums = _block(p, kind, steps, weights, first, width)
        if kind in (MEASURE, STAGE_1):
            p.sums[block, 0], p.sums[block, 1] = sums
        if kind != MEASURE:
            for i in range(3):
                if i < p.layers or i == 2:
                    # The column of -0 is spare, Nyquist's is written twice, alike.
                    c = p.columns[i]
                    data = p.grid[i, 0, minus:].ctypes.data
                    execute(plans[1], c[1].ctypes.data, data)
                    data = p.grid[i, 0, first:].ctypes.data
                    execute(plans[0], c[0].ctypes.data, data)
    meet(p.arrivals, p.me)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def relative_defect(p: Passes) -> float:
    """|defect| / |q̂| of the last measurement; the same for every size of team."""
    defect, size = 0.0, 0.0
    for block in range(p.sums.shape[0]):
        defect += p.sums[block, 0]
        size += p.sums[block, 1]
    return float(np.sqrt(defect / size)) if size != 0 else 0.0


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def prime(p: Passes) -> None:
    """Make the transforms of w q belong to the state in the tiles."""
    column_pass(p, PRIME, _NONE, _ETD_DEFECT)
    row_pass(p)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def adams_bashforth(p: Passes, count: int, steps: Any) -> None:
    """Take ``count`` steps; see `column_pass`."""
    for _ in range(count):
        column_pass(p, ADAMS_BASHFORTH, steps, _ETD_DEFECT)
        row_pass(p)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def measure(p: Passes, weights: Any) -> None:
    """Sum up the defect of the present state."""
    column_pass(p, MEASURE, _NONE, weights)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def runge_kutta(p: Passes, errors: Any) -> None:
    """Take a step of ETDRK4 for each entry of ``errors``: its relative local error."""
    for n in range(errors.size):
        for stage in range(STAGE_1, STAGE_4 + 1):
            # N(u¹) of the embedded formula is the first slope of the next step.
            column_pass(p, stage, _NONE, _ETD_DEFECT)
            if stage == STAGE_1 and n > 0 and p.me == 0:
                errors[n - 1] = relative_defect(p)
            row_pass(p)
    column_pass(p, MEASURE, _NONE, _ETD_DEFECT)
    if p.me == 0:
        errors[-1] = relative_defect(p)
