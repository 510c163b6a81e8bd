"""NACA 0012, deformed by a design element, and the C-grid around it.

    y = ± 5 t (0.2969 √x - 0.1260 x - 0.3516 x² + 0.2843 x³ - 0.1036 x⁴),   t = 0.12,
    y ← y + Σ_k [d_k ℓ_k(x) (0.1 - y) + e_k ℓ_k(x) (0.1 + y)] / 0.2,

ℓ_k: Lagrange polynomials of the control nodes x = -0.25, 0.25, 0.75, 1.25; d, e:
vertical displacements of the nodes at y = -0.1 and y = 0.1. The closed trailing edge
lies at x = 1. The grid's first direction runs from x = 40 along the wake to the
trailing edge, around the airfoil from below to above, and back along the wake; its
second direction runs outwards, on straight lines, to a half circle of radius 40 about
(1, 0) and the two lines y = ±40. The nodes of the wake appear twice.

Source: Li et al., "Fourier neural operator with learned deformations" (JMLR 24, 2023),
and the authors' code, which has the airfoil, the design element, the outer boundary,
the numbers of nodes, and the steps outwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from opkit.base.arrays import Array
from opkit.errors import OpkitInputError

CONTROL_X = np.array([-0.25, 0.25, 0.75, 1.25])
HALF_HEIGHT = 0.1
RADIUS = 40.0
_NEAR = 1.02  # growth of steps outwards over the first three quarters
_FIRST = 2 / 120  # length of the first step outwards


@dataclass(frozen=True)
class CGrid:
    """Counts of nodes.

    Args:
        wake: cells from the outflow to the trailing edge.
        around: cells around the airfoil, even.
        outwards: cells from the airfoil to the outer boundary.
    """

    wake: int
    around: int
    outwards: int

    @property
    def shape(self) -> tuple[int, int]:
        """Nodes along the first and the second direction."""
        return 2 * self.wake + self.around + 1, self.outwards + 1

    def half(self) -> CGrid | None:
        """The grid with half the cells, or none where that would be too coarse."""
        half = CGrid(self.wake // 2, self.around // 4 * 2, self.outwards // 2)
        return half if half.around >= 24 and half.outwards >= 8 else None

    def nodes(self, displacements: Array) -> Array:
        """Nodes (first, second, 2) around a deformed airfoil.

        Args:
            displacements: of the design element (8,): d, then e.

        Raises:
            OpkitInputError: the upper surface meets the lower one, or cells fold.
        """
        half = self._surface()
        x = np.concatenate([half[::-1], half[1:]])
        y = thickness(x) * np.where(np.arange(len(x)) < self.around // 2, -1.0, 1.0)
        y = deform(displacements, x, y)
        gap = y[self.around // 2 :] - y[self.around // 2 :: -1]
        thin = np.flatnonzero(gap[1:-1] <= 0)
        if len(thin):
            raise OpkitInputError(
                f"displacements: the upper and the lower surface of the airfoil meet "
                f"at x = {x[self.around // 2 + 1 + thin[0]]:.3g}: make them smaller"
            )
        step = 1 - half[-2]
        wake = 1 + (RADIUS - 1) * _stretched(self.wake, step / (RADIUS - 1))
        tail = y[-1] * _fade(wake)
        inner = np.concatenate(
            [
                np.stack([wake[:0:-1], tail[:0:-1]], axis=1),
                np.stack([x, y], axis=1),
                np.stack([wake[1:], tail[1:]], axis=1),
            ]
        )
        s = self._steps()[None, :, None]
        points: Array = inner[:, None] * (1 - s) + self._outer(x, wake)[:, None] * s
        _check(points)
        return points

    def _surface(self) -> Array:
        """Where the nodes lie along x, from the leading edge to the trailing edge."""
        t = np.linspace(0, 1, self.around // 2 + 1)
        # steps grow from the round nose and shrink again towards the edge
        x = t**2 * (1 + 0.9 * (1 - t) * (1 + 0.4 * t))
        return np.asarray(x)

    def _outer(self, x: Array, wake: Array) -> Array:
        """Nodes of the outer boundary (first, 2).

        Their angles are means of even ones and those of the airfoil's normal, so that
        lines leave its surface steeply and do not crowd above it.
        """
        n = self.around // 2
        normal = np.pi / 2 + np.arctan(
            np.maximum(np.gradient(thickness(x[n:]), x[n:]), 0)
        )
        normal[0] = np.pi
        even = np.pi - np.linspace(0, np.pi / 2, n + 1)
        angle = (even + np.minimum.accumulate(normal)) / 2
        upper = np.stack([1 + RADIUS * np.cos(angle), RADIUS * np.sin(angle)], axis=1)
        lines = np.stack([wake[1:], np.full(len(wake) - 1, RADIUS)], axis=1)
        upper = np.concatenate([upper, lines])
        return np.concatenate([upper[:0:-1] * [1.0, -1.0], upper])

    def _steps(self) -> Array:
        """Share of the way outwards of each node."""
        first = _FIRST / RADIUS * 50 / self.outwards
        near = 3 * self.outwards // 4
        sizes = first * _NEAR ** (np.arange(near) * 50 / self.outwards)
        rest = self.outwards - near
        left = 1 - sizes.sum()

        def excess(growth: float) -> float:
            return float(sizes[-1] * (growth ** np.arange(1, rest + 1)).sum() - left)

        growth = brentq(excess, 1.0, 1e3 ** (4 / max(rest, 2)))
        sizes = np.append(sizes, sizes[-1] * growth ** np.arange(1, rest + 1))
        steps = np.append(0.0, np.cumsum(sizes))
        share: Array = steps / steps[-1]
        return share


def thickness(x: Array) -> Array:
    """Half the thickness of NACA 0012 at x in [0, 1]."""
    powers = 0.2969 * np.sqrt(x) - 0.1260 * x - 0.3516 * x**2
    half: Array = 0.6 * (powers + 0.2843 * x**3 - 0.1036 * x**4)
    half[x >= 1] = 0.0
    return half


def deform(displacements: Array, x: Array, y: Array) -> Array:
    """Move points of the airfoil with the design element's control nodes."""
    lower, upper = displacements[:4], displacements[4:]
    moved = y.copy()
    for k, at in enumerate(CONTROL_X):
        others = np.delete(CONTROL_X, k)
        basis = np.prod([(x - o) / (at - o) for o in others], axis=0)
        share = 0.5 * (y / HALF_HEIGHT)
        moved += basis * (lower[k] * (0.5 - share) + upper[k] * (0.5 + share))
    return moved


