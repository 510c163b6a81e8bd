"""Compiled loops of the Euler equations on a C-grid, and of their linear systems.

Unknowns lie at the nodes (i, j); the control volume of a node is bounded by the centres
of the four cells around it, so that ``face_i[i, j]``, between nodes (i - 1, j) and
(i, j), and ``face_j[i, j]``, between (i, j - 1) and (i, j), are segments between such
centres (middles of edges at the boundary), given as normals times lengths. Nodes
(i, 0) and (I - 1 - i, 0), i <= wake, are one point of the wake: the first is the
unknown, the second its copy, and their control volumes are one.

    Σ_faces F(q_L, q_R) |S| = 0,

F: Roe's flux with smooth absolute values; q_L, q_R: primitive variables, extrapolated
along grid lines with van Albada's limiter. State: ρ, ρu, ρv, ρE; γ = 1.4.

Sources: Roe, J. Comput. Phys. 43 (1981) 357; van Albada, van Leer, Roberts, Astron.
Astrophys. 108 (1982) 76.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from opkit.base.compiled import compiled

Array = NDArray[np.float64]

GAMMA = 1.4
SMOOTH = 0.05
"""Half width, in speeds of sound, within which |λ| is rounded off (entropy fix)."""
LIMITER = 3e-2
"""Squared differences of primitive variables far below this one are not limited."""


@compiled
def primitive(state: Array, out: Array) -> float:
    """ρ, u, v, p of each node; returns the least of all ρ and p."""
    least = np.inf
    for i in range(state.shape[0]):
        for j in range(state.shape[1]):
            rho = state[i, j, 0]
            u = state[i, j, 1] / rho
            v = state[i, j, 2] / rho
            p = (GAMMA - 1) * (state[i, j, 3] - 0.5 * rho * (u * u + v * v))
            out[i, j, 0] = rho
            out[i, j, 1] = u
            out[i, j, 2] = v
            out[i, j, 3] = p
            low = min(rho, p)
            if not low >= least:
                least = low
    return least


@compiled
def _roe(left: Array, right: Array, sx: float, sy: float, flux: Array) -> None:
    """Roe's flux through a face (sx, sy), between primitive states."""
    size = math.sqrt(sx * sx + sy * sy)
    nx, ny = sx / size, sy / size
    rl, ul, vl, pl = left[0], left[1], left[2], left[3]
    rr, ur, vr, pr = right[0], right[1], right[2], right[3]
    hl = GAMMA / (GAMMA - 1) * pl / rl + 0.5 * (ul * ul + vl * vl)
    hr = GAMMA / (GAMMA - 1) * pr / rr + 0.5 * (ur * ur + vr * vr)
    nl, nr = ul * nx + vl * ny, ur * nx + vr * ny
    w = math.sqrt(rr / rl)
    share = 1 / (1 + w)
    u, v = (ul + w * ur) * share, (vl + w * vr) * share
    h = (hl + w * hr) * share
    kinetic = 0.5 * (u * u + v * v)
    n = u * nx + v * ny
    c2 = (GAMMA - 1) * (h - kinetic)
    c = math.sqrt(c2)
    rho = w * rl
    d = SMOOTH * c
    a1 = math.sqrt((n - c) * (n - c) + d * d)
    a2 = math.sqrt(n * n + d * d)
    a4 = math.sqrt((n + c) * (n + c) + d * d)
    dr, dp, dn = rr - rl, pr - pl, nr - nl
    w1 = a1 * (dp - rho * c * dn) / (2 * c2)
    w2 = a2 * (dr - dp / c2)
    w4 = a4 * (dp + rho * c * dn) / (2 * c2)
    w3 = a2 * rho
    du, dv = ur - ul - dn * nx, vr - vl - dn * ny  # along the face
    half = 0.5 * size
    ml, mr = rl * nl, rr * nr
    flux[0] = half * (ml + mr - (w1 + w2 + w4))
    flux[1] = half * (
        ml * ul
        + mr * ur
        + (pl + pr) * nx
        - (w1 * (u - c * nx) + w2 * u + w4 * (u + c * nx) + w3 * du)
    )
    flux[2] = half * (
        ml * vl
        + mr * vr
        + (pl + pr) * ny
        - (w1 * (v - c * ny) + w2 * v + w4 * (v + c * ny) + w3 * dv)
    )
    flux[3] = half * (
        ml * hl
        + mr * hr
        - (w1 * (h - c * n) + w2 * kinetic + w4 * (h + c * n) + w3 * (u * du + v * dv))
    )


