"""Darcy flow with a source: what a learned preconditioner has to invert.

    -∇·(a ∇p) = f in (0, 1)²,   p = 0 on the boundary,

for fields log a and f; equations and method are those of `opkit.solvers.darcy.solver`.
The sources that are drawn are residuals b - A p of conjugate gradients on the way to
the solution for b = 1, scaled to a root mean square of 1: with them as the source, the
solution is the error that is left, which a preconditioner should answer. A network sees
log a, whose values are of one size at every contrast.

Source of the sampling: Rudikov et al., Neural operators meet conjugate gradients, ICML
2024, arXiv:2402.05598, who found random sources to be no substitute.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from opkit.base.arrays import Array
from opkit.errors import NotConvergedError, OpkitInputError
from opkit.solvers.darcy.five_point import Faces, assemble
from opkit.solvers.darcy.iteration import (
    Preconditioner,
    choose,
    conjugate_gradients,
    relative_residual,
    solve_one,
)
from opkit.solvers.darcy.preconditioners import preconditioner
from opkit.solvers.darcy.solver import Darcy, Nodes
from opkit.solvers.inputs import check_counts, checked_field
from opkit.solvers.interface import (
    Coordinate,
    Equations,
    Fields,
    Sides,
    Solution,
    solver_dataclass,
)
from opkit.solvers.krylov import Map
from opkit.solvers.laws.permeability import Distribution, TwoPhase

if TYPE_CHECKING:
    from torch import Tensor

MOST = 700.0
"""Largest |log a|: beyond it a has no float64."""
Contrast = Annotated[float, Field(gt=1, le=1e12)]

FLOOR = 1e-6
"""Where the iterations that sources are drawn from end, relative to their start."""


@solver_dataclass
class DarcySource:
    """Solver of -∇·(a ∇p) = f, zero Dirichlet, for fields log a and f on (y, x) nodes.

    Inputs: ``log_permeability`` and ``source`` (batch, y, x). Outputs: ``pressure``
    (batch, y, x). The source counts on interior nodes.

    Args:
        resolution: nodes along (y, x), boundary included.
        distribution: law of the permeability, `TwoPhase` or `LogNormal`.
        contrasts: least and largest contrast of a sample, drawn log-uniformly; log a is
            then shifted to mean 0 and stretched to it. None leaves a as the law has it.
        steps: plain iterations after which a source is drawn, at most; those with the
            sine transform, which half of the samples use, a fifth of them.
        faces: see `Darcy`.
        rtol: see `Darcy`.
        preconditioner: see `Darcy`.
    """

    resolution: tuple[Nodes, Nodes]
    distribution: Distribution = TwoPhase()
    contrasts: tuple[Contrast, Contrast] | None = None
    steps: Annotated[int, Field(ge=0, le=10000)] = 60
    faces: Faces = "harmonic"
    rtol: Annotated[float, Field(ge=1e-12, lt=1)] = 1e-8
    preconditioner: Preconditioner = "auto"

    @field_validator("contrasts")
    @classmethod
    def _ordered(
        cls, contrasts: tuple[float, float] | None
    ) -> tuple[float, float] | None:
        if contrasts is not None and contrasts[0] > contrasts[1]:
            raise ValueError("the least is above the largest: swap them")
        return contrasts

    def coordinates(self) -> Mapping[str, Coordinate]:
        """Node positions along y and x."""
        return self._darcy.coordinates()

    def sides(self) -> Sides:
        """P = 0 on the boundary."""
        return self._darcy.sides()

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw log a and a source; the source is one of this grid's equations."""
        sine, steps, stretch = rng.random() < 0.5, rng.random(), rng.random()
        log_a = np.log(self.distribution.draw(rng, self.resolution))
        if self.contrasts is not None:
            low, high = np.log(self.contrasts)
            log_a -= log_a.mean()
            log_a *= (low + stretch * (high - low)) / (np.ptp(log_a) or 1.0)
        a = np.exp(log_a)
        system = assemble(a, self.faces)
        most = self.steps // 5 if sine else self.steps
        solve = preconditioner("sine" if sine else "none", system)
        r = np.ones([n - 2 for n in self.resolution])
        p = np.zeros_like(r)
        least = FLOOR * float(np.sqrt(np.vdot(r, solve(r))))
        count = round(steps * most)
        p, _ = conjugate_gradients(system.apply, solve, p, r.copy(), least, count)
        r = r - system.apply(p)
        source = np.zeros(self.resolution)
        source[1:-1, 1:-1] = r / (np.sqrt((r * r).mean()) or 1.0)
        return {"log_permeability": log_a, "source": source}

    def solve(self, inputs: Fields) -> Solution:
        """Solve for a batch.

        Args:
            inputs: ``log_permeability`` and ``source`` (batch, y, x).

        Returns:
            ``pressure``, the relative residuals reached, and ``iterations``.

        Raises:
            OpkitInputError: fields not finite, of another shape, or log a so large that
                a has no number.
            NotConvergedError: rtol was not reached.
        """
        a, source = self._fields(inputs)
        pressure = np.zeros_like(a)
        iterations, error = np.empty(len(a)), np.empty(len(a))
        for i, (own, f) in enumerate(zip(a, source, strict=True)):
            right = np.ascontiguousarray(f[1:-1, 1:-1])
            p, iterations[i], error[i] = solve_one(
                own,
                right,
                np.zeros_like(right),
                self.faces,
                self.rtol,
                5000,
                self.preconditioner,
            )
            pressure[i, 1:-1, 1:-1] = p
            if not error[i] <= self.rtol:
                raise NotConvergedError(
                    f"relative residual {error[i]:.1e}, above rtol {self.rtol:.1e}",
                    sample=i,
                )
        return Solution(
            outputs={"pressure": pressure},
            error=error,
            measure="relative residual (H-1)",
            details={"iterations": iterations},
        )

    def residual(self, inputs: Fields, outputs: Fields) -> NDArray[np.float64]:
        """Relative residual |f - A p| / |f| in the discrete H⁻¹ norm, per sample."""
        a, source = self._fields(inputs)
        pressure = checked_field(outputs, "pressure", self.resolution)
        check_counts(log_permeability=a, pressure=pressure)
        return np.array(
            [
                relative_residual(own, f[1:-1, 1:-1], p, self.faces)
                for own, f, p in zip(a, source, pressure, strict=True)
            ]
        )

    def torch_residual(
        self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]
    ) -> Tensor:
        """Relative residual as in `residual`, with gradients, on a grid of any size."""
        from opkit.solvers.darcy.on_torch import residual_batch

        a, f = inputs["log_permeability"].exp(), inputs["source"]
        return residual_batch(a, outputs["pressure"], f, self.faces)

    def torch_direction(
        self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """What the best step along the pressure leaves of the residual, and that step.

        Both are (batch,), on a grid of any size.
        """
        from opkit.solvers.darcy.on_torch import direction_batch

        a, f = inputs["log_permeability"].exp(), inputs["source"]
        return direction_batch(a, outputs["pressure"], f, self.faces)

    def source_name(self) -> str:
        """Name of the input that is b."""
        return "source"

    def equations(self, inputs: Fields) -> Equations:
        """Return A p = f of one sample (y, x), zero on the boundary.

        Raises:
            OpkitInputError: as `solve`.
        """
        a, source = self._fields({name: inputs[name][None] for name in inputs})
        system = assemble(a[0], self.faces)
        name = choose(a[0]) if self.preconditioner == "auto" else self.preconditioner
        mean = float(np.exp(np.log(a[0]).mean()))
        solve = preconditioner(name, system, mean)
        free = np.zeros(self.resolution, dtype=bool)
        free[1:-1, 1:-1] = True
        return Equations(
            apply=_padded(system.apply),
            right=np.where(free, source[0], 0.0),
            free=free,
            conventional=_padded(solve),
        )

    def _fields(self, inputs: Fields) -> tuple[Array, Array]:
        """Return a and f (batch, y, x)."""
        log_a = checked_field(inputs, "log_permeability", self.resolution)
        source = checked_field(inputs, "source", self.resolution)
        check_counts(log_permeability=log_a, source=source)
        most = np.abs(log_a).max(initial=0.0)
        if most > MOST:
            raise OpkitInputError(
                f"log_permeability reaches {most:.3g}, beyond {MOST:g}: give smaller "
                "numbers, it is the natural logarithm"
            )
        for i, f in enumerate(source):
            if not f[1:-1, 1:-1].any():
                raise OpkitInputError(
                    f"source of sample {i} is zero inside, so the pressure is: leave "
                    "that sample out"
                )
        return np.exp(log_a), source

    @property
    def _darcy(self) -> Darcy:
        return Darcy(resolution=self.resolution, faces=self.faces, rtol=self.rtol)


def _padded(solve: Map) -> Map:
    """Turn a map of interior values into one of all nodes, zero on the boundary."""

    def on_nodes(values: Array) -> Array:
        out = np.zeros_like(values)
        out[1:-1, 1:-1] = solve(np.ascontiguousarray(values[1:-1, 1:-1]))
        return out

    return on_nodes
