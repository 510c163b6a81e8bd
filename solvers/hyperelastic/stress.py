"""Stresses of the incompressible two-term Mooney-Rivlin law in the plane.

    w = C1 (I1 - 3) + C2 (I2 - 3),   B = F Fᵀ,
    plane stress:  σ = 2 C1 (B - λ3² 1) - 2 C2 (B⁻¹ - λ3⁻² 1),   λ3 = 1 / det F,
    plane strain:  σ = μ (B - 1) / J + (κ μ (J - 1) - p) 1,   μ = 2 (C1 + C2);

σ: Cauchy stress. Source of the law: Rivlin and Saunders, Phil. Trans. A 243 (1951).
"""

from __future__ import annotations

import numpy as np

from opkit.base.arrays import Array

C1, C2 = 1.863e5, 9.79e3
COMPONENTS = ("stress_xx", "stress_yy", "stress_xy")
DISPLACEMENT = ("displacement_x", "displacement_y")


def plane_stress(F: Array, c1: float, c2: float) -> Array:
    """Cauchy stress (..., 3) as xx, yy, xy of deformation gradients (..., 2, 2)."""
    B, square = _left(F), np.linalg.det(F) ** 2
    normal = -2 * c1 / square + 2 * c2 * square
    # B⁻¹ = adj(B) / J²
    xx = 2 * c1 * B[..., 0, 0] - 2 * c2 * B[..., 1, 1] / square + normal
    yy = 2 * c1 * B[..., 1, 1] - 2 * c2 * B[..., 0, 0] / square + normal
    xy = (2 * c1 + 2 * c2 / square) * B[..., 0, 1]
    return np.stack([xx, yy, xy], axis=-1)


def plane_strain(F: Array, pressure: Array, volumetric: float) -> Array:
    """Cauchy stress (..., 4) over μ as xx, yy, xy, zz; pressure p / μ (...)."""
    B, J = _left(F), np.linalg.det(F)
    zz = volumetric * (J - 1) - pressure
    xx, yy = ((B[..., k, k] - 1) / J + zz for k in (0, 1))
    return np.stack([xx, yy, B[..., 0, 1] / J, zz], axis=-1)


def von_mises(xx: Array, yy: Array, xy: Array, zz: Array | float = 0.0) -> Array:
    """√(3/2 s:s), s the deviator of the stress."""
    squares = (xx - yy) ** 2 + (yy - zz) ** 2 + (zz - xx) ** 2
    equivalent: Array = np.sqrt(squares / 2 + 3 * xy**2)
    return equivalent


def _left(F: Array) -> Array:
    B: Array = F @ np.swapaxes(F, -1, -2)
    return B