@compiled
def _towards(near: float, far: float) -> float:
    """From a node to the face ahead: ``near`` is the step across it, ``far`` behind.

    s/4 [(1 - s/3) far + (1 + s/3) near], s = (2 near far + ε) / (near² + far² + ε).
    """
    s = (2 * near * far + LIMITER) / (near * near + far * far + LIMITER)
    s = max(s, 0.0)
    return 0.25 * s * ((1 - s / 3) * far + (1 + s / 3) * near)


@compiled
def residual(
    q: Array,
    face_i: Array,
    face_j: Array,
    wall: Array,
    outer: Array,
    free: Array,
    wake: int,
    out: Array,
) -> None:
    """Net flux out of each control volume; zero at copies.

    Args:
        q: primitive (I, J, 4), copies included.
        face_i: (I + 1, J, 2), the first and the last are the outflow.
        face_j: (I, J, 2), of which row 0 is not used.
        wall: (I, 2), zero at nodes of the wake.
        outer: (I, 2), of the outer boundary.
        free: primitive free stream (4,).
        wake: index of the trailing edge.
        out: (I, J, 4).
    """
    I, J = q.shape[0], q.shape[1]
    last = I - 1
    out[:] = 0.0
    left, right, flux = np.empty(4), np.empty(4), np.empty(4)
    for i in range(I + 1):
        for j in range(J):
            for k in range(4):
                if i == 0:
                    left[k] = free[k]
                    right[k] = q[0, j, k]
                elif i == I:
                    left[k] = q[last, j, k]
                    right[k] = free[k]
                else:
                    step = q[i, j, k] - q[i - 1, j, k]
                    back = step if i == 1 else q[i - 1, j, k] - q[i - 2, j, k]
                    ahead = step if i == last else q[i + 1, j, k] - q[i, j, k]
                    left[k] = q[i - 1, j, k] + _towards(step, back)
                    right[k] = q[i, j, k] - _towards(step, ahead)
            _roe(left, right, face_i[i, j, 0], face_i[i, j, 1], flux)
            for k in range(4):
                if i > 0:
                    out[i - 1, j, k] += flux[k]
                if i < I:
                    out[i, j, k] -= flux[k]
    for i in range(I):
        across = i <= wake or i >= last - wake
        for j in range(1, J):
            for k in range(4):
                step = q[i, j, k] - q[i, j - 1, k]
                if j > 1:
                    back = q[i, j - 1, k] - q[i, j - 2, k]
                elif across:
                    back = q[i, 0, k] - q[last - i, 1, k]
                else:
                    back = step
                ahead = step if j == J - 1 else q[i, j + 1, k] - q[i, j, k]
                left[k] = q[i, j - 1, k] + _towards(step, back)
                right[k] = q[i, j, k] - _towards(step, ahead)
            _roe(left, right, face_j[i, j, 0], face_j[i, j, 1], flux)
            for k in range(4):
                out[i, j - 1, k] += flux[k]
                out[i, j, k] -= flux[k]
        for k in range(4):
            left[k] = q[i, J - 1, k]
        _roe(left, free, outer[i, 0], outer[i, 1], flux)
        for k in range(4):
            out[i, J - 1, k] += flux[k]
        out[i, 0, 1] += q[i, 0, 3] * wall[i, 0]
        out[i, 0, 2] += q[i, 0, 3] * wall[i, 1]
    for i in range(wake + 1):
        for k in range(4):
            out[i, 0, k] += out[last - i, 0, k]
            out[last - i, 0, k] = 0.0


@compiled
def _jacobian(q: Array, sx: float, sy: float, sign: float, out: Array) -> None:
    """∂/∂U of half (F·S + sign × (|u·S| + c |S|) U), the coefficient held."""
    u, v, p = q[1], q[2], q[3]
    n = u * sx + v * sy
    kinetic = 0.5 * (u * u + v * v)
    c2 = GAMMA * p / q[0]
    h = c2 / (GAMMA - 1) + kinetic
    g = GAMMA - 1
    out[0, 0] = 0.0
    out[0, 1] = sx
    out[0, 2] = sy
    out[0, 3] = 0.0
    out[1, 0] = g * kinetic * sx - u * n
    out[1, 1] = n + u * sx - g * u * sx
    out[1, 2] = u * sy - g * v * sx
    out[1, 3] = g * sx
    out[2, 0] = g * kinetic * sy - v * n
    out[2, 1] = v * sx - g * u * sy
    out[2, 2] = n + v * sy - g * v * sy
    out[2, 3] = g * sy
    out[3, 0] = n * (g * kinetic - h)
    out[3, 1] = h * sx - g * u * n
    out[3, 2] = h * sy - g * v * n
    out[3, 3] = GAMMA * n
    speed = abs(n) + math.sqrt(c2 * (sx * sx + sy * sy))
    for a in range(4):
        for b in range(4):
            out[a, b] *= 0.5
        out[a, a] += 0.5 * sign * speed


