"""Gaussian random fields on the unit square in the Neumann cosine basis.

    g(x, y) = τ^(α-1) Σ_k (π²|k|² + τ²)^(-α/2) ξ_k φ_k(x, y),   ξ_k ~ N(0, 1),

over k = (k_y, k_x) in {0, 1, ...}² without (0, 0), so g has covariance
τ^(2α-2) (-Δ + τ²)^(-α) with zero normal derivative on the boundary and mean zero.
φ_k is cos(π k_x x) cos(π k_y y) times √2 for every k that is not zero (orthonormal).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft


@lru_cache(maxsize=8)
def shell_order(size: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Wavenumbers (k_y, k_x) below ``size`` by shells of equal max(k_y, k_x).

    Every grid reads a prefix of one infinite sequence, so that a seed means the same
    field at every resolution. (0, 0) is left out.
    """
    k = np.arange(size)
    k_y, k_x = (part.ravel() for part in np.meshgrid(k, k, indexing="ij"))
    order = np.lexsort((k_x, k_y, np.maximum(k_y, k_x)))[1:]
    k_y, k_x = k_y[order], k_x[order]
    k_y.flags.writeable = k_x.flags.writeable = False  # shared by all callers
    return k_y, k_x


def cosine_field(
    rng: np.random.Generator, shape: tuple[int, int], alpha: float, tau: float
) -> NDArray[np.float64]:
    """Draw g at the nodes x_i = i / (N - 1), boundary included.

    Args:
        rng: source of ξ; max(shape)² - 1 normal numbers are drawn.
        shape: numbers of nodes (y, x); modes above N - 1 are left out.
        alpha: smoothness α > 1 (α = 2 in the published Darcy data).
        tau: inverse length scale τ.

    Source: Li et al., Fourier Neural Operator, arXiv:2010.08895, appendix A.3.2.
    """
    size = max(shape)
    coefficients = np.zeros((size, size))
    coefficients[shell_order(size)] = rng.standard_normal(size * size - 1)
    k = np.arange(size)
    laplacian = np.pi**2 * (k[:, None] ** 2 + k**2)
    coefficients *= tau ** (alpha - 1) * (laplacian + tau**2) ** (-alpha / 2)
    coefficients = coefficients[: shape[0], : shape[1]]
    # DCT-I counts the two end modes once and the others twice: halve what is twice.
    for axis in (0, 1):
        modes = np.moveaxis(coefficients, axis, 0)
        modes[1:] *= np.sqrt(2.0)
        modes[1:-1] *= 0.5
    field: NDArray[np.float64] = fft.dctn(coefficients, type=1)
    return field


def cosine_field_at(
    rng: np.random.Generator,
    points: NDArray[np.float64],
    alpha: float,
    tau: float,
    modes: int = 64,
) -> NDArray[np.float64]:
    """Draw g at any points of the unit square or cube.

    In the plane it is the field of `cosine_field` for the same generator state, less
    the modes from ``modes`` on. In space each of the layers k_z = 0, 1, ... < modes / 8
    of coefficients is drawn by shells, and ``modes / 8`` bounds all wavenumbers.

    Args:
        rng: source of ξ.
        points: (point, d) with coordinates x, y(, z) in [0, 1].
        alpha: smoothness α.
        tau: inverse length scale τ.
        modes: number of wavenumbers along each axis.
    """
    space = points.shape[1] == 3
    size = max(modes // 8, 2) if space else modes
    k = np.arange(size)
    waves = [np.cos(np.pi * k * points[:, [axis]]) for axis in range(points.shape[1])]
    for wave in waves:
        wave[:, 1:] *= np.sqrt(2.0)
    along_x, along_y = waves[0], waves[1]
    field = np.zeros(len(points))
    for k_z in range(size) if space else [0]:
        coefficients = np.zeros((size, size))
        coefficients[shell_order(size)] = rng.standard_normal(size * size - 1)
        if k_z:
            coefficients[0, 0] = rng.standard_normal()
        laplacian = np.pi**2 * (k[:, None] ** 2 + k**2 + k_z**2)
        coefficients *= tau ** (alpha - 1) * (laplacian + tau**2) ** (-alpha / 2)
        layer = ((along_y @ coefficients) * along_x).sum(axis=1)
        field += layer * waves[2][:, k_z] if space else layer
    return field
