"""Darcy flow whose permeability is set by a few numbers per sample.

    log a = m + s Σ_k √λ_k c_k φ_k,   λ_k = τ^(2α-2) (π²|k|² + τ²)^(-α),

the Karhunen-Loève expansion of the Gaussian field of `opkit.solvers.laws.cosine_fields`
cut off after its largest terms, as in uncertainty quantification; otherwise
`opkit.solvers.darcy.solver.Darcy`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from opkit.base.arrays import Array
from opkit.errors import OpkitInputError
from opkit.solvers.darcy.five_point import Faces
from opkit.solvers.darcy.iteration import Preconditioner
from opkit.solvers.darcy.solver import Darcy, Nodes
from opkit.solvers.interface import (
    Coordinate,
    Fields,
    Sides,
    Solution,
    solver_dataclass,
)
from opkit.solvers.laws.cosine_fields import shell_order
from opkit.solvers.per_sample import numbers

MOST = 700.0
"""Largest |log a|: beyond it a has no float64."""


@solver_dataclass
class ParametricDarcy:
    """Solver of -∇·(a ∇p) = f, zero Dirichlet, for the numbers c of log a.

    Parameter: ``coefficients`` (batch, component), c. Output: ``pressure``
    (batch, y, x).

    Args:
        resolution: nodes along (y, x), boundary included.
        terms: of the expansion, by decreasing λ.
        mean: m.
        scale: s.
        alpha: smoothness α.
        tau: inverse length τ.
        forcing: f, constant and not zero.
        faces: see `Darcy`.
        rtol: see `Darcy`.
        preconditioner: see `Darcy`.
    """

    resolution: tuple[Nodes, Nodes]
    terms: Annotated[int, Field(ge=2, le=200)] = 10
    mean: float = 0.0
    scale: Annotated[float, Field(gt=0)] = 3.0
    alpha: Annotated[float, Field(gt=1)] = 2.0
    tau: Annotated[float, Field(gt=0)] = 3.0
    forcing: float = 1.0
    faces: Faces = "harmonic"
    rtol: Annotated[float, Field(ge=1e-12, lt=1)] = 1e-8
    preconditioner: Preconditioner = "auto"

    def coordinates(self) -> Mapping[str, Coordinate]:
        """Node positions along y and x."""
        return self._darcy.coordinates()

    def parameters(self) -> Mapping[str, tuple[int, ...]]:
        """The numbers c."""
        return {"coefficients": (self.terms,)}

    def sides(self) -> Sides:
        """P = 0 on the boundary."""
        return self._darcy.sides()

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw nothing: the case draws c."""
        del rng
        return {}

    def permeability(self, inputs: Fields) -> Array:
        """Return a (batch, y, x).

        Raises:
            OpkitInputError: c of another shape, not finite, or so large that a has no
                number.
        """
        c = numbers(inputs, "coefficients", (self.terms,))
        basis = _basis(self.resolution, self.terms, self.alpha, self.tau)
        # one sample at a time: a matrix product may round differently with the batch
        logs = [self.mean + self.scale * np.tensordot(row, basis, 1) for row in c]
        log_a = np.reshape(logs, (len(c), *self.resolution))
        for i, field in enumerate(log_a):
            if np.abs(field).max() > MOST:
                raise OpkitInputError(
                    f"coefficients of sample {i}: log a reaches "
                    f"{np.abs(field).max():.3g}, beyond {MOST:g}: give smaller numbers"
                )
        return np.exp(log_a)

    def solve(self, inputs: Fields) -> Solution:
        """Solve for a batch; see `Darcy.solve`."""
        return self._darcy.solve({"permeability": self.permeability(inputs)})

    def solve_from(self, inputs: Fields, guess: Fields) -> Solution:
        """Solve from a guess of ``pressure``; see `Darcy.solve_from`."""
        return self._darcy.solve_from(
            {"permeability": self.permeability(inputs)}, guess
        )

    def residual(self, inputs: Fields, outputs: Fields) -> NDArray[np.float64]:
        """Relative residual in the discrete H⁻¹ norm; see `Darcy.residual`."""
        return self._darcy.residual(
            {"permeability": self.permeability(inputs)}, outputs
        )

    @property
    def _darcy(self) -> Darcy:
        return Darcy(
            resolution=self.resolution,
            forcing=self.forcing,
            faces=self.faces,
            rtol=self.rtol,
            preconditioner=self.preconditioner,
        )


@lru_cache(maxsize=4)
def _basis(resolution: tuple[int, int], terms: int, alpha: float, tau: float) -> Array:
    """Return √λ_k φ_k (term, y, x) by decreasing λ_k; ties in shell order."""
    k_y, k_x = shell_order(int(np.ceil(np.sqrt(terms))) + 2)
    size = np.pi**2 * (k_y**2 + k_x**2.0) + tau**2
    order = np.argsort(size, kind="stable")[:terms]
    y, x = (np.linspace(0.0, 1.0, n) for n in resolution)
    waves = np.cos(np.pi * k_y[order, None] * y)[:, :, None]
    waves = waves * np.cos(np.pi * k_x[order, None] * x)[:, None, :]
    twice = np.sqrt(2.0) ** ((k_y[order] > 0) + 1.0 * (k_x[order] > 0))
    weight = tau ** (alpha - 1) * size[order] ** (-alpha / 2) * twice
    basis: Array = weight[:, None, None] * waves
    basis.flags.writeable = False
    return basis
