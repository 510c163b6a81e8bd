"""Darcy flow on the unit square with zero pressure on its boundary.

    -∇·(a ∇p) = f in (0, 1)²,   p = 0 on the boundary,

a: permeability, p: pressure, f: forcing, all nondimensional. Five-point scheme on the
nodes x_i = i / (N - 1), boundary included; second order where a is smooth, first order
across jumps. Method, accuracy and speed: docs/solvers-darcy.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from opkit.base.arrays import Array
from opkit.errors import NotConvergedError
from opkit.solvers.darcy.five_point import Faces
from opkit.solvers.darcy.iteration import Preconditioner, relative_residual, solve_one
from opkit.solvers.inputs import check_counts, checked_field
from opkit.solvers.interface import (
    Coordinate,
    Fields,
    Sides,
    Solution,
    all_sides,
    solver_dataclass,
)
from opkit.solvers.laws.permeability import Distribution, TwoPhase

if TYPE_CHECKING:
    from torch import Tensor

Nodes = Annotated[int, Field(ge=3)]


@solver_dataclass
class Darcy:
    """Solver of -∇·(a ∇p) = f, zero Dirichlet, for fields on (y, x) nodes.

    Inputs: ``permeability`` (batch, y, x) > 0. Outputs: ``pressure`` (batch, y, x).

    Args:
        resolution: nodes along (y, x), boundary included.
        distribution: law of the permeability, `TwoPhase` or `LogNormal`.
        forcing: f, constant and not zero.
        faces: ``harmonic`` or ``fno`` means of the permeability on faces.
        rtol: largest relative residual in the discrete H⁻¹ norm; √contrast times it
            bounds the relative error in the energy norm.
        max_iterations: of conjugate gradients, for one sample.
        preconditioner: ``sine``, ``multigrid`` (extra ``fast``), or ``auto``, which
            looks at each sample by itself.
        device: ``cuda`` solves whole batches with torch, ``sine`` preconditioned.
    """

    resolution: tuple[Nodes, Nodes]
    distribution: Distribution = TwoPhase()
    forcing: float = 1.0
    faces: Faces = "harmonic"
    rtol: Annotated[float, Field(ge=1e-12, lt=1)] = 1e-8
    max_iterations: Annotated[int, Field(ge=1)] = 5000
    preconditioner: Preconditioner = "auto"
    device: Literal["cpu", "cuda"] = "cpu"

    @field_validator("forcing")
    @classmethod
    def _not_zero(cls, forcing: float) -> float:
        if forcing == 0:
            raise ValueError("with zero forcing the pressure is zero: choose another")
        return forcing

    def coordinates(self) -> Mapping[str, Coordinate]:
        """Node positions along y and x."""
        ny, nx = self.resolution
        return {
            "y": Coordinate(np.linspace(0.0, 1.0, ny), long_name="y"),
            "x": Coordinate(np.linspace(0.0, 1.0, nx), long_name="x"),
        }

    def sides(self) -> Sides:
        """P = 0 on the boundary."""
        return all_sides("dirichlet")

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw one permeability field (y, x)."""
        return {"permeability": self.distribution.draw(rng, self.resolution)}

    def solve(self, inputs: Fields) -> Solution:
        """Solve for a batch.

        Args:
            inputs: ``permeability`` (batch, y, x).

        Returns:
            ``pressure``, the relative residuals reached, and ``iterations``.

        Raises:
            OpkitInputError: permeability not positive and finite, or of another shape.
            NotConvergedError: rtol was not reached.
        """
        permeability = self._permeability(inputs)
        return self._iterate(permeability, np.zeros_like(permeability))

    def solve_from(self, inputs: Fields, guess: Fields) -> Solution:
        """Solve for a batch as `solve` does, from a first guess.

        Args:
            inputs: ``permeability`` (batch, y, x).
            guess: of ``pressure`` (batch, y, x). A close one saves iterations; none
                changes the accuracy.

        Raises:
            OpkitInputError: as `solve`, and for a guess of another shape or not finite.
            NotConvergedError: rtol was not reached.
        """
        permeability = self._permeability(inputs)
        start = checked_field(guess, "pressure", self.resolution)
        check_counts(permeability=permeability, pressure=start)
        pressure = np.zeros_like(permeability)
        pressure[:, 1:-1, 1:-1] = start[:, 1:-1, 1:-1]
        return self._iterate(permeability, pressure)

    def _iterate(self, permeability: Array, pressure: Array) -> Solution:
        """Solve in place, from what ``pressure`` holds."""
        if self.device == "cuda":
            from opkit.solvers.darcy.on_torch import solve_batch

            iterations, error = solve_batch(self, permeability, pressure, "cuda")
        else:
            iterations, error = self._one_by_one(permeability, pressure)
        for i in np.flatnonzero(~(error <= self.rtol)):
            raise NotConvergedError(
                f"relative residual {error[i]:.1e}, above rtol {self.rtol:.1e}, in "
                f"{iterations[i]:.0f} iterations; permeability "
                f"{permeability[i].min():.1e} to {permeability[i].max():.1e}",
                sample=int(i),
            )
        return Solution(
            outputs={"pressure": pressure},
            error=error,
            measure="relative residual (H-1)",
            details={"iterations": iterations},
        )

    def residual(self, inputs: Fields, outputs: Fields) -> NDArray[np.float64]:
        """Relative residual |f - A p| / |f| in the discrete H⁻¹ norm, per sample.

        It is the size of the error's flux: what makes sense for predictions, too.
        Rounding p to float32 alone gives 1e-6 at 85² and 6e-6 at 421² for a contrast
        of 4 (the plain norm of the residual would give 1e-2).
        """
        permeability = self._permeability(inputs)
        pressure = checked_field(outputs, "pressure", self.resolution)
        check_counts(permeability=permeability, pressure=pressure)
        pairs = zip(permeability, pressure, strict=True)
        return np.array(
            [relative_residual(a, self._forcing(), p, self.faces) for a, p in pairs]
        )

    def torch_residual(
        self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]
    ) -> Tensor:
        """Relative residual as in `residual`, with gradients, on a grid of any size.

        Args:
            inputs: ``permeability`` (batch, y, x).
            outputs: ``pressure`` (batch, y, x).

        Returns:
            (batch,).
        """
        from opkit.solvers.darcy.on_torch import residual_batch

        a, p = inputs["permeability"], outputs["pressure"]
        return residual_batch(a, p, self.forcing, self.faces)

    def _permeability(self, inputs: Fields) -> Array:
        return checked_field(inputs, "permeability", self.resolution, positive=True)

    def _forcing(self) -> Array:
        return np.full([n - 2 for n in self.resolution], self.forcing)

    def _one_by_one(
        self, permeability: Array, pressure: Array
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Fill pressure in; a sample by itself does not depend on its batch."""
        iterations = np.empty(len(permeability))
        error = np.empty(len(permeability))
        for i, (a, p) in enumerate(zip(permeability, pressure, strict=True)):
            p[1:-1, 1:-1], iterations[i], error[i] = solve_one(
                a,
                self._forcing(),
                p[1:-1, 1:-1],
                self.faces,
                self.rtol,
                self.max_iterations,
                self.preconditioner,
            )
        return iterations, error
