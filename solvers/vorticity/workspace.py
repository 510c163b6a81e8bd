"""Arrays, tables and plans of the compiled passes, for one problem and one thread."""

from __future__ import annotations

import numpy as np

from opkit.solvers.vorticity.fftw import plan
from opkit.solvers.vorticity.kernels import Passes
from opkit.solvers.vorticity.problem import Problem

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
    kept = np.arange(padded) < 2 * most + 1
    squared = (kx[:, None] ** 2 + ky**2) * kept
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
        scale=kept / (4.0 * n * n),
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
