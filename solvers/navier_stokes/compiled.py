"""Whole trajectories by compiled code: samples over threads, each on its own.

A sample's arithmetic involves nothing of the other samples, so its result is the same,
bit for bit, in any batch and on any number of threads.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import njit

from opkit.base.arrays import Array, Complex
from opkit.solvers.fourier.fftw import library
from opkit.solvers.fourier.transforms import RealFFT
from opkit.solvers.navier_stokes import step_control as control
from opkit.solvers.navier_stokes.compiled_step import (
    NUM_STATES,
    PAST,
    PAST_SLOPE,
    RESULT,
    RESULT_SLOPE,
    SLOPE,
    STATE,
    start,
    trial,
)
from opkit.solvers.navier_stokes.kernels import Passes, workspace
from opkit.solvers.navier_stokes.model import Problem, Trajectories

_factor = njit(cache=True, nogil=True)(control.factor)
_divide = njit(cache=True, nogil=True)(control.divide)
_MAX_REJECTIONS, _SHORTEST = control.MAX_REJECTIONS, control.SHORTEST

# What the numbers of a clock are.
TIME, SPEED, STEP, PREVIOUS, ERROR, STEPS, REJECTED, CFL, TURNOVER = range(9)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def advance(
    p: Passes,
    s: Any,
    order: Any,
    decay: Any,
    clock: Any,
    until: float,
    limits: tuple[float, float, float, float],
    rates: tuple[float, float],
) -> int:
    """Advance a trajectory to time ``until``; return a `Status`.

    Args:
        p: workspace.
        s: states, with STATE and SLOPE valid.
        order: which row of s is STATE, SLOPE, ...
        decay: see `trial`; valid for the step before.
        clock: see the names above; SPEED, STEP and PREVIOUS valid.
        until: record time.
        limits: cfl number, grid spacing, error a unit time, fixed step or 0.
        rates: viscosity, drag.
    """
    cfl, spacing, allowed_rate, fixed = limits
    viscosity, drag = rates
    rejections = 0
    shortest = _SHORTEST * (until - clock[TIME])
    while clock[TIME] < until:
        remaining = until - clock[TIME]
        limit = cfl * spacing / max(clock[SPEED], 1e-300)
        wish = fixed if fixed > 0 else min(limit, clock[STEP])
        if fixed == 0 and wish < shortest:
            return 3
        dt = _divide(remaining, wish)
        if fixed > 0 and dt > limit:
            return 2
        if rejections == 0:
            decay[2:] = decay[:2]
        decay[0, : p.kx.size] = np.exp(-dt / 2 * (viscosity * p.kx**2 + drag))
        decay[1] = np.exp(-dt / 2 * viscosity * p.ky**2)
        distance, norm, speed = trial(p, dt, clock[PREVIOUS], decay, s, order)
        finite = np.isfinite(distance) and np.isfinite(norm)
        if fixed > 0 and not finite:
            return 1
        error = distance / norm if distance > 0 else 0.0
        allowed = allowed_rate * dt
        if fixed == 0 and not (finite and error <= allowed):
            rejections += 1
            clock[REJECTED] += 1
            clock[STEP] = dt * (_factor(error, allowed) if finite else 0.2)
            if rejections > _MAX_REJECTIONS:
                return 3 if finite else 1
            continue
        rejections = 0
        _rotate(order)
        clock[TIME] = until if dt == remaining else clock[TIME] + dt
        clock[STEP] = dt * _factor(error, allowed)
        clock[CFL] = max(clock[CFL], dt * clock[SPEED] / spacing)
        clock[SPEED], clock[PREVIOUS] = speed, dt
        clock[ERROR] += error
        clock[STEPS] += 1
        clock[TURNOVER] += norm * dt
    return 0


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _rotate(order: Any) -> None:
    """Make the result the state, and the state the past."""
    for result, state, past in (
        (RESULT, STATE, PAST),
        (RESULT_SLOPE, SLOPE, PAST_SLOPE),
    ):
        free = order[past]
        order[past] = order[state]
        order[state] = order[result]
        order[result] = free


def solve(
    problem: Problem, vorticity: Array, begin: float, times: Array, threads: int
) -> Trajectories:
    """Solve from fields (sample, N, N) at time ``begin`` to records at ``times``."""
    library()  # plans and symbols, before threads start
    result = Trajectories(np.empty((len(vorticity), len(times), *vorticity.shape[1:])))
    local = _OneEach(problem)

    def one(sample: int) -> None:
        local.worker.march(vorticity[sample], begin, times, result, sample)

    if threads == 1 or len(vorticity) == 1:
        for sample in range(len(vorticity)):
            one(sample)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, range(len(vorticity))))
    return result


class _OneEach(threading.local):
    """A worker for each thread, made when that thread first asks."""

    def __init__(self, problem: Problem) -> None:
        self.worker = _Worker(problem)


class _Worker:
    """Workspace of one thread."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._passes = workspace(problem)
        self._fft = RealFFT((problem.points, problem.points))
        most = problem.most
        self._states = np.zeros(
            (NUM_STATES, most + 1, self._passes.ky.size), np.complex128
        )
        self._half = np.zeros(self._fft.spectral_shape, np.complex128)

    def march(
        self,
        initial: Array,
        begin: float,
        times: Array,
        into: Trajectories,
        sample: int,
    ) -> None:
        problem, states = self._problem, self._states
        spacing = problem.length / problem.points
        limits = (
            problem.cfl,
            spacing,
            problem.rtol / problem.duration,
            problem.dt,
        )
        self._order = np.arange(NUM_STATES)
        self._load(initial)
        decay = np.ones((4, self._passes.ky.size))
        clock = np.zeros(9)
        clock[TIME], clock[STEP] = begin, problem.first_step
        clock[SPEED] = start(self._passes, states, self._order)
        for record, time in enumerate(times):
            rates = (problem.viscosity, problem.drag)
            status = advance(
                self._passes, states, self._order, decay, clock, time, limits, rates
            )
            into.status[sample] = status
            if status:
                break
            self._store(into.vorticity[sample, record])
        into.error[sample] = clock[ERROR]
        into.steps[sample] = clock[STEPS]
        into.rejected[sample] = clock[REJECTED]
        into.cfl[sample] = clock[CFL]
        into.turnover[sample] = clock[TURNOVER]

    def _load(self, field: Array) -> None:
        """Truncated coefficients of a grid field, into STATE."""
        most, points = self._problem.most, self._problem.points
        self._fft.forward(field, self._half)
        self._states[...] = 0
        rows = np.arange(-most, most + 1) % points
        coefficients = self._half[rows, : most + 1].T / points**2
        coefficients[0, most] = 0  # a periodic velocity has no mean vorticity
        self._states[STATE, :, : 2 * most + 1] = coefficients

    def _store(self, out: Array) -> None:
        most, points = self._problem.most, self._problem.points
        rows = np.arange(-most, most + 1) % points
        state: Complex = self._states[self._order[STATE], :, : 2 * most + 1]
        self._half[...] = 0
        self._half[rows, : most + 1] = state.T
        self._fft.inverse(self._half, out, normalise=False)
