"""Lagrange elements of degree 1 and 2 on triangles and tetrahedra, without dolfinx.

A space is ``points`` (node, d) and ``cells`` (cell, corner): 3 or 4 corners are degree
1, 6 or 10 degree 2 with the middles of the (straight) edges after the corners in VTK's
order. Assembly gives scipy CSR matrices in float64; `SparseMatrix` holds one for torch.
"""

from opkit.elements.assembly import (
    cell_moments,
    gradient_matrices,
    mass,
    mass_matrix,
    stiffness,
    stiffness_matrices,
    stiffness_matrix,
)
from opkit.elements.basis import check_mesh
from opkit.elements.sparse import SparseMatrix
from opkit.elements.transfer import interpolation, restriction

__all__ = [
    "SparseMatrix",
    "cell_moments",
    "check_mesh",
    "gradient_matrices",
    "interpolation",
    "mass",
    "mass_matrix",
    "restriction",
    "stiffness",
    "stiffness_matrices",
    "stiffness_matrix",
]
