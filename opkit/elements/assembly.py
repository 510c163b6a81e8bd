"""Mass, stiffness and gradient matrices.

M_ij = ∫ φ_i φ_j,   K_ij = Σ_a ∫ ∂_a φ_i ∂_a φ_j,   G^a_ij = ∫ φ_i ∂_a φ_j
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from opkit.elements.basis import check_mesh, degree_of, gradients, quadrature, values
from opkit.elements.sparse import csr_tensor

Array = NDArray[np.float64]
Cells = NDArray[np.int64]
Matrix = Any
"""A scipy CSR array of float64."""


def mass(points: Array, cells: Cells) -> Matrix:
    """Mass matrix M_ij = ∫ φ_i φ_j, (node, node).

    Args:
        points: (node, d).
        cells: (cell, corner).
    """
    degree = degree_of(points.shape[1], cells.shape[1])
    where, weight = quadrature(points.shape[1])
    phi = values(where, degree)
    local = np.einsum("q,qi,qj->ij", weight, phi, phi)
    determinant = np.abs(np.linalg.det(_jacobians(points, cells)))
    return _scatter(determinant[:, None, None] * local, cells, cells, len(points))


def stiffness(points: Array, cells: Cells) -> Matrix:
    """Stiffness matrix K_ij = ∫ ∇φ_i·∇φ_j, (node, node)."""
    blocks = stiffness_matrices(points, cells)
    return sum(row[a] for a, row in enumerate(blocks))


def stiffness_matrices(
    points: Array, cells: Cells, weight: Array | None = None
) -> list[list[Matrix]]:
    """All K^ab_ij = ∫ w ∂_a φ_i ∂_b φ_j, as [a][b].

    Args:
        points: (node, d).
        cells: (cell, corner).
        weight: w, constant on each cell (cell,); 1 where left out.
    """
    degree = degree_of(points.shape[1], cells.shape[1])
    where, share = quadrature(points.shape[1])
    slope = gradients(where, degree)
    local = np.einsum("q,qia,qjb->abij", share, slope, slope)
    jacobian = _jacobians(points, cells)
    inverse, size = np.linalg.inv(jacobian), np.abs(np.linalg.det(jacobian))
    size = size if weight is None else size * weight
    rows = []
    for a in range(points.shape[1]):
        row = []
        for b in range(points.shape[1]):
            metric = (
                size[:, None, None] * inverse[:, :, a, None] * inverse[:, None, :, b]
            )
            block = np.tensordot(metric, local, axes=2)
            row.append(_scatter(block, cells, cells, len(points)))
        rows.append(row)
    return rows


def gradient_matrices(points: Array, cells: Cells) -> list[Matrix]:
    """G^a_ij = ∫ φ_i ∂_a φ_j, one (node, node) matrix for each axis a."""
    degree = degree_of(points.shape[1], cells.shape[1])
    where, weight = quadrature(points.shape[1])
    local = np.einsum(
        "q,qi,qjb->bij", weight, values(where, degree), gradients(where, degree)
    )
    jacobian = _jacobians(points, cells)
    inverse = np.linalg.inv(jacobian) * np.abs(np.linalg.det(jacobian))[:, None, None]
    blocks = np.einsum("cba,bij->acij", inverse, local)
    return [_scatter(block, cells, cells, len(points)) for block in blocks]


def cell_moments(points: Array, cells: Cells) -> Matrix:
    """C_ic = ∫_c φ_i, (node, cell): the load vector of piecewise constant data."""
    degree = degree_of(points.shape[1], cells.shape[1])
    where, weight = quadrature(points.shape[1])
    local = weight @ values(where, degree)
    determinant = np.abs(np.linalg.det(_jacobians(points, cells)))
    blocks = (determinant[:, None] * local)[:, :, None]
    return _scatter(blocks, cells, np.arange(len(cells))[:, None], len(points))


def mass_matrix(
    points: Array, cells: Cells, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Mass matrix as a torch sparse CSR tensor; e^T M e is the squared L2 norm.

    Raises:
        OpkitInputError: the mesh carries no elements, see `check_mesh`.
    """
    check_mesh(points, cells)
    return csr_tensor(mass(points, cells), dtype)


def stiffness_matrix(
    points: Array, cells: Cells, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Stiffness matrix as a torch sparse CSR tensor; e^T K e is ∫ |∇e|².

    Raises:
        OpkitInputError: the mesh carries no elements, see `check_mesh`.
    """
    check_mesh(points, cells)
    return csr_tensor(stiffness(points, cells), dtype)


def _jacobians(points: Array, cells: Cells) -> Array:
    """∂x_a / ∂ξ_b of the affine map from the reference simplex, (cell, a, b)."""
    corner = points[cells[:, : points.shape[1] + 1]]
    edges = corner[:, 1:] - corner[:, :1]
    jacobians: Array = edges.transpose(0, 2, 1)
    return jacobians


def _scatter(blocks: Array, rows: Cells, columns: Cells, nodes: int) -> Matrix:
    shape = blocks.shape
    row = np.broadcast_to(rows[:, :, None], shape).ravel()
    column = np.broadcast_to(columns[:, None, :], shape).ravel()
    width = nodes if columns.shape == rows.shape else len(columns)
    matrix = sparse.coo_array((blocks.ravel(), (row, column)), shape=(nodes, width))
    compressed = matrix.tocsr()
    compressed.sort_indices()
    return compressed
