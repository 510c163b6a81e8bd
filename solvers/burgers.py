"""Viscous Burgers equation on a periodic interval.

    ∂u/∂t + ∂/∂x (u²/2) = ν ∂²u/∂x²

Fourier-spectral, float64, truncated by the 2/3 rule; ETDRK4, the number of steps
between records doubled until the result stands still. Accuracy:
docs/solvers-navier-stokes.md.

Reference: Li et al., Fourier Neural Operator for Parametric Partial Differential
Equations, ICLR 2021, arXiv:2010.08895.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from opkit.base.arrays import Array
from opkit.base.device import present
from opkit.errors import NotConvergedError, require
from opkit.solvers.fourier.band import share_outside, square_band
from opkit.solvers.fourier.transforms import RealFFT
from opkit.solvers.inputs import check_counts, checked_field
from opkit.solvers.interface import (
    Coordinate,
    Fields,
    Sides,
    Solution,
    all_sides,
    solver_dataclass,
)
from opkit.solvers.laws.periodic_fields import GaussianField
from opkit.solvers.per_sample import per_sample
from opkit.solvers.records import re_advanced, relative_change
from opkit.solvers.steppers import ETDRK4
from opkit.solvers.symmetry import Symmetry

# C = 625 (−Δ + 25 I)⁻² of the published data set
PUBLISHED = GaussianField(alpha=2.0, tau=5.0, sigma=25.0)
_MOST_STEPS = 2**20  # between two records
_TAIL = 1e-4  # largest coefficient allowed at the edge of the spectrum, relative


@per_sample("viscosity")
@solver_dataclass
class Burgers:
    """Solver from the initial velocity to the velocity at equally spaced times.

    Args:
        viscosity: ν.
        resolution: (N,), N even and 16 or more.
        records: number of records, the initial field not among them.
        record_interval: time between records, and before the first.
        distribution: law of the initial velocity.
        length: of the interval.
        mean_flow: added to the initial velocity that is drawn.
        rtol: bound of the summed time-stepping errors (relative L2).
        device: ``cpu`` is numpy, anything else a device of torch.
    """

    viscosity: float = Field(gt=0)
    resolution: tuple[int]
    records: int = Field(default=1, ge=1)
    record_interval: float = Field(default=1.0, gt=0)
    distribution: GaussianField = PUBLISHED
    length: float = Field(default=1.0, gt=0)
    mean_flow: float = 0.0
    rtol: float = Field(default=1e-6, ge=1e-12, le=0.1)
    device: str = "cpu"

    @model_validator(mode="after")
    def _consistent(self) -> Burgers:
        (n,) = self.resolution
        if n % 2 or n < 16:
            raise ValueError(f"resolution {n}: give an even number, 16 or more")
        if self.distribution.length != self.length:
            raise ValueError(
                f"distribution.length is {self.distribution.length:g}: give it the "
                f"domain's length, {self.length:g}"
            )
        return self

    def coordinates(self) -> Mapping[str, Coordinate]:
        """Record times and grid points."""
        (n,) = self.resolution
        return {
            "time": Coordinate(
                self.record_interval * np.arange(1.0, self.records + 1),
                long_name="time",
            ),
            "x": Coordinate(self.length * np.arange(n) / n, long_name="x"),
        }

    def sides(self) -> Sides:
        """The interval closes to a ring."""
        return all_sides("periodic", "x")

    def symmetries(self) -> Mapping[str, Symmetry]:
        """Shifts, the reflection with a change of sign, Galilei's."""
        return {
            "shift": Symmetry(shifts=({"x": 1},)),
            "flip_x": Symmetry(sign=-1, flips=("x",)),
            "galilei": Symmetry(velocity=1.0),
        }

    def kept_means(self) -> tuple[str, ...]:
        """The velocity."""
        return ("velocity",)

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw ``initial_velocity`` (x,), with the modes that the solver keeps."""
        field = self.distribution.sample(rng, self.resolution, self._most)
        return {"initial_velocity": field + self.mean_flow}

    def solve(self, inputs: Fields) -> Solution:
        """Solve for ``velocity`` (batch, time, x).

        Raises:
            OpkitInputError: wrong shape, or not finite.
            NotConvergedError: fronts too steep for the grid, or steps too many.
        """
        u = checked_field(inputs, "initial_velocity", self.resolution)
        records, error, steps = [], self._cut(u), np.zeros(len(u))
        for _ in range(self.records):
            u, change, count = self._advance(u)
            records.append(u)
            error += change
            steps += count
        return Solution(
            {"velocity": np.stack(records, axis=1)},
            error,
            "sum over records of the change on doubling the steps and of the share of "
            "the initial field beyond 2/3 of the wavenumbers (relative L2)",
            {"steps": steps},
        )

    def residual(self, inputs: Fields, outputs: Fields) -> Array:
        """Advance each record from the one before; largest relative L2 change.

        Not less than the share of the initial field that the solver does not advance.
        """
        initial = checked_field(inputs, "initial_velocity", self.resolution)
        shape = (self.records, *self.resolution)
        records = checked_field(outputs, "velocity", shape)
        check_counts(initial_velocity=initial, velocity=records)
        changes = re_advanced(initial, records, lambda u: self._advance(u)[0])
        return np.maximum(changes, self._cut(initial))

    def _cut(self, initial: Array) -> Array:
        """Share of the initial fields beyond the modes kept, (batch,)."""
        return share_outside(initial, square_band(self.resolution, self._most))

    @property
    def _most(self) -> int:
        """Largest wavenumber kept: squares alias into dropped modes only."""
        return (self.resolution[0] - 1) // 3

    def _advance(self, u: Array) -> tuple[Array, Array, Array]:
        """Advance by one record interval; return fields, errors, and steps made."""
        if self.device != "cpu":
            return self._converge(u)
        if not len(u):
            return u, np.zeros(0), np.zeros(0)
        # numpy's transforms may round differently with the batch: one sample at a time
        parts = [self._converge(field[None]) for field in u]
        result, error, steps = (
            np.concatenate(part) for part in zip(*parts, strict=True)
        )
        return result, error, steps

    def _converge(self, u: Array) -> tuple[Array, Array, Array]:
        result, error, steps = u.copy(), np.zeros(len(u)), np.zeros(len(u))
        allowed = self.rtol / self.records
        count = 4
        pending = np.arange(len(u))
        coarse = self._march(u, count)
        while len(pending):
            count *= 2
            if count > _MOST_STEPS:
                raise NotConvergedError(
                    f"{count // 2} steps do not reach rtol={self.rtol:g}; relax it",
                    sample=int(pending[0]),
                )
            fine = self._march(u[pending], count)
            # not divided by 2⁴ − 1: stiff diffusion leaves less than the fourth order
            change = relative_change(coarse, fine)
            done = change <= allowed
            result[pending[done]] = fine[done]
            error[pending[done]] = change[done]
            steps[pending[done]] = 2 * count - 4
            pending, coarse = pending[~done], fine[~done]
        self._refuse_steep(result)
        return result, error, steps

    def _march(self, u: Array, count: int) -> Array:
        """Advance by one record interval in ``count`` steps."""
        (n,) = self.resolution
        on_cpu = self.device == "cpu"
        fft = RealFFT(
            (n,), (len(u),), "auto" if on_cpu else "torch", device=self.device
        )
        asarray: Callable[[Any], Any] = np.asarray
        if not on_cpu:
            torch = require("torch", "all")
            place = present(self.device)
            asarray = lambda a: torch.as_tensor(a, device=place)  # noqa: E731
        k = 2 * np.pi / self.length * np.arange(n // 2 + 1)
        mask = np.arange(n // 2 + 1) <= self._most
        derivative = asarray(-0.5j * k * mask)

        def nonlinear(u_hat: Any) -> Any:
            return derivative * fft.forward(fft.inverse(1 * u_hat) ** 2)

        step = ETDRK4.prepare(
            -self.viscosity * k**2, self.record_interval / count, nonlinear, asarray
        )
        u_hat = fft.forward(asarray(u)) * asarray(1.0 * mask)
        with np.errstate(over="ignore", invalid="ignore"):  # too few steps: refined
            for _ in range(count):
                u_hat = step(u_hat)
        field = fft.inverse(u_hat)
        advanced: Array = field if on_cpu else field.cpu().numpy()
        return advanced

    def _refuse_steep(self, u: Array) -> None:
        size = np.abs(np.fft.rfft(u))
        edge = size[:, self._most - 1 : self._most + 1].max(1)
        tail = edge / np.maximum(size.max(1), 1e-300)
        if (tail > _TAIL).any():
            raise NotConvergedError(
                f"fronts are too steep for {self.resolution[0]} points; take more, or "
                "more viscosity",
                sample=int(tail.argmax()),
            )
