"""Gaussian random fields on the unit square in the Neumann cosine basis.

    g(x, y) = τ^(α-1) Σ_k (π²|k|² + τ²)^(-α/2) ξ_k φ_k(x, y),   ξ_k ~ N(0, 1),

over k = (k_y, k_x) in {0, 1, ...}² without (0, 0), so g has covariance
τ^(2α-2) (-Δ + τ²)^(-α) with zero normal derivative on the boundary and mean zero.
φ_k is cos(π k_x x) cos(π k_y y) times √2 for every k that is not zero (orthonormal).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft


def shell_order(size: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Wavenumbers (k_y, k_x) below ``size`` by shells of equal max(k_y, k_x).

    Every grid reads a prefix of one infinite sequence, so that a seed means the same
    field at every resolution. (0, 0) is left out.
    """
    k = np.arange(size)
    k_y, k_x = (part.ravel() for part in np.meshgrid(k, k, indexing="ij"))
    order = np.lexsort((k_x, k_y, np.maximum(k_y, k_x)))[1:]
    return k_y[order], k_x[order]


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
