"""Semilinear evolution equations with constant coefficients on a periodic interval.

    ∂u/∂t = g u + q u² + s u³ − c ∂u/∂x − a u ∂u/∂x + ν ∂²u/∂x² − δ ∂³u/∂x³ − μ ∂⁴u/∂x⁴

Kuramoto-Sivashinsky is a = μ = 1, ν = −1; Korteweg-de Vries a = δ = 1; Allen-Cahn and
the real Ginzburg-Landau equation ν > 0, g = −s > 0; Fisher ν > 0, g = −q > 0;
advection-diffusion c and ν alone. Fourier-spectral, float64, without aliasing from
products into the modes that are advanced; ETDRK4, whose steps are doubled until whole
trajectories stand still. Accuracy: docs/dynamics.md.

Reference: Kassam and Trefethen, Fourth-order time-stepping for stiff PDEs, SIAM J. Sci.
Comput. 26 (2005).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

import numpy as np
import scipy.fft
from pydantic import Field, model_validator

from opkit.base.arrays import Array, Complex
from opkit.base.records import NotNegative, Positive
from opkit.errors import NotConvergedError, OpkitInputError
from opkit.solvers.fourier.band import share_outside, square_band
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
from opkit.solvers.laws.sines import Sines
from opkit.solvers.per_sample import per_sample
from opkit.solvers.records import re_advanced, relative_change
from opkit.solvers.steppers import ETDRK4
from opkit.solvers.symmetry import Symmetry

_MOST_STEPS = 2**16  # between two records
_ENOUGH = 64  # steps from which on the change has to fall with each doubling
_MANY = 1024  # steps from which on the state has to be finite
_GROWTH = 25.0  # largest exponent of a linear mode over one interval


@per_sample(
    "growth",
    "quadratic",
    "cubic",
    "velocity",
    "convection",
    "diffusion",
    "dispersion",
    "hyperdiffusion",
)
@solver_dataclass
class Semilinear:
    """Solver from the initial state to the state at equally spaced times.

    Args:
        resolution: (N,), N even and 16 or more.
        length: of the interval.
        growth: g.
        quadratic: q.
        cubic: s.
        velocity: c.
        convection: a.
        diffusion: ν; negative values need a hyperdiffusion.
        dispersion: δ.
        hyperdiffusion: μ.
        records: number of records, the initial state not among them.
        record_interval: time between records, and before the first.
        spin_up: time that a drawn field is advanced by before it is the initial state.
        distribution: law of the field that is drawn.
        mean_flow: added to it.
        rtol: bound of the change of any record on doubling the steps (relative L2).
        tail: largest coefficient at the edge of the spectrum, relative to the largest;
            above it the grid is refused as too coarse.
    """

    resolution: tuple[int]
    length: Positive = 1.0
    growth: float = 0.0
    quadratic: float = 0.0
    cubic: float = 0.0
    velocity: float = 0.0
    convection: float = 0.0
    diffusion: float = 0.0
    dispersion: float = 0.0
    hyperdiffusion: NotNegative = 0.0
    records: int = Field(default=1, ge=1)
    record_interval: Positive = 1.0
    spin_up: NotNegative = 0.0
    distribution: Annotated[Sines | GaussianField, Field(discriminator="kind")] = (
        Sines()
    )
    mean_flow: float = 0.0
    rtol: float = Field(default=1e-6, ge=1e-12, le=0.1)
    tail: float = Field(default=1e-4, gt=0, le=1)

    @model_validator(mode="after")
    def _consistent(self) -> Semilinear:
        (n,) = self.resolution
        if n % 2 or n < 16:
            raise ValueError(f"resolution {n}: give an even number, 16 or more")
        law = self.distribution
        if isinstance(law, GaussianField) and law.length != self.length:
            raise ValueError(
                f"distribution.length is {law.length:g}: give it the domain's length, "
                f"{self.length:g}"
            )
        if isinstance(law, Sines) and law.waves[1] > self._most:
            raise ValueError(
                f"distribution.waves up to {law.waves[1]}: {n} points carry "
                f"{self._most} waves at most"
            )
        return self

    def coordinates(self) -> Mapping[str, Coordinate]:
        """Record times and grid points."""
        (n,) = self.resolution
        times = self.record_interval * np.arange(1.0, self.records + 1)
        return {
            "time": Coordinate(times, long_name="time"),
            "x": Coordinate(self.length * np.arange(n) / n, long_name="x"),
        }

    def sides(self) -> Sides:
        """The interval closes to a ring."""
        return all_sides("periodic", "x")

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw ``initial_state`` (x,), with the modes that the solver advances.

        Raises:
            NotConvergedError: it cannot be advanced by ``spin_up``.
        """
        law = self.distribution
        if isinstance(law, GaussianField):
            field = law.sample(rng, self.resolution, self._most)
        else:
            field = law.sample(rng, self.resolution)
        field = field + self.mean_flow
        if self.spin_up:
            intervals = int(np.ceil(self.spin_up / self.record_interval - 1e-9))
            self._refuse_ill_posed()
            for _ in range(intervals):
                part = self.spin_up / intervals
                field = self._settled(field, part, 1)[0][0]
        return {"initial_state": field}

    def solve(self, inputs: Fields) -> Solution:
        """Solve for ``state`` (batch, time, x).

        Raises:
            OpkitInputError: wrong shape, not finite, or the equation is ill-posed.
            NotConvergedError: fronts too steep for the grid; or steps too many, as for
                chaotic trajectories far beyond the predictable.
        """
        initial = checked_field(inputs, "initial_state", self.resolution)
        self._refuse_ill_posed()
        shape = (len(initial), self.records, *self.resolution)
        states, error, steps = np.empty(shape), self._cut(initial), np.zeros(shape[0])
        # transforms may round differently with the batch: one sample at a time
        for i, field in enumerate(initial):
            try:
                states[i], change, steps[i] = self._settled(
                    field, self.record_interval, self.records
                )
            except NotConvergedError as problem:
                problem.sample = i
                raise
            error[i] += change
        return Solution(
            {"state": states},
            error,
            "largest change of a record on doubling the steps, and the share of the "
            "initial state beyond the wavenumbers advanced (relative L2)",
            {"steps": steps},
        )

    def residual(self, inputs: Fields, outputs: Fields) -> Array:
        """Advance each record from the one before; largest relative L2 change.

        Not less than the share of the initial state that the solver does not advance.
        """
        initial = checked_field(inputs, "initial_state", self.resolution)
        states = checked_field(outputs, "state", (self.records, *self.resolution))
        check_counts(initial_state=initial, state=states)
        self._refuse_ill_posed()
        changes = re_advanced(initial, states, self._advance)
        return np.maximum(changes, self._cut(initial))

    def symmetries(self) -> Mapping[str, Symmetry]:
        """Shifts; reflection, change of sign and Galilei's where the terms allow."""
        known = {"shift": Symmetry(shifts=({"x": 1},))}
        one_way = bool(self.velocity or self.dispersion)
        if not one_way and not self.convection:
            known["flip_x"] = Symmetry(flips=("x",))
        elif not one_way and not self.quadratic:
            known["flip_x"] = Symmetry(sign=-1, flips=("x",))
        if not self.convection and not self.quadratic:
            known["negate"] = Symmetry(sign=-1)
        if self.convection and not (self.growth or self.quadratic or self.cubic):
            known["galilei"] = Symmetry(velocity=self.convection)
        return known

    def kept_means(self) -> tuple[str, ...]:
        """The state, where nothing reacts."""
        return () if self.growth or self.quadratic or self.cubic else ("state",)

    def kept_squares(self) -> tuple[str, ...]:
        """The state, where nothing reacts and nothing is damped or fed.

        ∫ u ∂u/∂x · u dx and ∫ u ∂³u/∂x³ dx are zero on a ring.
        """
        changes = self.diffusion or self.hyperdiffusion
        return () if changes else self.kept_means()

    def forecast(self, steps: int) -> Callable[[Array], Array]:
        """Prepare an advance by one record interval in a fixed number of steps.

        Nothing is checked, neither accuracy nor whether the equation is well posed:
        for ensembles, whose spread is far above the error of a step.

        Args:
            steps: of ETDRK4 in one record interval.

        Returns:
            Maps states (..., x) to states one record interval later.
        """
        return self._marcher(self.record_interval, steps)

    @property
    def _most(self) -> int:
        """Largest wavenumber advanced: products alias into dropped modes only."""
        degree = 1
        if self.convection or self.quadratic:
            degree = 2
        if self.cubic:
            degree = 3
        return (self.resolution[0] - 1) // (degree + 1)

    @property
    def _symbol(self) -> Array | Complex:
        """The linear part, one number a wavenumber; real where nothing travels."""
        k = 2 * np.pi / self.length * np.arange(self.resolution[0] // 2 + 1)
        still = self.growth - self.diffusion * k**2 - self.hyperdiffusion * k**4
        if not (self.velocity or self.dispersion):
            return still
        travelling: Complex = still + 1j * (self.dispersion * k**3 - self.velocity * k)
        return travelling

    def _cut(self, initial: Array) -> Array:
        """Share of the initial states beyond the modes advanced, (batch,)."""
        return share_outside(initial, square_band(self.resolution, self._most))

    def _refuse_ill_posed(self) -> None:
        fastest = self._symbol[: self._most + 1].real.max() * self.record_interval
        if self.diffusion < 0 and not self.hyperdiffusion:
            raise OpkitInputError(
                f"diffusion {self.diffusion:g} without hyperdiffusion: the shorter a "
                "wave, the faster it grows: give a hyperdiffusion above 0"
            )
        if fastest > _GROWTH:
            raise OpkitInputError(
                f"linear waves grow by exp({fastest:.3g}) in one record_interval: "
                "give a shorter one"
            )

    def _advance(self, states: Array) -> Array:
        advanced = np.empty_like(states)
        for i, field in enumerate(states):
            advanced[i] = self._settled(field, self.record_interval, 1)[0]
        return advanced

    def _settled(
        self, initial: Array, interval: float, records: int
    ) -> tuple[Array, float, int]:
        """Double the steps until a trajectory (record, x) stands still.

        Returns:
            Trajectory, its largest relative change on the last doubling, steps made.
        """
        count, made, coarse = 1, records, self._trajectory(initial, interval, records)
        before = np.inf
        while count < _MOST_STEPS:
            count *= 2
            made += count * records
            fine = self._trajectory(initial, interval, records, count)
            with np.errstate(over="ignore", invalid="ignore"):  # infinite, then
                change = float(relative_change(coarse, fine).max())
            if change <= self.rtol:
                self._refuse_steep(fine)
                return fine, change, made
            if count >= _MANY and not np.isfinite(change):
                raise NotConvergedError(
                    f"with {count} steps between records the state is infinite: it may "
                    "blow up; ask for shorter times"
                )
            if count >= _ENOUGH and change > before / 2:
                break  # round-off, or the chaos that enlarges it
            coarse, before = fine, change
        raise NotConvergedError(
            f"{count} steps between records do not reach rtol={self.rtol:g}: relax it, "
            "or ask for fewer records where the motion is chaotic"
        )

    def _trajectory(
        self, initial: Array, interval: float, records: int, count: int = 1
    ) -> Array:
        march = self._marcher(interval, count)
        states = np.empty((records, *initial.shape))
        for k in range(records):
            states[k] = initial = march(initial)
        return states

    def _marcher(self, interval: float, count: int) -> Callable[[Array], Array]:
        """Prepare ``count`` steps over an interval; states (..., x) to states."""
        (n,) = self.resolution
        band = np.arange(n // 2 + 1) <= self._most
        k = 2 * np.pi / self.length * np.arange(n // 2 + 1)
        square = band * (self.quadratic - 0.5j * self.convection * k)
        cube = self.cubic * band

        def nonlinear(u_hat: Complex) -> Complex:
            if not (square.any() or self.cubic):
                return np.zeros_like(u_hat)
            u = scipy.fft.irfft(u_hat, n)
            rate: Complex = square * scipy.fft.rfft(u * u)
            return rate + cube * scipy.fft.rfft(u * u * u) if self.cubic else rate

        step = ETDRK4.prepare(self._symbol, interval / count, nonlinear)

        def march(states: Array) -> Array:
            u_hat = scipy.fft.rfft(states) * band
            with np.errstate(over="ignore", invalid="ignore"):  # told by NaN
                for _ in range(count):
                    u_hat = step(u_hat)
            advanced: Array = scipy.fft.irfft(u_hat, n)
            return advanced

        return march

    def _refuse_steep(self, states: Array) -> None:
        if self._most == (self.resolution[0] - 1) // 2:
            return  # linear: no shorter waves appear
        size = np.abs(scipy.fft.rfft(states))
        edge = size[:, self._most - 1 : self._most + 1].max(1)
        if (edge > self.tail * np.maximum(size.max(1), 1e-300)).any():
            raise NotConvergedError(
                f"waves are too short for {self.resolution[0]} points; take more"
            )