@compiled
def _wall_jacobian(q: Array, sx: float, sy: float, out: Array) -> None:
    """∂(p S)/∂U."""
    u, v, g = q[1], q[2], GAMMA - 1
    out[:] = 0.0
    slope = (g * 0.5 * (u * u + v * v), -g * u, -g * v, g)
    for b in range(4):
        out[1, b] = slope[b] * sx
        out[2, b] = slope[b] * sy


@compiled
def speeds(
    q: Array,
    face_i: Array,
    face_j: Array,
    wall: Array,
    outer: Array,
    wake: int,
    out: Array,
) -> None:
    """Half the sum over the faces of |u·S| + c |S| (I, J); of both sides at copies."""
    I, J = q.shape[0], q.shape[1]
    last = I - 1
    for i in range(I):
        for j in range(J):
            u, v = q[i, j, 1], q[i, j, 2]
            c = math.sqrt(GAMMA * q[i, j, 3] / q[i, j, 0])
            total = 0.0
            for f in range(4):
                if f == 0:
                    sx, sy = face_i[i, j, 0], face_i[i, j, 1]
                elif f == 1:
                    sx, sy = face_i[i + 1, j, 0], face_i[i + 1, j, 1]
                elif f == 2:
                    if j == 0:
                        sx, sy = wall[i, 0], wall[i, 1]
                    else:
                        sx, sy = face_j[i, j, 0], face_j[i, j, 1]
                elif j == J - 1:
                    sx, sy = outer[i, 0], outer[i, 1]
                else:
                    sx, sy = face_j[i, j + 1, 0], face_j[i, j + 1, 1]
                total += abs(u * sx + v * sy) + c * math.sqrt(sx * sx + sy * sy)
            out[i, j] = 0.5 * total
    for i in range(wake + 1):
        out[i, 0] += out[last - i, 0]
        out[last - i, 0] = out[i, 0]


@compiled
def blocks(
    q: Array,
    face_i: Array,
    face_j: Array,
    wall: Array,
    outer: Array,
    wake: int,
    diagonal: Array,
    west: Array,
    east: Array,
    south: Array,
    north: Array,
) -> None:
    """The Jacobian of the first-order scheme, one 4 x 4 block per neighbour.

    Args:
        q: primitive (I, J, 4).
        face_i: see `residual`.
        face_j: see `residual`.
        wall: see `residual`.
        outer: see `residual`.
        wake: see `residual`.
        diagonal: (I, J, 4, 4), which holds V / Δt already; those of copies are added to
            their node's.
        west: (I, J, 4, 4), to (i - 1, j).
        east: to (i + 1, j).
        south: to (i, j - 1).
        north: to (i, j + 1).
    """
    I, J = q.shape[0], q.shape[1]
    last = I - 1
    block = np.empty((4, 4))
    for i in range(I + 1):
        for j in range(J):
            sx, sy = face_i[i, j, 0], face_i[i, j, 1]
            if i > 0:
                _jacobian(q[i - 1, j], sx, sy, 1.0, block)
                diagonal[i - 1, j] += block
                if i < I:
                    west[i, j] = -block
            if i < I:
                _jacobian(q[i, j], sx, sy, -1.0, block)
                diagonal[i, j] -= block
                if i > 0:
                    east[i - 1, j] = block
    for i in range(I):
        for j in range(1, J):
            sx, sy = face_j[i, j, 0], face_j[i, j, 1]
            _jacobian(q[i, j - 1], sx, sy, 1.0, block)
            diagonal[i, j - 1] += block
            south[i, j] = -block
            _jacobian(q[i, j], sx, sy, -1.0, block)
            diagonal[i, j] -= block
            north[i, j - 1] = block
        _jacobian(q[i, J - 1], outer[i, 0], outer[i, 1], 1.0, block)
        diagonal[i, J - 1] += block
        _wall_jacobian(q[i, 0], wall[i, 0], wall[i, 1], block)
        diagonal[i, 0] += block
    for i in range(wake + 1):
        diagonal[i, 0] += diagonal[last - i, 0]


@compiled
def _factorise(a: Array) -> None:
    """LU of a 4 x 4 block in place, without pivots."""
    for k in range(4):
        a[k, k] = 1 / a[k, k]
        for r in range(k + 1, 4):
            a[r, k] *= a[k, k]
            for c in range(k + 1, 4):
                a[r, c] -= a[r, k] * a[k, c]


