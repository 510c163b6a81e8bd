"""Whole trajectories in array code: numpy without numba and FFTW, torch on GPUs.

The right-hand side in Basdevant's form, two inverse and two forward real transforms:

    N(ω) = (∂yy − ∂xx)(u v) + ∂x∂y(u² − v²) + f.

The samples of a batch share the arrays, and each has its own step; a sample that has
reached the record time takes steps of length zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from opkit.base.arrays import Array
from opkit.base.device import present
from opkit.errors import require
from opkit.solvers.fourier.transforms import Backend, RealFFT
from opkit.solvers.navier_stokes import step_control as control
from opkit.solvers.navier_stokes.model import Problem, Status, Trajectories
from opkit.solvers.steppers import IFRK4
from opkit.solvers.steppers.exponential import ExponentialStep


def solve(
    problem: Problem, vorticity: Array, begin: float, times: Array, device: str | None
) -> Trajectories:
    """Solve from fields (sample, N, N) at time ``begin`` to records at ``times``.

    Args:
        problem: equation and accuracy.
        vorticity: initial fields.
        begin: their time.
        times: of the records, increasing.
        device: torch's name of where to work; numpy where it is ``None``.
    """
    result = Trajectories(np.empty((len(vorticity), len(times), *vorticity.shape[1:])))
    # numpy's transforms may round differently with the batch: one sample at a time
    groups = [slice(i, i + 1) for i in range(len(vorticity))]
    with np.errstate(over="ignore", invalid="ignore"):  # found by isfinite
        for group in groups if device is None else [slice(None)]:
            _Batch(problem, vorticity[group], begin, device).march(times, result, group)
    return result


class _Batch:
    def __init__(
        self, problem: Problem, vorticity: Array, begin: float, device: str | None
    ) -> None:
        n, most, count = problem.points, problem.most, len(vorticity)
        self._problem = problem
        self._asarray: Callable[[Any], Any] = np.ascontiguousarray
        if device is not None:
            torch = require("torch", "all")
            place = present(device)
            self._asarray = lambda a: torch.as_tensor(a, device=place)
        backend: Backend = "auto" if device is None else "torch"
        shapes = ((count,), (2, count))
        self._one, self._two = (
            RealFFT((n, n), batch, backend, device=device or "cpu") for batch in shapes
        )
        unit = 2 * np.pi / problem.length
        rows = np.fft.fftfreq(n, 1 / n)[:, None]
        kx, ky = unit * np.arange(n // 2 + 1), unit * rows
        band = (np.arange(n // 2 + 1) <= most) & (np.abs(rows) < most + 0.5)
        squared = kx**2 + ky**2
        squared[0, 0] = 1
        # per mode: velocities of vorticity, and derivatives of the products
        self._velocity = self._asarray(
            np.stack([1j * (ky + 0 * kx), -1j * (kx + 0 * ky)]) / squared
        )
        self._products = self._asarray(
            np.stack([band * (kx**2 - ky**2), -kx * ky * band])
        )
        forcing = np.fft.rfft2(problem.forcing) * band
        forcing[0, 0] = 0
        self._forcing = self._asarray(forcing)
        self._mean = self._asarray(np.array(problem.mean_flow))[:, None, None, None]
        self._linear = self._asarray(-(problem.viscosity * squared + problem.drag))
        weight = np.where(kx == 0, 1.0, 2.0) * band / n**4  # half plane
        self._weight = self._asarray(weight)
        mask = band.copy()
        mask[0, 0] = False
        self._state = self._one.forward(self._asarray(vorticity)) * self._asarray(mask)
        self._pair = self._asarray(np.empty((2, count, n, n)))
        self._slope = self._nonlinear(self._state)
        self._speed = _host(_largest(self._largest))
        self._time = np.full(count, begin)
        self._step = np.full(count, problem.first_step)
        self._previous = np.zeros(count)
        self._past, self._past_slope = 0 * self._state, 0 * self._state

    def march(self, times: Array, into: Trajectories, group: slice) -> None:
        """Write the group's records and numbers."""
        for record, time in enumerate(times):
            status = self._advance(time, into, group)
            into.status[group] = status
            if status.any():
                return
            fields = self._one.inverse(1 * self._state)
            into.vorticity[group, record] = _host(fields)

    def _nonlinear(self, state: Any) -> Any:
        u, v = self._two.inverse(self._velocity[:, None] * state) + self._mean
        self._largest = (abs(u) + abs(v)).reshape(len(state), self._problem.points**2)
        self._pair[0] = u * v
        self._pair[1] = (u - v) * (u + v)
        products = self._two.forward(self._pair)
        return (self._products[:, None] * products).sum(0) + self._forcing

    def _norm(self, state: Any) -> Array:
        """Root mean square of the fields, one a sample."""
        total = (abs(state) ** 2 * self._weight).sum((-2, -1))
        norm: Array = np.sqrt(_host(total))
        return norm

    def _estimate(self, step: ExponentialStep, new: Any, dt: Array) -> Array:
        """Size of the defect, or of the embedded difference at a first step."""
        first = self._previous == 0
        ratio = np.divide(self._previous, dt, out=np.ones_like(dt), where=dt > 0)
        a, b0, b1, b2 = control.defect_weights(np.where(first, 1.0, ratio))
        a, b0, b1, b2, h = (
            self._asarray(w[:, None, None]) for w in (a, b0, b1, b2, dt)
        )
        # the past already carries the decay of the step that followed it
        known = (1 - a) * self._state + h * b1 * self._slope
        known = known + a * self._past + h * b0 * self._past_slope
        defect = new - h * b2 * step.slope - self._decay(h) * known
        embedded = self._norm(step.difference)
        return np.where(first, embedded, self._norm(defect / (1 + a)))

    def _decay(self, dt: Any) -> Any:
        z = self._linear * dt
        return np.exp(z) if isinstance(z, np.ndarray) else z.exp()

    def _accept(self, moved: Any, new: Any, slope: Any, dt: Array) -> None:
        decay = self._decay(self._asarray(dt[:, None, None]))
        self._past = _where(moved, decay * self._state, self._past)
        self._past_slope = _where(moved, decay * self._slope, self._past_slope)
        self._state = _where(moved, new, self._state)
        self._slope = _where(moved, slope, self._slope)

    def _advance(self, until: float, into: Trajectories, group: slice) -> Any:
        """Advance all samples to ``until``; return their `Status`."""
        problem = self._problem
        spacing = problem.length / problem.points
        fixed = problem.dt > 0
        rejections = np.zeros(len(self._time), int)
        status = np.zeros(len(self._time), int)
        shortest = 0.0 if fixed else control.SHORTEST * (until - self._time)
        while (self._time < until).any() and not status.any():
            remaining = until - self._time
            limit = problem.cfl * spacing / np.maximum(self._speed, 1e-300)
            wish = problem.dt if fixed else np.minimum(limit, self._step)
            hopeless = np.asarray(wish < shortest)
            if hopeless.any():
                status[hopeless] = Status.NOT_CONVERGED
                break
            dt = control.divide(remaining, wish)
            if fixed:
                status[dt > limit] = Status.CFL_VIOLATED
            step = IFRK4.prepare(
                self._linear,
                self._asarray(dt[:, None, None]),
                self._nonlinear,
                self._asarray,
            )
            new = step(self._state, self._slope)
            norm = self._norm(new)
            distance = self._estimate(step, new, dt)
            finite = np.isfinite(norm) & np.isfinite(distance)
            error = np.divide(
                distance, norm, out=np.zeros_like(norm), where=distance > 0
            )
            allowed = problem.rtol / problem.duration * dt
            moving = dt > 0
            good = ~moving | (finite & (fixed | (error <= allowed)))
            rejections = np.where(good, 0, rejections + 1)
            if fixed:
                status[~finite] = Status.NOT_FINITE
            lost = rejections > control.MAX_REJECTIONS
            status[lost] = np.where(finite, Status.NOT_CONVERGED, Status.NOT_FINITE)[
                lost
            ]
            moved = good & moving
            self._accept(self._asarray(moved[:, None, None]), new, step.slope, dt)
            self._previous = np.where(moved, dt, self._previous)
            factor = np.where(
                finite, control.factor(error, np.maximum(allowed, 1e-300)), 0.2
            )
            self._step = np.where(moving, dt * factor, self._step)
            self._time = np.where(
                good, np.where(dt == remaining, until, self._time + dt), self._time
            )
            into.cfl[group] = np.maximum(
                into.cfl[group], moved * dt * self._speed / spacing
            )
            into.error[group] += moved * np.where(finite, error, 0)
            into.steps[group] += moved
            into.rejected[group] += ~good
            into.turnover[group] += np.where(moved, norm * dt, 0)
            fastest = _host(_largest(self._largest))
            self._speed = np.where(good, fastest, self._speed)
        return status


def _host(array: Any) -> Any:
    return array if isinstance(array, np.ndarray) else array.cpu().numpy()


def _where(condition: Any, yes: Any, no: Any) -> Any:
    if isinstance(yes, np.ndarray):
        return np.where(condition, yes, no)
    return yes.where(condition, no)


def _largest(array: Any) -> Any:
    return array.max(1) if isinstance(array, np.ndarray) else array.amax(1)
