"""Black-box multigrid for the Darcy equations: one symmetric V-cycle as M⁻¹.

Interpolation follows the matrix and coarse matrices are Galerkin products, so jumps of
the permeability are seen on every level and the number of iterations hardly depends on
contrast or resolution. One Gauss-Seidel sweep upwards before, one downwards after the
coarse correction; the cycle runs in float32, which halves its memory traffic and
limits nothing, because the residuals it works on come from float64.

Source: Dendy, J. Comput. Phys. 48 (1982), doi:10.1016/0021-9991(82)90057-2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opkit.base.arrays import Array
from opkit.solvers.darcy import multigrid_kernels as kernels
from opkit.solvers.darcy.five_point import System

Single = NDArray[np.float32]


@dataclass(frozen=True)
class _Level:
    """Matrix, interpolation from below, and work arrays of one level, in float32."""

    inverse: Single
    east: Single
    north: Single
    ne: Single | None
    nw: Single | None
    weight: Single
    b: Single
    x: Single


class Multigrid:
    """Preconditioner for one sample's `System`."""

    def __init__(self, system: System) -> None:
        matrix = _padded(system)
        self._matrix = (matrix[0], matrix[1], matrix[2])
        self._image = np.zeros_like(matrix[0])
        self._direction = np.zeros_like(matrix[0])
        self._levels: list[_Level] = []
        while min(matrix[0].shape) > 4:  # more than two unknowns along each axis
            rows, columns = (size // 2 - 1 for size in matrix[0].shape)
            weight = np.zeros((9, rows + 2, columns + 2))
            coarse = np.zeros((5, rows + 2, columns + 2))
            kernels.close_at_boundary(weight, matrix.shape[1] - 2, matrix.shape[2] - 2)
            diagonal, east, north, ne, nw = matrix
            kernels.interpolate(diagonal, east, north, ne, nw, weight)
            kernels.coarsen(diagonal, east, north, ne, nw, weight, coarse)
            self._levels.append(_level(matrix, weight, five=not self._levels))
            matrix = coarse
        self._shape = matrix[0].shape
        self._coarsest = np.linalg.inv(_dense(matrix)).astype(np.float32)

    def apply(self, p: Array) -> Array:
        """Return A p for interior values, in float64."""
        self._direction[1:-1, 1:-1] = p
        kernels.apply(*self._matrix, self._direction, self._image)
        image: Array = self._image[1:-1, 1:-1]
        return image

    def solve(self, r: Array) -> Array:
        """Return M⁻¹ r for interior values."""
        # float32 has 38 decades and residuals fall: scale them to 1 first.
        scale = float(np.abs(r).max()) or 1.0
        if not self._levels:
            flat = self._coarsest @ (r / scale).ravel().astype(np.float32)
            return np.asarray(flat.reshape(r.shape) * scale, dtype=np.float64)
        finest = self._levels[0]
        np.divide(r, scale, out=finest.b[1:-1, 1:-1], casting="same_kind")
        self._cycle(0)
        z = finest.x[1:-1, 1:-1].astype(np.float64)
        z *= scale
        return z

    def _cycle(self, depth: int) -> Single:
        if depth == len(self._levels) - 1:
            b = np.zeros(self._shape, np.float32)
            x = np.zeros(self._shape, np.float32)
        else:
            b, x = self._levels[depth + 1].b, self._levels[depth + 1].x
        level = self._levels[depth]
        matrix = (level.inverse, level.east, level.north, level.ne, level.nw)
        kernels.forward(*matrix, level.b, level.x)
        kernels.restrict(*matrix[1:], level.x, level.weight, b)
        if depth == len(self._levels) - 1:
            rows, columns = self._shape[0] - 2, self._shape[1] - 2
            inner = self._coarsest @ b[1:-1, 1:-1].ravel()
            x[1:-1, 1:-1] = inner.reshape(rows, columns)
        else:
            self._cycle(depth + 1)
        kernels.prolong(x, level.weight, level.x)
        kernels.backward(*matrix, level.b, level.x)
        return level.x


def _padded(system: System) -> Array:
    rows, columns = system.diagonal.shape
    matrix = np.zeros((5, rows + 2, columns + 2))
    matrix[0, 1:-1, 1:-1] = system.diagonal
    matrix[1, 1:-1, :-1] = system.west_east
    matrix[2, :-1, 1:-1] = system.south_north
    return matrix


def _level(matrix: Array, weight: Array, five: bool) -> _Level:
    inverse = np.zeros(matrix[0].shape, np.float32)
    inverse[1:-1, 1:-1] = 1.0 / matrix[0, 1:-1, 1:-1]
    _, east, north, ne, nw = matrix.astype(np.float32)
    return _Level(
        inverse=inverse,
        east=east,
        north=north,
        ne=None if five else ne,
        nw=None if five else nw,
        weight=weight.astype(np.float32),
        b=np.zeros_like(inverse),
        x=np.zeros_like(inverse),
    )


def _dense(matrix: Array) -> Array:
    diagonal, east, north, ne, nw = matrix
    number = np.full(diagonal.shape, -1)
    rows, columns = diagonal.shape[0] - 2, diagonal.shape[1] - 2
    number[1:-1, 1:-1] = np.arange(rows * columns).reshape(rows, columns)
    dense = np.diag(diagonal[1:-1, 1:-1].ravel())
    for coupling, (di, dj) in (
        (east, (0, 1)),
        (north, (1, 0)),
        (ne, (1, 1)),
        (nw, (1, -1)),
    ):
        for i, j in np.argwhere(number >= 0):
            other = number[i + di, j + dj]
            if other >= 0:
                dense[number[i, j], other] = -coupling[i, j]
                dense[other, number[i, j]] = -coupling[i, j]
    return dense