@compiled
def _back(a: Array, b: Array) -> None:
    """Solve a x = b in place, a as factorised."""
    for r in range(1, 4):
        for k in range(r):
            b[r] -= a[r, k] * b[k]
    for r in range(3, -1, -1):
        for k in range(r + 1, 4):
            b[r] -= a[r, k] * b[k]
        b[r] *= a[r, r]


@compiled
def factorise_lines(
    diagonal: Array, south: Array, north: Array, wake: int, upper: Array
) -> None:
    """Block LU of the lines j, in place of the diagonal; from the outside inwards.

    A line of the wake goes on below it: both of its halves end at their common node,
    which is eliminated last.

    Args:
        diagonal: (I, J, 4, 4), becomes the factorised pivots.
        south: (I, J, 4, 4), coupling to j - 1.
        north: (I, J, 4, 4), coupling to j + 1.
        wake: index of the trailing edge.
        upper: (I, J, 4, 4), becomes pivot⁻¹ south.
    """
    I, J = diagonal.shape[0], diagonal.shape[1]
    last = I - 1
    for i in range(last, -1, -1):  # copies before their nodes
        copy = i >= last - wake
        for j in range(J - 1, 0, -1):
            _factorise(diagonal[i, j])
            for c in range(4):
                for r in range(4):
                    upper[i, j, r, c] = south[i, j, r, c]
                _back(diagonal[i, j], upper[i, j, :, c])
            target = last - i if copy and j == 1 else i
            for r in range(4):
                for c in range(4):
                    total = 0.0
                    for k in range(4):
                        total += north[i, j - 1, r, k] * upper[i, j, k, c]
                    diagonal[target, j - 1, r, c] -= total
        if not copy:
            _factorise(diagonal[i, 0])


@compiled
def _line(
    i: int, pivots: Array, upper: Array, north: Array, wake: int, x: Array
) -> None:
    """Solve one line, or the two of the wake, for the right sides in x."""
    I, J = x.shape[0], x.shape[1]
    last = I - 1
    for half in range(2):
        if half == 1 and i > wake:
            break
        a = i if half == 0 else last - i
        for j in range(J - 1, 0, -1):
            _back(pivots[a, j], x[a, j])
            target = i if j == 1 else a
            for r in range(4):
                for k in range(4):
                    x[target, j - 1, r] -= north[a, j - 1, r, k] * x[a, j, k]
    _back(pivots[i, 0], x[i, 0])
    if i <= wake:
        x[last - i, 0] = x[i, 0]
    for half in range(2):
        if half == 1 and i > wake:
            break
        a = i if half == 0 else last - i
        for j in range(1, J):
            for r in range(4):
                for k in range(4):
                    x[a, j, r] -= upper[a, j, r, k] * x[a, j - 1, k]


@compiled
def _right_side(
    i: int, b: Array, west: Array, east: Array, wake: int, x: Array, new: Array
) -> None:
    """Right side of line i in ``new``: b less the couplings to the lines beside it."""
    I, J = x.shape[0], x.shape[1]
    last = I - 1
    for half in range(2):
        if half == 1 and i > wake:
            break
        a = i if half == 0 else last - i
        for j in range(J):
            for r in range(4):
                total = 0.0
                for k in range(4):
                    if a > 0:
                        total += west[a, j, r, k] * x[a - 1, j, k]
                    if a < last:
                        total += east[a, j, r, k] * x[a + 1, j, k]
                if half == 1 and j == 0:
                    new[i, 0, r] -= total
                else:
                    new[a, j, r] = b[a, j, r] - total


@compiled
def sweep(
    b: Array,
    pivots: Array,
    upper: Array,
    north: Array,
    west: Array,
    east: Array,
    wake: int,
    sweeps: int,
    x: Array,
) -> None:
    """Symmetric Gauss-Seidel over the lines, from zero.

    Args:
        b: (I, J, 4), zero at copies.
        pivots: of `factorise_lines`.
        upper: of `factorise_lines`.
        north: see `blocks`.
        west: see `blocks`.
        east: see `blocks`.
        wake: index of the trailing edge.
        sweeps: pairs of sweeps.
        x: (I, J, 4), the result; copies hold their node's values.
    """
    lines = x.shape[0] - wake - 1  # without those that are copies
    x[:] = 0.0
    new = np.zeros_like(x)
    for count in range(2 * sweeps):
        for step in range(lines):
            i = step if count % 2 == 0 else lines - 1 - step
            _right_side(i, b, west, east, wake, x, new)
            _line(i, pivots, upper, north, wake, new)
            x[i] = new[i]
            if i <= wake:
                x[x.shape[0] - 1 - i] = new[x.shape[0] - 1 - i]
