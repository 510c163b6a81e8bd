"""Carry quasi-geostrophic states over given times, and refuse to do it wrongly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from opkit.base.arrays import Array
from opkit.errors import CFLError, NonFiniteError, NotConvergedError
from opkit.solvers.quasi_geostrophic.arrays import ArrayState, Tendency
from opkit.solvers.quasi_geostrophic.model import Model

Scheme = Literal["etdrk4", "pyqg"]
Backend = Literal["compiled", "numpy", "torch"]

_ROUND_OFF = 1e-9
_FINEST = 100  # how many times shorter than first tried steps may become
_PIECE = 64  # steps tried at once; what is lost when a step has to be made smaller


class State(Protocol):
    """A state (batch, layer, ny, nk) that can be stepped."""

    @property
    def q_hat(self) -> Any:
        """The state; not to be written to."""
        ...

    def start(self, q_hat: Any) -> None:
        """Set the state, and forget past slopes."""
        ...

    def adams_bashforth(self, dt: float, count: int) -> Array:
        """Step with the filter at every step; (batch,) error of the last one."""
        ...

    def runge_kutta(self, dt: float, count: int, log_decay: Array) -> Array:
        """Step with the filter as a rate; (count, batch) errors."""
        ...


@dataclass(frozen=True)
class Steps:
    """How time is stepped; see `QuasiGeostrophic`."""

    scheme: Scheme
    time_step: float
    rtol: float
    cfl: float
    filter_interval: float


class Trajectory:
    """One trajectory, or a torch batch that steps together.

    Args:
        model: the equations.
        steps: scheme, step, tolerances.
        backend: compiled passes, or array code in numpy or torch.
        batch: trajectories; more than one for torch only.
        device: where torch works.
        threads: that step a compiled trajectory together.
    """

    def __init__(
        self,
        model: Model,
        steps: Steps,
        backend: Backend,
        batch: int = 1,
        device: str = "cpu",
        threads: int = 1,
    ) -> None:
        self._model, self._steps = model, steps
        where = device if backend == "torch" else None
        self._tendency = Tendency(model, batch, where)
        self._state: State
        if backend == "compiled":
            from opkit.solvers.quasi_geostrophic.compiled import CompiledState

            self._state = CompiledState(model, threads)
        else:
            self._state = ArrayState(model, batch, where)
        self._log_decay = model.log_filter / steps.filter_interval
        ny, nx = model.parameters.shape
        ly, lx = model.parameters.extent
        self._spacing = (ly / ny, lx / nx)
        self._dt = self._target = math.inf

    def start(self, q: Array) -> None:
        """Begin at q (batch, layer, y, x), 1/s."""
        self._state.start(np.fft.rfft2(q))
        self._dt = self._target = math.inf

    def fields(self) -> tuple[Array, Array]:
        """Return q and ψ (batch, layer, y, x), 1/s and m²/s.

        Raises:
            NonFiniteError: the state is not finite.
        """
        q_hat = self._state.q_hat
        both = self._tendency.stack((q_hat, self._tendency.streamfunction(q_hat)))
        values = np.asarray(both if isinstance(both, np.ndarray) else both.cpu())
        if not np.isfinite(values).all():
            raise NonFiniteError("the potential vorticity is no longer finite")
        shape = self._model.parameters.shape
        q, psi = np.fft.irfft2(values, s=shape)
        return q, psi

    def advance(self, duration: float) -> Array:
        """Move on by ``duration``, s.

        Returns:
            (batch,) sum of the estimated relative local errors of the steps.

        Raises:
            CFLError: the step is too long for the flow (fixed steps).
            NotConvergedError: the tolerance cannot be met (chosen steps).
            NonFiniteError: the state is not finite.
        """
        # What overflows is refused below, or tried again.
        with np.errstate(over="ignore", invalid="ignore"):
            if self._steps.scheme == "pyqg":
                return self._fixed(duration)
            return self._adaptive_steps(duration)

    def _fixed(self, duration: float) -> Array:
        dt = self._steps.time_step
        self._check_courant(dt)
        count = round(duration / dt)
        error = self._state.adams_bashforth(dt, count)
        if not np.isfinite(error).all():
            raise NonFiniteError(
                f"the flow blew up with time_step {dt:g} s: choose a shorter one"
            )
        self._check_courant(dt)
        return count * error

    def _adaptive_steps(self, duration: float) -> Array:
        """Take the fewest equal steps that Courant number and last errors allow."""
        remainder, total = duration, np.zeros(1)
        while remainder > 0:
            longest = min(self._target, self._steps.cfl / self._courant_rate())
            count = math.ceil(remainder / longest * (1 - _ROUND_OFF))
            # A step used before is kept where it fits: its weights are at hand.
            before = round(remainder / self._dt)
            same = abs(before * self._dt / remainder - 1) < _ROUND_OFF
            if same and count <= before <= 1.3 * count + 1:
                count = before
            else:
                self._dt = remainder / count
            # The first step of all only shows how long steps may be.
            part = min(count, _PIECE) if math.isfinite(self._target) else 1
            rest = (count - part) * self._dt
            total = total + self._piece(part)
            remainder = rest
        return total

    def _piece(self, count: int) -> Array:
        """Take ``count`` steps, or more and shorter ones where the error is large."""
        state, rtol = self._state, self._steps.rtol
        start, duration, most = state.q_hat, count * self._dt, _FINEST * count
        while True:
            self._dt = duration / count
            errors = state.runge_kutta(self._dt, count, self._log_decay)
            worst = float(errors.max())
            if worst <= rtol:
                # Local errors go with dt⁴; round-off is no reason to grow.
                grow = (0.5 * rtol / max(worst, 1e-14)) ** 0.25
                self._target = self._dt * min(max(grow, 0.5), 2.0)
                return np.asarray(errors.sum(axis=0))
            if count > most:
                raise NotConvergedError(
                    f"local error {worst:.1e} > rtol {rtol:.1e} at steps of "
                    f"{self._dt:.2g} s: raise rtol"
                )
            finite = math.isfinite(worst)
            more = 1.2 * (worst / rtol) ** 0.25 if finite else 2.0
            count = math.ceil(count * min(max(more, 1.1), 4.0))
            state.start(start)

    def _courant_rate(self) -> float:
        """max(|u|/dx + |v|/dy), 1/s."""
        u, v, _ = self._tendency.velocities(self._state.q_hat)
        dy, dx = self._spacing
        rate = float((abs(u) / dx + abs(v) / dy).max())
        if not math.isfinite(rate):
            raise NonFiniteError("the velocity is no longer finite")
        return max(rate, 1e-30)

    def _check_courant(self, dt: float) -> None:
        courant = dt * self._courant_rate()
        if courant > self._steps.cfl:
            raise CFLError(
                f"Courant number {courant:.2f} > cfl {self._steps.cfl:g}: "
                f"choose time_step below {dt * self._steps.cfl / courant:.0f} s"
            )
