"""Plane linear elasticity on triangles: the stiffness matrix, and stresses at nodes.

    ∫ λ ∇·u ∇·v + 2 μ ε(u):ε(v) dx,   ε = (∇u + ∇uᵀ) / 2

λ = E ν / ((1 + ν)(1 - 2ν)) in plane strain, E ν / (1 - ν²) in plane stress, and
μ = E / (2 (1 + ν)).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from opkit.base.arrays import Array, Indices
from opkit.elements import stiffness_matrices
from opkit.elements.basis import EDGES, degree_of, gradients


def lame_of(young: float, poisson: float, plane_stress: bool) -> tuple[float, float]:
    """Return λ and μ."""
    squeezed = 1 - poisson if plane_stress else 1 - 2 * poisson
    lame = young * poisson / ((1 + poisson) * squeezed)
    return lame, young / (2 * (1 + poisson))


def stiffness_of(
    points: Array, cells: Indices, lame: float, shear: float, weight: Array | None
) -> Any:
    """∫ λ ∂_a φ_i ∂_b φ_j + μ ∂_b φ_i ∂_a φ_j + δ_ab μ ∇φ_i·∇φ_j, a CSC matrix.

    Rows are u_x of all nodes, then u_y.

    Args:
        points: (node, 2).
        cells: (cell, 3 or 6).
        lame: λ.
        shear: μ.
        weight: (cell,) that both are multiplied by; 1 where left out.
    """
    K = stiffness_matrices(points, cells, weight)
    both = shear * (K[0][0] + K[1][1])
    blocks = [
        [
            lame * K[a][b] + shear * K[b][a] + (both if a == b else 0 * both)
            for b in (0, 1)
        ]
        for a in (0, 1)
    ]
    return sparse.block_array(blocks).tocsc()


def nodal_stress(
    points: Array, cells: Indices, u: Array, lame: float, shear: float
) -> Array:
    """Stress at nodes (node, 3): xx, yy, xy; the mean of the cells there, by area.

    Args:
        points: (node, 2).
        cells: (cell, 3 or 6).
        u: displacement (2, node).
        lame: λ.
        shear: μ.
    """
    degree = degree_of(2, cells.shape[1])
    where = np.eye(3)
    if degree == 2:
        middles = [(where[i] + where[j]) / 2 for i, j in EDGES[:3]]
        where = np.concatenate([where, middles])
    slope = gradients(where, degree)  # (node of a cell, function, 2)
    corner = points[cells[:, :3]]
    jacobian = (corner[:, 1:] - corner[:, :1]).swapaxes(1, 2)
    inverse, size = np.linalg.inv(jacobian), np.abs(np.linalg.det(jacobian))
    turned = np.einsum("njk,ckb->cnjb", slope, inverse)
    gradient = np.einsum("acj,cnjb->cnab", u[:, cells], turned)
    strain = (gradient + gradient.swapaxes(-1, -2)) / 2
    pressure = lame * np.trace(strain, axis1=-2, axis2=-1)
    weight = np.repeat(size, cells.shape[1])
    whole = np.bincount(cells.ravel(), weight, len(points))
    stress = np.empty((len(points), 3))
    for k, (a, b) in enumerate(((0, 0), (1, 1), (0, 1))):
        part = 2 * shear * strain[..., a, b] + (a == b) * pressure
        sums = np.bincount(cells.ravel(), weight * part.ravel(), len(points))
        stress[:, k] = sums / whole
    return stress


def von_mises(stress: Array) -> Array:
    """Equivalent stress (...,) of plane stresses (..., 3): xx, yy, xy; σ_zz = 0."""
    x, y, xy = np.moveaxis(stress, -1, 0)
    equivalent: Array = np.sqrt(x**2 - x * y + y**2 + 3 * xy**2)
    return equivalent