def coarsened(nodes: Array, fine: CGrid, coarse: CGrid) -> Array:
    """Nodes (first, second, 2) of a coarser grid on the lines of a finer one."""
    return _interpolated(nodes, *_places(coarse, fine))


def prolonged(values: Array, coarse: CGrid, fine: CGrid) -> Array:
    """Values (first, second, k) on a coarser grid at the nodes of a finer one."""
    return _interpolated(values, *_places(fine, coarse))


def _places(of: CGrid, on: CGrid) -> tuple[Array, Array]:
    """Where the nodes of one grid lie in the indices of another."""
    ends = [np.cumsum([0.0, grid.wake, grid.around, grid.wake]) for grid in (of, on)]
    first = np.interp(np.arange(float(of.shape[0])), ends[0], ends[1])
    return first, np.linspace(0, on.outwards, of.shape[1])


def _interpolated(values: Array, first: Array, second: Array) -> Array:
    """Linear along both directions, at indices of both."""
    for axis, at in ((0, first), (1, second)):
        low = np.minimum(at.astype(np.int64), values.shape[axis] - 2)
        share = (at - low).reshape([-1 if k == axis else 1 for k in range(3)])
        values = (1 - share) * values.take(low, axis) + share * values.take(
            low + 1, axis
        )
    return values


def _fade(x: Array) -> Array:
    """1 at the trailing edge, 0 two chords behind it and on, smooth between."""
    t = np.clip((x - 1) / 2, 0, 1)
    fade: Array = (1 - t) ** 3 * (1 + 3 * t + 6 * t**2)
    return fade


def _stretched(cells: int, first: float) -> Array:
    """Points from 0 to 1 in geometric progression with the given first step."""

    def excess(growth: float) -> float:
        return float(first * (growth ** np.arange(cells)).sum() - 1)

    growth = brentq(excess, 1.0, 3.0)
    steps = np.append(0.0, np.cumsum(growth ** np.arange(cells)))
    share: Array = steps / steps[-1]
    return share


def _check(points: Array) -> None:
    a, b = points[1:, 1:] - points[:-1, :-1], points[:-1, 1:] - points[1:, :-1]
    area = (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]) / 2
    folded = np.argwhere(area <= 0)
    if len(folded):
        i, j = folded[0]
        x, y = points[i, j]
        raise OpkitInputError(
            f"displacements: the grid folds in cell ({j}, {i}), at ({x:.3g}, {y:.3g}): "
            "make them smaller"
        )
