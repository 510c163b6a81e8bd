"""How far an elliptic operator is from having no inverse.

    L u = λ u  with homogeneous conditions;   |u|_rms ≤ |L u|_rms / σ

The eigenvalue λ of least size is taken by inverse iteration (ARPACK on L⁻¹) of the
discrete problem. σ, the least singular value, is |λ| where L is symmetric, and smaller
where it has first derivatives or a slanted flux; it is taken by power iteration on
(Lᵀ L)⁻¹.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import ArpackError, LinearOperator, SuperLU, eigs, eigsh

from opkit.base.arrays import Array
from opkit.errors import OpkitInputError

NEAR = 0.05
"""Relative distance from an eigenvalue below which users are warned."""


class EigenvalueError(OpkitInputError):
    """The operator has an eigenvalue at 0: there is no solution, or no unique one."""


@dataclass(frozen=True)
class Spectrum:
    """The end of an operator's spectrum next to 0.

    Args:
        eigenvalue: λ of least size; its real part has the sign.
        singular: σ, the least singular value, at most |λ|.
    """

    eigenvalue: complex
    singular: float

    def distance(self, c_0: float) -> float:
        """|λ| / max(|c_0|, |λ - c_0|): 1 for the Laplace operator.

        λ - c_0 is the eigenvalue of the operator without its term c_0 u; the quotient
        tells by which share c_0 may change before the problem has no unique solution.
        """
        size = max(abs(c_0), abs(self.eigenvalue - c_0))
        return float(abs(self.eigenvalue) / size) if size else 1.0


def spectrum(
    matrix: sparse.csc_matrix, mass: sparse.csc_matrix, factors: SuperLU
) -> Spectrum:
    """Eigenvalue and singular value of least size.

    Args:
        matrix: L among free nodes.
        mass: ∫ u v among them.
        factors: L U of the matrix.
    """
    count = matrix.shape[0]
    start = np.random.default_rng(0).standard_normal(count)
    skew = abs(matrix - matrix.T).max()
    symmetric = bool(skew <= 1e-9 * abs(matrix).max())
    if count < 12:
        return _dense(matrix, mass)
    inverse = LinearOperator((count, count), matvec=factors.solve, dtype=float)
    find = eigsh if symmetric else eigs
    try:
        eigenvalues = find(
            matrix,
            k=2,
            M=mass,
            sigma=0.0,
            OPinv=inverse,
            v0=start,
            return_eigenvectors=False,
            tol=1e-7,
        )
    except ArpackError:  # round-off on the verge of a singular matrix
        return Spectrum(0.0, 0.0)
    least = complex(eigenvalues[np.abs(eigenvalues).argmin()])
    if symmetric:
        return Spectrum(least, abs(least))
    return Spectrum(least, min(_singular(mass, factors, start), abs(least)))


def _singular(mass: sparse.csc_matrix, factors: SuperLU, vector: Array) -> float:
    """Least σ: 1 / σ² is the largest eigenvalue of L⁻¹ M L⁻ᵀ M."""
    value = 0.0
    for _ in range(25):
        vector = vector / np.sqrt(vector @ (mass @ vector))
        half = factors.solve(mass @ vector, trans="T")
        last, value = value, float(half @ (mass @ half))
        vector = factors.solve(mass @ half)
        if abs(value - last) < 1e-3 * value:
            break
    return float(1 / np.sqrt(value))


def _dense(matrix: sparse.csc_matrix, mass: sparse.csc_matrix) -> Spectrum:
    lower = np.linalg.cholesky(mass.toarray())
    half = np.linalg.solve(lower, matrix.toarray())
    whole = np.linalg.solve(lower, half.T).T
    values = np.linalg.eigvals(whole)
    least = complex(values[np.abs(values).argmin()])
    return Spectrum(least, float(np.linalg.svd(whole, compute_uv=False)[-1]))
