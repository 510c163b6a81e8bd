"""Compiled passes of the vorticity equation over one field, in cache-sized tiles.

With w = u + i v the two velocities are one complex field, and its square

    w² = (u² − v²) + 2 i u v

holds both products of the advection term, so that two complex transforms do the work of
four real ones. With c = kx + i ky, Fourier series coefficients, and Q = F(w²):

    ŵ(k) = ω̂(k) / c̄,   ŵ(−k) = −conj(ω̂(k)) / c̄,
    F(−u·∇ω)(k) = [c̄² Q(k) − c² conj(Q(−k))] / 4i.

Only |kx|, |ky| <= M < N/3 are kept. A state is complex (M+1, P): kx = 0..M, ky = -M..M
and zeros up to P. Along y, coefficients are stored M places up, so that they lie
together: the fields carry a factor exp(i M y), their squares its square, and Q lies 2M
places up, which still fits because 3M < N. Columns of negative kx are transformed with
the opposite sign, which stores them by -ky. A row of the grid has spare columns: column
N stands for -kx = 0, and no stride is a power of two.

A `Workspace` holds arrays, tables and plans of one problem for one thread.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from opkit.solvers.fourier.fftw import execute, plan
from opkit.solvers.navier_stokes.model import Problem

FAST = {"contract", "nsz", "reassoc"}  # NaN and infinity keep their meaning


class Passes(NamedTuple):
    """Plans, tiles and constants of one thread; see `workspace`."""

    grid: Any  # (N, N + spare) complex: y by kx between passes
    rows: Any  # (lines, N) complex: w exp(i M y) on a few grid lines
    fill: Any  # (2, tile, N + spare) complex: ŵ of a few +kx and −kx, zero beyond M
    gather: Any  # (2, tile, N + spare) complex: Q of the same
    kx: Any  # (M+1,) angular wavenumbers
    ky: Any  # (P,) angular wavenumbers
    scale: Any  # (P,) 1 / (4 N²), zero where ky is not kept
    inverse_laplacian: Any  # (M+1, P) 1/|k|², zero for the mean and beyond M
    forcing: Any  # (M+1, P) complex
    mean_flow: Any  # U + i V, complex (1,)
    phase: Any  # (N,) exp(-i M y)
    row_plans: Any  # inverse, forward
    column_plans: Any  # (full tile, last tile) by (inverse +, −, forward +, −)


@njit(cache=True, nogil=True, fastmath=FAST)  # type: ignore[untyped-decorator]
def row_pass(p: Passes, want_speed: bool) -> float:
    """Turn ŵ(kx) on each grid line into Q(kx); return max(|u| + |v|) if wanted."""
    lines, points = p.rows.shape
    modes = p.kx.size
    speed = 0.0
    for first in range(0, points, lines):
        execute(p.row_plans[0], p.grid[first].ctypes.data, p.rows.ctypes.data)
        for y in range(lines):
            line = p.rows[y].view(np.float64)
            if want_speed:
                speed = max(speed, _fastest(line, p.phase[first + y]))
            _square(line)
        execute(p.row_plans[1], p.rows.ctypes.data, p.grid[first].ctypes.data)
        for y in range(first, first + lines):
            p.grid[y, points] = p.grid[y, 0]
            for x in range(modes, points - modes + 1):
                p.grid[y, x] = 0
    return speed


@njit(cache=True, nogil=True, fastmath=FAST)  # type: ignore[untyped-decorator]
def _square(line: Any) -> None:
    for x in range(line.size // 2):
        u, v = line[2 * x], line[2 * x + 1]
        line[2 * x] = (u - v) * (u + v)
        line[2 * x + 1] = 2 * u * v


@njit(cache=True, nogil=True, fastmath=FAST | {"nnan"})  # type: ignore[untyped-decorator]
def _fastest(line: Any, phase: complex) -> float:
    cos, sin = phase.real, phase.imag
    fastest = 0.0
    for x in range(line.size // 2):
        u, v = line[2 * x], line[2 * x + 1]
        fastest = max(fastest, abs(cos * u - sin * v) + abs(cos * v + sin * u))
    return fastest


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def gather_tile(p: Passes, first: int, width: int) -> None:
    """Transform the columns of Q at kx number first.. and their negatives along y."""
    plans = p.column_plans[0 if width == p.fill.shape[1] else 1]
    minus = p.grid.shape[0] - first - width + 1
    execute(plans[2], p.grid[0, first:].ctypes.data, p.gather[0].ctypes.data)
    execute(plans[3], p.grid[0, minus:].ctypes.data, p.gather[1].ctypes.data)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def scatter_tile(p: Passes, first: int, width: int) -> None:
    """Transform the tile of ŵ along y into the columns of the grid."""
    points = p.grid.shape[0]
    plans = p.column_plans[0 if width == p.fill.shape[1] else 1]
    if first == 0:
        p.fill[0, 0, p.kx.size - 1] = p.mean_flow[0]
    for row in range(width):
        p.fill[1, row, 0] = p.fill[1, row, points]  # ky = M lies a whole turn up
    minus = points - first - width + 1
    execute(plans[0], p.fill[0].ctypes.data, p.grid[0, first:].ctypes.data)
    execute(plans[1], p.fill[1].ctypes.data, p.grid[0, minus:].ctypes.data)


@njit(cache=True, nogil=True, forceinline=True)  # type: ignore[untyped-decorator]
def slope(p: Passes, x: int, first: int, width: int, out: Any) -> None:
    """Evaluate N(k) = F(−u·∇ω + f) at kx number ``x`` from the gathered tile."""
    points, most = p.grid.shape[0], p.kx.size - 1
    plus = p.gather[0, x - first, most:]
    minus = p.gather[1, first + width - 1 - x, points - 3 * most :]
    _slope_line(p.kx[x], p.ky, p.scale, p.forcing[x], plus, minus, out)


@njit(cache=True, nogil=True, fastmath=FAST)  # type: ignore[untyped-decorator]
def _slope_line(
    kx: float, ky: Any, scale: Any, forcing: Any, plus: Any, minus: Any, out: Any
) -> None:
    for y in range(out.size):
        a = scale[y] * (kx - ky[y]) * (kx + ky[y])
        b = scale[y] * 2 * kx * ky[y]
        q, s = plus[y], minus[y]
        out[y] = complex(
            a * (q.imag + s.imag) - b * (q.real + s.real) + forcing[y].real,
            a * (s.real - q.real) - b * (q.imag - s.imag) + forcing[y].imag,
        )


@njit(cache=True, nogil=True, forceinline=True)  # type: ignore[untyped-decorator]
def velocity(p: Passes, x: int, first: int, width: int, vorticity: Any) -> None:
    """Fill the tile with ŵ(±k) of a line of vorticity at kx number ``x``."""
    points, most = p.grid.shape[0], p.kx.size - 1
    plus = p.fill[0, x - first]
    minus = p.fill[1, first + width - 1 - x, points - 2 * most :]
    _velocity_line(p.kx[x], p.ky, p.inverse_laplacian[x], vorticity, plus, minus)


@njit(cache=True, nogil=True, fastmath=FAST)  # type: ignore[untyped-decorator]
def _velocity_line(
    kx: float, ky: Any, inverse_laplacian: Any, vorticity: Any, plus: Any, minus: Any
) -> None:
    for y in range(vorticity.size):
        r = inverse_laplacian[y] * vorticity[y].real
        i = inverse_laplacian[y] * vorticity[y].imag
        plus[y] = complex(kx * r - ky[y] * i, kx * i + ky[y] * r)
        minus[y] = complex(-kx * r - ky[y] * i, kx * i - ky[y] * r)


_TILE = 8  # columns at a time: two cache lines of the grid
_ROW_POINTS = 4096  # grid points of a row tile: 64 KiB
_VECTOR = 16  # lines are padded to whole vectors
_SPARE = 4  # grid columns beyond N, the first of them used


def workspace(problem: Problem) -> Passes:
    """Allocate and plan; the plans are FFTW's estimates, the same in every process."""
    n, most = problem.points, problem.most
    padded = -(-(2 * most + 1) // _VECTOR) * _VECTOR
    tile = min(_TILE, most + 1)
    last = (most + 1) % tile or tile
    lines = max(
        m for m in range(1, n + 1) if n % m == 0 and m * n <= max(n, _ROW_POINTS)
    )
    grid, long = n + _SPARE, n + padded - 2 * most + 3
    unit = 2 * np.pi / problem.length
    kx = unit * np.arange(most + 1)
    ky = np.zeros(padded)
    ky[: 2 * most + 1] = unit * np.arange(-most, most + 1)
    band = np.arange(padded) < 2 * most + 1
    squared = (kx[:, None] ** 2 + ky**2) * band
    inverse = np.divide(1.0, squared, out=np.zeros_like(squared), where=squared > 0)
    rows = np.arange(-most, most + 1) % n
    forcing = np.zeros((most + 1, padded), np.complex128)
    forcing_hat = np.fft.rfft2(problem.forcing) / n**2
    forcing[:, : 2 * most + 1] = forcing_hat[rows, : most + 1].T
    forcing[0, most] = 0

    def columns(width: int) -> list[int]:
        down, along = (1, long), (grid, 1)  # point and transform distances
        return [
            plan(n, width, down, along, +1),
            plan(n, width, down, along, -1),
            plan(n, width, along, down, -1),
            plan(n, width, along, down, +1),
        ]

    return Passes(
        grid=np.zeros((n, grid), np.complex128),
        rows=np.zeros((lines, n), np.complex128),
        fill=np.zeros((2, tile, long), np.complex128),
        gather=np.zeros((2, tile, long), np.complex128),
        kx=kx,
        ky=ky,
        scale=band / (4.0 * n * n),
        inverse_laplacian=inverse,
        forcing=forcing,
        mean_flow=np.array([complex(*problem.mean_flow)]),
        phase=np.exp(-2j * np.pi * most / n * np.arange(n)),
        row_plans=np.array(
            [
                plan(n, lines, (1, grid), (1, n), +1),
                plan(n, lines, (1, n), (1, grid), -1),
            ]
        ),
        column_plans=np.array([columns(tile), columns(last)]),
    )
