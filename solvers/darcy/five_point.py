"""The five-point equations of -∇·(a ∇p) = f on the nodes of the unit square.

Interior nodes are unknowns; the zero pressure of the boundary is eliminated. With the
coefficient a_e on the face between a node and its east neighbour (and so on),

    (A p)_C = Σ over east, west of a_e (p_C - p_E) / hx² + the same along y / hy².
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy import fft

from opkit.base.arrays import Array

Faces = Literal["harmonic", "fno"]


@dataclass(frozen=True)
class System:
    """One sample's equations, each face coefficient already divided by h².

    Args:
        west_east: (ny - 2, nx - 1), faces crossed along x.
        south_north: (ny - 1, nx - 2), faces crossed along y.
        diagonal: (ny - 2, nx - 2), the sum of a node's four faces.
    """

    west_east: Array
    south_north: Array
    diagonal: Array

    def apply(self, p: Array) -> Array:
        """Return A p for interior values p of shape (ny - 2, nx - 2)."""
        out = self.diagonal * p
        out[:, 1:] -= self.west_east[:, 1:-1] * p[:, :-1]
        out[:, :-1] -= self.west_east[:, 1:-1] * p[:, 1:]
        out[1:] -= self.south_north[1:-1] * p[:-1]
        out[:-1] -= self.south_north[1:-1] * p[1:]
        return out


def assemble(permeability: Array, faces: Faces) -> System:
    """Build the equations from permeability (ny, nx) on the nodes.

    ``harmonic`` takes 2ab/(a+b) on a face, exact for layers that meet midway between
    nodes; ``fno`` takes (a+b)/2, as the published generator does.
    """
    ny, nx = permeability.shape
    along_x = _mean(permeability[1:-1, :-1], permeability[1:-1, 1:], faces)
    along_y = _mean(permeability[:-1, 1:-1], permeability[1:, 1:-1], faces)
    along_x *= (nx - 1.0) ** 2
    along_y *= (ny - 1.0) ** 2
    diagonal = along_x[:, 1:] + along_x[:, :-1] + along_y[1:] + along_y[:-1]
    return System(along_x, along_y, diagonal)


def _mean(a: Array, b: Array, faces: Faces) -> Array:
    return 2.0 * a * b / (a + b) if faces == "harmonic" else 0.5 * (a + b)


@lru_cache(maxsize=4)
def sine_laplacian(shape: tuple[int, int]) -> SineLaplacian:
    """The `SineLaplacian` of a grid (ny, nx), kept for the next sample."""
    return SineLaplacian(shape)


class SineLaplacian:
    """The inverse of the five-point Laplacian L = -Δ_h by the fast sine transform.

    It preconditions A, whose spectrum relative to L lies between the smallest and the
    largest permeability on every grid, and it measures residuals: |r|² = rᵀ L⁻¹ r is
    the discrete H⁻¹ norm.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        def eigenvalues(nodes: int) -> Array:
            k = np.arange(1, nodes - 1)
            return (2.0 * (nodes - 1) * np.sin(0.5 * np.pi * k / (nodes - 1))) ** 2

        self._inverse = 1.0 / (eigenvalues(shape[0])[:, None] + eigenvalues(shape[1]))

    def solve(self, r: Array) -> Array:
        """Return L⁻¹ r for interior values (ny - 2, nx - 2)."""
        # norm="ortho" makes DST-I its own inverse.
        r_hat = fft.dstn(r, type=1, norm="ortho")
        r_hat *= self._inverse
        z: Array = fft.dstn(r_hat, type=1, norm="ortho", overwrite_x=True)
        return z

    def norm(self, r: Array) -> float:
        """Return the discrete H⁻¹ norm of r, √(rᵀ L⁻¹ r)."""
        r_hat = fft.dstn(r, type=1, norm="ortho")
        r_hat *= r_hat
        return float(np.sqrt(np.vdot(r_hat, self._inverse)))
