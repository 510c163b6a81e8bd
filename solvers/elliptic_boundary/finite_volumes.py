"""Cell-centred finite volumes for Lap u = f with data on the boundary faces.

Integrated over cell P, divided by nothing:  Σ_faces flux = h² f_P,  with the fluxes

    u_Q - u_P          to a neighbour Q,
    2 (g - u_P)        through a Dirichlet face (ghost cell u_G = 2g - u_P),
    h q                through a Neumann face, q = ∂u/∂n outwards.

Written K u = b with K = -flux matrix, symmetric, positive (semi-)definite.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csc_array, diags_array
from scipy.sparse.linalg import SuperLU, splu

from opkit.base.arrays import Array, Mask
from opkit.solvers.elliptic_boundary.curve import Curve


class System:
    """The equations of one domain with its kinds of boundary data.

    Args:
        inside: (y, x), True for cells of the domain.
        curve: its boundary faces.
        neumann: (face,) True where the normal derivative is given.
    """

    def __init__(self, inside: Mask, curve: Curve, neumann: Mask) -> None:
        self.inside, self.neumann = inside, neumann
        self.h = 1.0 / inside.shape[0]
        number = np.full(inside.shape, -1)
        number[inside] = np.arange(inside.sum())
        self.at_face = number[curve.row, curve.column]
        self.pure_neumann = bool(neumann.all())
        self.matrix = self._assemble(number)
        self._factor = self._factorise()

    def right_side(self, source: Array, value: Array) -> tuple[Array, float]:
        """b, and for pure Neumann data the defect ∮ q ds - ∫ f dx taken out of it.

        Args:
            source: f (y, x).
            value: (face,) g or q.
        """
        b = -(self.h**2) * source[self.inside]
        strength = np.where(self.neumann, self.h, 2.0) * value
        np.add.at(b, self.at_face, strength)
        defect = 0.0
        if self.pure_neumann:  # b must have no part along the constants, K's kernel
            defect = float(b.sum())
            b -= b.mean()
        return b, defect

    def solve(self, b: Array) -> Array:
        """U on the inside cells; of mean zero where data are pure Neumann."""
        if not self.pure_neumann:
            u: Array = self._factor.solve(b)
            return u
        u = np.zeros_like(b)  # u = 0 in the first cell, then less the mean
        u[1:] = self._factor.solve(b[1:])
        return u - u.mean()

    def residual(self, u: Array, b: Array) -> float:
        """|b - K u| / |b| with |r|² = rᵀ K⁻¹ r (H⁻¹): the relative energy error."""
        r = b - self.matrix @ u
        size, scale = (np.sqrt(abs(float(v @ self.solve(v)))) for v in (r, b))
        return float(size / (scale or 1.0))

    def _assemble(self, number: Array) -> csc_array:
        pairs = [
            (number[:, :-1], number[:, 1:]),
            (number[:-1], number[1:]),
        ]
        first = np.concatenate([a.ravel() for a, _ in pairs])
        second = np.concatenate([b.ravel() for _, b in pairs])
        both = (first >= 0) & (second >= 0)
        first, second = first[both], second[both]
        n = int(self.inside.sum())
        row, column = np.concatenate([(first, second), (second, first)], axis=1)
        links = csc_array((np.ones(len(row)), (row, column)), shape=(n, n))
        diagonal = links.sum(axis=0)
        np.add.at(diagonal, self.at_face, np.where(self.neumann, 0.0, 2.0))
        return csc_array(diags_array(diagonal) - links)

    def _factorise(self) -> SuperLU:
        matrix = self.matrix[1:, 1:] if self.pure_neumann else self.matrix
        return splu(
            csc_array(matrix),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
