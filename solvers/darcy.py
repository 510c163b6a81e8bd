"""Darcy flow on the unit square with zero pressure on its boundary.

    -∇·(a ∇p) = f in (0, 1)²,   p = 0 on the boundary,

a: permeability, p: pressure, f: forcing, all nondimensional. Five-point scheme on the
nodes x_i = i / (N - 1), boundary included; second order where a is smooth, first order
across jumps. Accuracy and method: docs/solvers-darcy.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from opkit.errors import NotConvergedError, OpkitInputError
from opkit.solvers.conjugate_gradients import conjugate_gradients
from opkit.solvers.darcy_distributions import Distribution, TwoPhase
from opkit.solvers.darcy_system import Array, Faces, SineLaplacian, assemble
from opkit.solvers.interface import Coordinate, Fields, Solution, solver_dataclass

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
        rtol: largest relative residual in the discrete H⁻¹ norm.
        max_iterations: of conjugate gradients, for one sample.
    """

    resolution: tuple[Nodes, Nodes]
    distribution: Distribution = TwoPhase()
    forcing: float = 1.0
    faces: Faces = "harmonic"
    rtol: Annotated[float, Field(ge=1e-12, lt=1)] = 1e-8
    max_iterations: Annotated[int, Field(ge=1)] = 5000

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

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw one permeability field (y, x)."""
        return {"permeability": self.distribution.draw(rng, self.resolution)}

    def solve(self, inputs: Fields, initial: Fields | None = None) -> Solution:
        """Solve for a batch, one sample after the other.

        Args:
            inputs: ``permeability`` (batch, y, x).
            initial: a first guess of ``pressure`` (batch, y, x); a close one saves
                iterations, none changes the accuracy.

        Returns:
            ``pressure``, the relative residuals reached (at most rtol, which bounds the
            relative error in the energy norm by √contrast · rtol), and ``iterations``.

        Raises:
            OpkitInputError: permeability not positive and finite, or of another shape.
            NotConvergedError: rtol not reached in max_iterations.
        """
        permeability = self._check(inputs, "permeability", positive=True)
        pressure = np.zeros_like(permeability)
        if initial is not None:
            pressure[:] = self._check(initial, "pressure")
            if len(initial["pressure"]) != len(permeability):
                raise OpkitInputError("initial pressure: one for each permeability")
        laplacian = SineLaplacian(self.resolution)
        error = np.empty(len(permeability))
        iterations = np.empty(len(permeability))
        for i, (a, p) in enumerate(zip(permeability, pressure, strict=True)):
            p[1:-1, 1:-1], iterations[i], error[i] = self._solve_one(
                a, p[1:-1, 1:-1], laplacian
            )
            p[[0, -1]] = p[:, [0, -1]] = 0.0
            if not error[i] <= self.rtol:
                raise NotConvergedError(
                    f"Darcy: sample {i} of the batch stopped at relative residual "
                    f"{error[i]:.1e} > rtol {self.rtol:.1e} after {iterations[i]:.0f} "
                    f"iterations; contrast {a.max() / a.min():.1e}"
                )
        return Solution(
            outputs={"pressure": pressure},
            error=error,
            measure="relative residual (H-1)",
            details={"iterations": iterations},
        )

    def residual(self, inputs: Fields, outputs: Fields) -> NDArray[np.float64]:
        """Relative residual |b - A p| / |b| in the discrete H⁻¹ norm, per sample.

        Rounding p to float32 adds about 1e-7 · N · contrast, not the N² of the plain
        norm, so stored data and predictions can be judged by it.
        """
        permeability = self._check(inputs, "permeability", positive=True)
        pressure = self._check(outputs, "pressure")
        laplacian = SineLaplacian(self.resolution)
        forcing = np.full([n - 2 for n in self.resolution], self.forcing)
        scale = laplacian.norm(forcing)
        return np.array(
            [
                laplacian.norm(forcing - assemble(a, self.faces).apply(p[1:-1, 1:-1]))
                / scale
                for a, p in zip(permeability, pressure, strict=True)
            ]
        )

    def _solve_one(
        self, a: Array, guess: Array, laplacian: SineLaplacian
    ) -> tuple[Array, int, float]:
        # A permeability scaled to 1 keeps every intermediate number in range.
        unit = float(a.max())
        system = assemble(a / unit, self.faces)
        forcing = np.full(guess.shape, self.forcing)
        scale = laplacian.norm(forcing)
        p, total = guess * unit, 0
        residual = forcing - system.apply(p)
        error = laplacian.norm(residual) / scale
        # The recurrence of r drifts from b - A p in round-off: restart, then look.
        while error > self.rtol and total < self.max_iterations:
            p, count = conjugate_gradients(
                system.apply,
                laplacian.solve,
                p,
                residual,
                0.9 * self.rtol * scale,
                self.max_iterations - total,
            )
            total += max(count, 1)
            residual = forcing - system.apply(p)
            error = laplacian.norm(residual) / scale
        return p / unit, total, error

    def _check(self, fields: Fields, name: str, positive: bool = False) -> Array:
        if name not in fields:
            raise OpkitInputError(f"Darcy needs {name}; got {', '.join(fields) or '-'}")
        field = np.asarray(fields[name], dtype=np.float64)
        if field.ndim != 3 or field.shape[1:] != tuple(self.resolution):
            raise OpkitInputError(
                f"{name} has shape {field.shape}; this solver wants (batch, "
                f"{self.resolution[0]}, {self.resolution[1]})"
            )
        if not np.isfinite(field).all():
            raise OpkitInputError(f"{name} holds NaN or infinity: remove those samples")
        if positive and not (field > 0).all():
            raise OpkitInputError(
                f"{name} must be above zero everywhere; smallest is {field.min():g}"
            )
        return field
