"""Two-dimensional incompressible flow on a periodic square, in vorticity form.

    ∂ω/∂t + (u·∇)ω = ν Δω − μ ω + f,   u = (∂ψ/∂y, −∂ψ/∂x) + (U, V),   −Δψ = ω

Fourier-spectral, float64, truncated by the 2/3 rule; IFRK4 with a step chosen by the
CFL number and an error estimate. Fields are indexed [y, x]; the published data sets are
[x, y, time]. Accuracy and speed: docs/solvers-navier-stokes.md.

Reference: Li et al., Fourier Neural Operator for Parametric Partial Differential
Equations, ICLR 2021, arXiv:2010.08895 (forcing and initial fields).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from opkit.base.arrays import Array
from opkit.errors import (
    CFLError,
    NonFiniteError,
    NotConvergedError,
    OpkitInputError,
    SolverError,
)
from opkit.solvers.fourier.band import share_outside, square_band
from opkit.solvers.fourier.predictability import warn_where_unpredictable
from opkit.solvers.inputs import check_counts, checked_field
from opkit.solvers.interface import (
    Coordinate,
    Fields,
    Sides,
    Solution,
    all_sides,
    solver_dataclass,
)
from opkit.solvers.navier_stokes import step_control as control
from opkit.solvers.navier_stokes.laws import (
    GaussianVorticity,
    KolmogorovForcing,
    PublishedField,
    PublishedForcing,
    symmetries_of,
)
from opkit.solvers.navier_stokes.model import Problem, Status, Trajectories
from opkit.solvers.per_sample import per_sample
from opkit.solvers.records import re_advanced
from opkit.solvers.symmetry import Symmetry

Forcing = Annotated[PublishedForcing | KolmogorovForcing, Field(discriminator="kind")]
Distribution = Annotated[
    PublishedField | GaussianVorticity, Field(discriminator="kind")
]


@per_sample("viscosity")
@solver_dataclass
class NavierStokes:
    """Solver from initial vorticity to vorticity at equally spaced times.

    Args:
        viscosity: ν; zero only without forcing; also per sample.
        records: number of records, the initial field not among them.
        record_interval: time between records, and before the first.
        resolution: (N, N), N even and 16 or more.
        distribution: law of the initial vorticity.
        forcing: f, or none.
        drag: linear drag μ.
        length: side of the domain.
        mean_flow: (U, V).
        spin_up: time for which a drawn field is advanced before it is the input.
        scheme: ``ifrk4``, or ``fno-2020``, the published first-order scheme in float64.
        rtol: bound of the summed estimates of the time-stepping error (relative L2).
        cfl: bound of dt max(|u| + |v|) / dx.
        dt: a fixed step in place of rtol and cfl; ``fno-2020`` takes 1e-4 by default.
        backend: ``compiled`` needs numba and pyfftw (extra ``fast``); ``auto`` takes it
            where it can be had, else ``numpy``; a device other than cpu means torch.
        device: where ``torch`` works, such as ``cuda``.
        threads: over which the samples of a batch are split (compiled).
    """

    viscosity: float = Field(ge=0)
    records: int = Field(ge=1)
    record_interval: float = Field(default=1.0, gt=0)
    resolution: tuple[int, int]
    distribution: Distribution = PublishedField()
    forcing: Forcing | None = None
    drag: float = Field(default=0.0, ge=0)
    length: float = Field(default=1.0, gt=0)
    mean_flow: tuple[float, float] = (0.0, 0.0)
    spin_up: float = Field(default=0.0, ge=0)
    scheme: Literal["ifrk4", "fno-2020"] = "ifrk4"
    rtol: float = Field(default=1e-5, ge=1e-13, le=0.1)
    cfl: float = Field(default=1.0, gt=0, le=control.MAX_CFL)
    dt: float | None = Field(default=None, gt=0)
    backend: Literal["auto", "compiled", "numpy", "torch"] = "auto"
    device: str = "cpu"
    threads: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> NavierStokes:
        rows, columns = self.resolution
        if rows != columns or rows % 2 or rows < 16:
            raise ValueError(
                f"resolution {rows} x {columns}: give a square grid, even, 16 or more"
            )
        if self.viscosity == 0 and self.forcing is not None:
            raise ValueError(
                "viscosity 0 with a forcing: energy would pile up at the smallest "
                "scales; give a positive viscosity"
            )
        most = rows // 2 - 1 if self.scheme == "fno-2020" else self._problem().most
        if self.forcing is not None and self.forcing.highest > most:
            raise ValueError(
                f"forcing has the wavenumber {self.forcing.highest}, and a grid of "
                f"{rows} points keeps those up to {most}: take more points, or force "
                "larger scales"
            )
        if self.scheme == "fno-2020":
            steps = self.record_interval / self._fixed_step
            if abs(steps - round(steps)) > 1e-6 * steps or round(steps) % 2:
                raise ValueError(
                    f"scheme fno-2020: {steps:g} steps of dt={self._fixed_step:g} "
                    "between records; give a dt of which an even number fits"
                )
            if self.mean_flow != (0.0, 0.0) or self.device != "cpu":
                raise ValueError("scheme fno-2020 has no mean_flow and runs on cpu")
        return self

    @property
    def _fixed_step(self) -> float:
        return self.dt or (1e-4 if self.scheme == "fno-2020" else 0.0)

    def coordinates(self) -> Mapping[str, Coordinate]:
        """Record times and grid points."""
        n = self.resolution[0]
        x = self.length * np.arange(n) / n
        return {
            "time": Coordinate(self._times(), long_name="time"),
            "y": Coordinate(x, long_name="y"),
            "x": Coordinate(x, long_name="x"),
        }

    def sides(self) -> Sides:
        """The square closes to a torus."""
        return all_sides("periodic")

    def symmetries(self) -> Mapping[str, Symmetry]:
        """Those of the torus that leave forcing and mean flow as they are."""
        return symmetries_of(self.forcing, any(self.mean_flow))

    def kept_means(self) -> tuple[str, ...]:
        """Vorticity: a flow on the torus has none in the mean, and drag keeps that."""
        return ("vorticity",)

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw ``vorticity`` (y, x), with the modes that the solver keeps.

        The same at every resolution unless ``spin_up`` is on: flows that are chaotic
        then differ.
        """
        law = self.distribution.law(self.length)
        problem = self._problem()
        field = law.sample(rng, self.resolution, problem.most)
        if self.spin_up:
            time = np.array([self.spin_up])
            field = self._advance(field[None], 0.0, time).vorticity[0, 0]
        return {"initial_vorticity": field}

    def solve(self, inputs: Fields) -> Solution:
        """Solve for ``vorticity`` (batch, time, y, x).

        Raises:
            OpkitInputError: wrong shape, not finite, or a mean that is not zero.
            CFLError: a fixed dt is too long.
            NonFiniteError: the solution left the range of numbers.
            NotConvergedError: no step is short enough for rtol.
        """
        initial = self._checked(inputs, "initial_vorticity")
        result = self._advance(initial, 0.0, self._times())
        warn_where_unpredictable(result.turnover, self._times()[-1])
        if self.scheme == "fno-2020":
            measure = "change of the last record on doubling dt (relative L2)"
        else:
            measure = (
                "sum of local time-stepping error estimates and of the share of the "
                "initial field beyond 2/3 of the wavenumbers (relative L2)"
            )
        details = {
            "steps": result.steps,
            "rejected": result.rejected,
            "cfl": result.cfl,
            "turnover": result.turnover,
        }
        error = result.error + self._cut(initial)
        return Solution({"vorticity": result.vorticity}, error, measure, details)

    def residual(self, inputs: Fields, outputs: Fields) -> Array:
        """Advance each record from the one before; largest relative L2 change.

        Not less than the share of the initial field that the solver does not advance.
        """
        initial = self._checked(inputs, "initial_vorticity")
        records = self._checked(outputs, "vorticity", (self.records,))
        check_counts(initial_vorticity=initial, vorticity=records)
        interval = np.array([self.record_interval])
        changes = re_advanced(
            initial,
            records,
            lambda vorticity: self._advance(vorticity, 0.0, interval).vorticity[:, 0],
        )
        return np.maximum(changes, self._cut(initial))

    def _cut(self, initial: Array) -> Array:
        """Share of the initial fields beyond the modes kept, (batch,)."""
        if self.scheme == "fno-2020":  # cuts the advection alone
            return np.zeros(len(initial))
        band = square_band(self.resolution, self._problem().most)
        return share_outside(initial, band)

    def _times(self) -> Array:
        return self.record_interval * np.arange(1.0, self.records + 1)

    def _problem(self) -> Problem:
        n = self.resolution[0]
        return Problem(
            points=n,
            length=self.length,
            viscosity=self.viscosity,
            drag=self.drag,
            forcing=(
                np.zeros((n, n))
                if self.forcing is None
                else self.forcing.field(n, self.length)
            ),
            mean_flow=self.mean_flow,
            dt=self._fixed_step,
            rtol=self.rtol,
            cfl=self.cfl if self.dt is None else control.MAX_CFL,
            duration=self.record_interval * self.records,
        )

    def _checked(self, fields: Fields, name: str, lead: tuple[int, ...] = ()) -> Array:
        field = checked_field(fields, name, (*lead, *self.resolution))
        mean = np.abs(field.mean((-2, -1)))
        if (mean > 1e-5 * np.abs(field).max(initial=1e-300, axis=(-2, -1))).any():
            raise OpkitInputError(
                f"{name} has mean {mean.max():.3g}: periodic vorticity has none; "
                "subtract it"
            )
        return field

    def _advance(self, fields: Array, begin: float, times: Array) -> Trajectories:
        problem = self._problem()
        backend = self.backend
        if backend == "auto":
            backend = "torch" if self.device != "cpu" else fastest_backend()
        if self.scheme == "fno-2020":
            from opkit.solvers.navier_stokes import fno_2020 as published

            result = published.solve(problem, fields, begin, times)
        elif backend == "compiled":
            from opkit.solvers.navier_stokes import compiled as advance

            result = advance.solve(problem, fields, begin, times, self.threads)
        else:
            from opkit.solvers.navier_stokes import arrays

            device = self.device if backend == "torch" else None
            result = arrays.solve(problem, fields, begin, times, device)
        self._refuse(result)
        return result

    def _refuse(self, result: Trajectories) -> None:
        for sample, status in enumerate(result.status):
            if status == Status.DONE:
                continue
            error, message = _FAULTS[Status(status)]
            raise error(message, sample=sample)


_FAULTS: dict[Status, tuple[type[SolverError], str]] = {
    Status.CFL_VIOLATED: (
        CFLError,
        "dt is too long for the flow's speed; shorten it or leave it out",
    ),
    Status.NOT_FINITE: (NonFiniteError, "the solution is not finite"),
    Status.NOT_CONVERGED: (
        NotConvergedError,
        "no step above a millionth of the time to a record is short enough for rtol "
        "and the flow's speed; relax rtol or take a weaker flow",
    ),
}


def fastest_backend() -> Literal["compiled", "numpy"]:
    """Name the fastest backend whose dependencies are installed."""
    try:
        from opkit.solvers.fourier.fftw import library

        library()
    except (ImportError, OSError, AttributeError):
        return "numpy"
    return "compiled"
