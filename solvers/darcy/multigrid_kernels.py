"""Compiled loops of the Darcy multigrid: one sample, one grid level at a time.

A level has m rows and n columns of unknowns. Every array carries one ghost layer, so
unknowns have indices 1..m, 1..n and no loop asks where the boundary is; ghost values
are zero, as the pressure there is. The symmetric nine-point matrix is kept as its
diagonal and its couplings (A has them with a minus): ``east[i, j]`` to (i, j+1),
``north[i, j]`` to (i+1, j), ``north_east[i, j]`` to (i+1, j+1), ``north_west[i, j]`` to
(i+1, j-1). Couplings to the boundary are kept too, so rows sum to zero. The finest
level has no diagonal couplings and loops of its own.

Coarse unknown (I, J) sits at fine (2I, 2J). ``weight[k, I, J]`` is what its basis
function is worth at the nine fine points k = SW, ..., NE around it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from opkit.base.compiled import compiled

Array = NDArray[np.floating]

SW, S, SE, W, CENTRE, E, NW, N, NE = range(9)


@compiled
def interpolate(
    diagonal: Array, east: Array, north: Array, ne: Array, nw: Array, weight: Array
) -> None:
    """Weights that follow the matrix, so that fluxes stay continuous across jumps.

    On a grid line the rows are summed across the line and solved for the point; in the
    middle of four coarse points the row itself is solved.
    Source: Dendy, Black box multigrid, 1982, doi:10.1016/0021-9991(82)90057-2.
    """
    m, n = diagonal.shape[0] - 2, diagonal.shape[1] - 2
    for i in range(2, m + 1, 2):  # between two coarse points of a row
        for j in range(1, n + 1, 2):
            right = east[i, j] + ne[i, j] + nw[i - 1, j + 1]
            left = east[i, j - 1] + nw[i, j] + ne[i - 1, j - 1]
            weight[E, i // 2, j // 2] = left / (left + right)
            weight[W, i // 2, j // 2 + 1] = right / (left + right)
    for i in range(1, m + 1, 2):  # between two coarse points of a column
        for j in range(2, n + 1, 2):
            above = north[i, j] + ne[i, j] + nw[i, j]
            below = north[i - 1, j] + ne[i - 1, j - 1] + nw[i - 1, j + 1]
            weight[N, i // 2, j // 2] = below / (above + below)
            weight[S, i // 2 + 1, j // 2] = above / (above + below)
    for i in range(1, m + 1, 2):  # in the middle of four coarse points
        low, high = i // 2, i // 2 + 1
        for j in range(1, n + 1, 2):
            first, last = j // 2, j // 2 + 1
            e, w = east[i, j], east[i, j - 1]
            u, d = north[i, j], north[i - 1, j]
            c = diagonal[i, j]
            weight[NE, low, first] = (
                ne[i - 1, j - 1] + d * weight[E, low, first] + w * weight[N, low, first]
            ) / c
            weight[NW, low, last] = (
                nw[i - 1, j + 1] + d * weight[W, low, last] + e * weight[N, low, last]
            ) / c
            weight[SE, high, first] = (
                nw[i, j] + u * weight[E, high, first] + w * weight[S, high, first]
            ) / c
            weight[SW, high, last] = (
                ne[i, j] + u * weight[W, high, last] + e * weight[S, high, last]
            ) / c


@compiled
def close_at_boundary(weight: Array, m: int, n: int) -> None:
    """Weights of the basis functions on the boundary, for a fine level of m by n.

    They matter only for the coupling of coarse unknowns to the boundary. With an even
    number of fine unknowns the boundary is one fine step, not two, from the last
    coarse unknown.
    """
    rows, columns = weight.shape[1] - 1, weight.shape[2] - 1
    weight[CENTRE] = 1.0
    weight[S, :, 0], weight[N, :, 0] = 0.5, 0.5
    weight[W, 0, :], weight[E, 0, :] = 0.5, 0.5
    if n % 2:
        weight[S, :, columns], weight[N, :, columns] = 0.5, 0.5
    else:
        weight[SW, :, columns], weight[NW, :, columns] = 0.5, 0.5
        weight[W, :, columns] = 1.0
    if m % 2:
        weight[W, rows, :], weight[E, rows, :] = 0.5, 0.5
    else:
        weight[SW, rows, :], weight[SE, rows, :] = 0.5, 0.5
        weight[S, rows, :] = 1.0


@compiled
def _meet(
    image: Array, weight: Array, row: int, column: int, up: int, right: int
) -> float:
    """Sum over the overlap of an image and the basis function (up, right) of it."""
    total = 0.0
    for a in range(1 if up < 0 else 0, 2 if up > 0 else 3):
        for b in range(1 if right < 0 else 0, 2 if right > 0 else 3):
            total += (
                weight[3 * a + b, row + up, column + right]
                * image[2 * up + 1 + a, 2 * right + 1 + b]
            )
    return total


@compiled
def coarsen(
    diagonal: Array,
    east: Array,
    north: Array,
    ne: Array,
    nw: Array,
    weight: Array,
    coarse: Array,
) -> None:
    """Galerkin matrix PᵀAP; ``coarse`` holds (diagonal, east, north, ne, nw)."""
    m, n = diagonal.shape[0] - 2, diagonal.shape[1] - 2
    image = np.empty((5, 5))  # A times a basis function, around its centre
    for row in range(1, m // 2 + 1):
        for column in range(1, n // 2 + 1):
            image[:] = 0.0
            for a in range(3):
                for b in range(3):
                    i, j = 2 * row - 1 + a, 2 * column - 1 + b
                    if i > m or j > n:
                        continue  # on the boundary, where the pressure is zero
                    value = weight[3 * a + b, row, column]
                    image[a + 1, b + 1] += diagonal[i, j] * value
                    image[a + 1, b + 2] -= east[i, j] * value
                    image[a + 1, b] -= east[i, j - 1] * value
                    image[a + 2, b + 1] -= north[i, j] * value
                    image[a, b + 1] -= north[i - 1, j] * value
                    image[a + 2, b + 2] -= ne[i, j] * value
                    image[a, b] -= ne[i - 1, j - 1] * value
                    image[a + 2, b] -= nw[i, j] * value
                    image[a, b + 2] -= nw[i - 1, j + 1] * value
            coarse[0, row, column] = _meet(image, weight, row, column, 0, 0)
            coarse[1, row, column] = -_meet(image, weight, row, column, 0, 1)
            coarse[2, row, column] = -_meet(image, weight, row, column, 1, 0)
            coarse[3, row, column] = -_meet(image, weight, row, column, 1, 1)
            coarse[4, row, column] = -_meet(image, weight, row, column, 1, -1)
            if row == 1 or column == 1:
                coarse[3, row - 1, column - 1] = -_meet(
                    image, weight, row, column, -1, -1
                )
            if row == 1:
                coarse[2, 0, column] = -_meet(image, weight, row, column, -1, 0)
                coarse[4, 0, column + 1] = -_meet(image, weight, row, column, -1, 1)
            if column == 1:
                coarse[1, row, 0] = -_meet(image, weight, row, column, 0, -1)


@compiled
def forward(
    inverse: Array,
    east: Array,
    north: Array,
    ne: Array | None,
    nw: Array | None,
    b: Array,
    x: Array,
) -> None:
    """Gauss-Seidel from zero, rows upwards: (D + L) x = b. No ne, nw: five points."""
    m, n = b.shape[0] - 2, b.shape[1] - 2
    for i in range(1, m + 1):
        for j in range(1, n + 1):  # first what the row below gives, then along the row
            value = b[i, j] + north[i - 1, j] * x[i - 1, j]
            if ne is not None and nw is not None:
                value += ne[i - 1, j - 1] * x[i - 1, j - 1]
                value += nw[i - 1, j + 1] * x[i - 1, j + 1]
            x[i, j] = value * inverse[i, j]
        for j in range(2, n + 1):
            x[i, j] += (east[i, j - 1] * inverse[i, j]) * x[i, j - 1]


@compiled
def backward(
    inverse: Array,
    east: Array,
    north: Array,
    ne: Array | None,
    nw: Array | None,
    b: Array,
    x: Array,
) -> None:
    """Gauss-Seidel on x, rows downwards: the transpose of `forward`."""
    m, n = b.shape[0] - 2, b.shape[1] - 2
    line = np.empty(n + 2, x.dtype)
    for i in range(m, 0, -1):
        for j in range(1, n + 1):
            value = b[i, j] + north[i, j] * x[i + 1, j] + north[i - 1, j] * x[i - 1, j]
            value += east[i, j - 1] * x[i, j - 1]
            if ne is not None and nw is not None:
                value += ne[i, j] * x[i + 1, j + 1] + nw[i, j] * x[i + 1, j - 1]
                value += ne[i - 1, j - 1] * x[i - 1, j - 1]
                value += nw[i - 1, j + 1] * x[i - 1, j + 1]
            line[j] = value * inverse[i, j]
        x[i, n] = line[n]
        for j in range(n - 1, 0, -1):
            x[i, j] = line[j] + (east[i, j] * inverse[i, j]) * x[i, j + 1]


@compiled
def restrict(
    east: Array,
    north: Array,
    ne: Array | None,
    nw: Array | None,
    x: Array,
    weight: Array,
    b: Array,
) -> None:
    """Restrict the residual -U x that `forward` leaves (U: upper part of A)."""
    m, n = x.shape[0] - 2, x.shape[1] - 2
    lines = np.zeros((3, n + 2), x.dtype)  # residuals of three fine rows
    for row in range(1, m // 2 + 1):
        lines[0] = lines[2]
        for a in range(0 if row == 1 else 1, 3):
            i = 2 * row - 1 + a
            if i > m:
                lines[a] = 0.0
                continue
            for j in range(1, n + 1):
                value = east[i, j] * x[i, j + 1] + north[i, j] * x[i + 1, j]
                if ne is not None and nw is not None:
                    value += ne[i, j] * x[i + 1, j + 1] + nw[i, j] * x[i + 1, j - 1]
                lines[a, j] = value
        for column in range(1, n // 2 + 1):
            j = 2 * column
            b[row, column] = (
                weight[SW, row, column] * lines[0, j - 1]
                + weight[S, row, column] * lines[0, j]
                + weight[SE, row, column] * lines[0, j + 1]
                + weight[W, row, column] * lines[1, j - 1]
                + lines[1, j]
                + weight[E, row, column] * lines[1, j + 1]
                + weight[NW, row, column] * lines[2, j - 1]
                + weight[N, row, column] * lines[2, j]
                + weight[NE, row, column] * lines[2, j + 1]
            )


@compiled
def prolong(coarse: Array, weight: Array, x: Array) -> None:
    """Add the coarse correction: x += P x_coarse."""
    m, n = x.shape[0] - 2, x.shape[1] - 2
    for row in range(coarse.shape[0] - 1):
        i = 2 * row
        for column in range(coarse.shape[1] - 1):
            j = 2 * column
            here, right = coarse[row, column], coarse[row, column + 1]
            above, across = coarse[row + 1, column], coarse[row + 1, column + 1]
            x[i, j] += here
            if j < n:
                x[i, j + 1] += (
                    weight[E, row, column] * here + weight[W, row, column + 1] * right
                )
            if i < m:
                x[i + 1, j] += (
                    weight[N, row, column] * here + weight[S, row + 1, column] * above
                )
                if j < n:
                    x[i + 1, j + 1] += (
                        weight[NE, row, column] * here
                        + weight[NW, row, column + 1] * right
                        + weight[SE, row + 1, column] * above
                        + weight[SW, row + 1, column + 1] * across
                    )


@compiled
def apply(diagonal: Array, east: Array, north: Array, x: Array, out: Array) -> None:
    """Five-point product out = A x."""
    m, n = x.shape[0] - 2, x.shape[1] - 2
    for i in range(1, m + 1):
        for j in range(1, n + 1):
            out[i, j] = (
                diagonal[i, j] * x[i, j]
                - east[i, j] * x[i, j + 1]
                - east[i, j - 1] * x[i, j - 1]
                - north[i, j] * x[i + 1, j]
                - north[i - 1, j] * x[i - 1, j]
            )
