"""Quasi-geostrophic flow of one or two layers, doubly periodic.

    ∂q_i/∂t + J(ψ_i, q_i) + U_i ∂q_i/∂x + Q_i ∂ψ_i/∂x = -r δ_{iN} ∇²ψ_N + filter

q: potential vorticity (1/s), ψ: streamfunction (m²/s), layer 1 above; definitions of
q(ψ) and of the background gradients Q_i in `qg_model`. Pseudo-spectral; SI units.
Configurations after Ross et al., JAMES 15 (2023), doi:10.1029/2022MS003258. Accuracy,
speed and what the filter does: docs/solvers-quasi-geostrophic.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from opkit.base.arrays import Array
from opkit.base.records import NotNegative, Positive
from opkit.errors import SolverError
from opkit.solvers.fourier.band import share_outside
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
from opkit.solvers.quasi_geostrophic.integrate import (
    Backend,
    Scheme,
    Steps,
    Trajectory,
)
from opkit.solvers.quasi_geostrophic.laws import Distribution, Turbulence, resample
from opkit.solvers.quasi_geostrophic.model import LANES, Model, Parameters, fits_lanes
from opkit.solvers.records import re_advanced

Points = Annotated[int, Field(ge=16, multiple_of=2)]

INITIAL = "initial_potential_vorticity"
LAYER = "layer, counted from above: 1 is the upper one"


@solver_dataclass
class QuasiGeostrophic:
    """Solver of the quasi-geostrophic equations; defaults are the eddy configuration.

    Inputs: ``initial_potential_vorticity`` (batch, layer, y, x), 1/s. Outputs:
    ``potential_vorticity``, 1/s, and ``streamfunction``, m²/s, both
    (batch, time, layer, y, x), at ``record_interval`` times 1, 2, ..., ``records``.

    Args:
        resolution: points along (y, x), even.
        distribution: law of the initial field, `RandomWaves` or `Turbulence`.
        layers: one or two.
        extent: of the domain along (y, x), m.
        beta: gradient of the Coriolis parameter, 1/(m s).
        deformation_radius: r_d, m; with one layer it may be null: infinite.
        depth_ratio: δ = H₁/H₂ of two layers.
        velocity: background flow U_i along x, m/s, one for each layer.
        drag: r, in the lowest layer, 1/s.
        filter_strength: s of the filter's factor exp(-s (κ* - 0.65π)⁴) on
            wavenumbers κ* = |(k dx, l dy)| > 0.65π. 0 switches it off.
        filter_interval: time in which ``etdrk4`` applies that factor once, s.
        dealias: drop wavenumbers from the 2/3 of Nyquist on (``etdrk4``).
        scheme: ``etdrk4``: fourth order, the filter a decay rate within the integrating
            factor, steps chosen. ``pyqg``: that program's third-order Adams-Bashforth
            steps of ``time_step``, the whole filter at each.
        time_step: of scheme ``pyqg``, s.
        rtol: largest relative error (L2 of q) of a step of ``etdrk4``.
        cfl: largest Courant number dt max(|u|/dx + |v|/dy).
        record_interval: time between records, s.
        records: number of records.
        threads: over which a batch is split; if it is smaller, those left over step
            trajectories together.
        backend: ``compiled`` needs numba and pyfftw (extra ``fast``) and a multiple of
            16 points along y; ``auto`` takes it where it can be had, else ``numpy``.
        device: where ``torch`` works, such as ``cuda``.
    """

    resolution: tuple[Points, Points]
    distribution: Distribution = Turbulence()
    layers: Literal[1, 2] = 2
    extent: tuple[Positive, Positive] = (1e6, 1e6)
    beta: float = 1.5e-11
    deformation_radius: Positive | None = 15e3
    depth_ratio: Positive = 0.25
    velocity: tuple[float, ...] = (0.025, 0.0)
    drag: NotNegative = 5.787e-7
    filter_strength: NotNegative = 23.6
    filter_interval: Positive = 3600.0
    dealias: bool = False
    scheme: Scheme = "etdrk4"
    time_step: Positive = 3600.0
    rtol: Annotated[float, Field(ge=1e-13, le=1e-2)] = 1e-6
    cfl: Annotated[float, Field(gt=0, le=1)] = 0.8
    record_interval: Positive = 864000.0
    records: Annotated[int, Field(ge=1)] = 20
    threads: Annotated[int, Field(ge=1)] = 1
    backend: Literal["auto"] | Backend = "auto"
    device: str = "cpu"

    @model_validator(mode="after")
    def _consistent(self) -> QuasiGeostrophic:
        if len(self.velocity) != self.layers:
            raise ValueError(
                f"velocity has {len(self.velocity)} values for {self.layers} layers"
            )
        if self.layers == 2 and self.deformation_radius is None:
            raise ValueError("two layers need a deformation_radius")
        if self.scheme == "pyqg":
            if self.dealias:
                raise ValueError("scheme pyqg has no dealias: use etdrk4")
            law = self.distribution
            spin_up = law.spin_up if isinstance(law, Turbulence) else 0.0
            for name, time in (
                ("record_interval", self.record_interval),
                ("spin_up", spin_up),
            ):
                if not _is_multiple(time, self.time_step):
                    raise ValueError(
                        f"{name} {time:g} s is no multiple of time_step "
                        f"{self.time_step:g} s: records fall on steps"
                    )
        if self.device != "cpu" and self.backend != "torch":
            raise ValueError(f"device {self.device!r} needs backend torch")
        if self.backend == "compiled" and self._backend() != "compiled":
            raise ValueError(
                "backend compiled needs numba and pyfftw (extra fast), and a multiple "
                f"of {LANES} points along y"
            )
        return self

    def coordinates(self) -> Mapping[str, Coordinate]:
        """Times of records, layers counted from above, and grid points."""
        (ny, nx), (ly, lx) = self.resolution, self.extent

        def axis(step: float, first: int, count: int) -> Array:
            return np.asarray(step * np.arange(first, first + count), np.float64)

        return {
            "time": Coordinate(
                axis(self.record_interval, 1, self.records), "s", "time"
            ),
            "layer": Coordinate(axis(1.0, 1, self.layers), "1", LAYER),
            "y": Coordinate(axis(ly / ny, 0, ny), "m", "northward distance"),
            "x": Coordinate(axis(lx / nx, 0, nx), "m", "eastward distance"),
        }

    def sides(self) -> Sides:
        """The rectangle closes to a torus."""
        return all_sides("periodic")

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw one initial potential vorticity (layer, y, x); see `Turbulence`."""
        law = self.distribution
        if not isinstance(law, Turbulence):
            return {INITIAL: law.draw(rng, self.layers, self.resolution)}
        grid = (law.grid, law.grid)
        spin_up = replace(self, resolution=grid)
        (trajectory,) = spin_up._trajectories(1, 1)
        trajectory.start(law.draw(rng, self.layers, grid)[None])
        trajectory.advance(law.spin_up)
        q, _ = trajectory.fields()
        return {INITIAL: resample(q[0], self.resolution)}

    def solve(self, inputs: Fields) -> Solution:
        """Integrate a batch of initial fields.

        Raises:
            OpkitInputError: initial fields of another shape, or not finite.
            CFLError: ``time_step`` too long for the flow (scheme ``pyqg``).
            NotConvergedError: ``rtol`` cannot be met (scheme ``etdrk4``).
            NonFiniteError: the flow blew up.
        """
        initial = checked_field(inputs, INITIAL, (self.layers, *self.resolution))
        starts = initial[:, None]
        intervals = [self.record_interval] * self.records
        q, psi, error = self._integrate(starts[:, 0], intervals)
        self._warn(psi)
        return Solution(
            outputs={"potential_vorticity": q, "streamfunction": psi},
            error=error + share_outside(initial, self.model().mask),
            measure="sum of estimated local errors and of the share of the initial "
            "field in modes that are dropped (relative L2 of q)",
        )

    def residual(self, inputs: Fields, outputs: Fields) -> Array:
        """Re-advance each record from the one before, and compare.

        The largest |q(t) - S q(t - interval)| / |q(t)| of the records, both layers
        together, and not less than the share of the initial field in modes that are
        dropped. With scheme ``pyqg`` a restart begins with an Euler step, which
        shows.
        """
        record = (self.records, self.layers, *self.resolution)
        initial = checked_field(inputs, INITIAL, record[1:])
        q = checked_field(outputs, "potential_vorticity", record)
        check_counts(**{INITIAL: initial, "potential_vorticity": q})
        interval = [self.record_interval]
        changes = re_advanced(
            initial, q, lambda state: self._integrate(state, interval)[0][:, 0]
        )
        return np.maximum(changes, share_outside(initial, self.model().mask))

    def _warn(self, psi: Array) -> None:
        """Warn where the upper layer has turned over too often to be predicted."""
        if not len(psi):
            return
        model = self.model()
        psi_hat = np.fft.rfft2(psi[:, :, 0])
        vorticity = np.fft.irfft2(-model.kappa2 * psi_hat, self.resolution)
        rms = np.sqrt((vorticity**2).mean((-2, -1)))
        turnover = self.record_interval * rms.sum(axis=1)
        warn_where_unpredictable(turnover, self.record_interval * self.records)

    def model(self) -> Model:
        """The equations on this grid, for diagnostics."""
        drop: Literal["nothing", "corners", "third"] = "nothing"
        if self.scheme == "etdrk4":
            drop = "third" if self.dealias else "corners"
        return Model(
            Parameters(
                shape=self.resolution,
                extent=self.extent,
                layers=self.layers,
                beta=self.beta,
                deformation_radius=self.deformation_radius,
                depth_ratio=self.depth_ratio,
                velocity=self.velocity,
                drag=self.drag,
                filter_strength=self.filter_strength,
                drop=drop,
            )
        )

    def _integrate(
        self, starts: Array, intervals: list[float]
    ) -> tuple[Array, Array, Array]:
        """Fields (batch, time, ...) after each interval, and errors (batch,)."""
        batch = len(starts)
        together = max(batch, 1) if self._backend() == "torch" else 1
        groups = [starts[i : i + together] for i in range(0, batch, together)]
        trajectories = self._trajectories(
            min(self.threads, max(1, len(groups))), together
        )
        q = np.empty((batch, len(intervals), *starts.shape[1:]))
        psi, error = np.empty_like(q), np.zeros(batch)

        def work(first: int) -> None:
            trajectory = trajectories[first]
            for i in range(first, len(groups), len(trajectories)):
                where = slice(i * together, (i + 1) * together)
                try:
                    trajectory.start(groups[i])
                    for record, interval in enumerate(intervals):
                        error[where] += trajectory.advance(interval)
                        q[where, record], psi[where, record] = trajectory.fields()
                except SolverError as fault:
                    fault.sample = i if together == 1 else None
                    raise

        if len(trajectories) < 2:
            for first in range(len(trajectories)):
                work(first)
        else:
            with ThreadPoolExecutor(len(trajectories)) as pool:
                list(pool.map(work, range(len(trajectories))))
        return q, psi, error

    def _trajectories(self, count: int, batch: int) -> list[Trajectory]:
        steps = Steps(
            scheme=self.scheme,
            time_step=self.time_step,
            rtol=self.rtol,
            cfl=self.cfl,
            filter_interval=self.filter_interval,
        )
        model, backend = self.model(), self._backend()
        together = max(1, self.threads // count)
        return [
            Trajectory(model, steps, backend, batch, self.device, together)
            for _ in range(count)
        ]

    def _backend(self) -> Backend:
        if self.backend in ("numpy", "torch"):
            return self.backend
        compiled = find_spec("numba") and find_spec("pyfftw")
        return "compiled" if compiled and fits_lanes(self.resolution) else "numpy"


def _is_multiple(time: float, step: float) -> bool:
    return math.isclose(time / step, round(time / step), rel_tol=1e-9)
