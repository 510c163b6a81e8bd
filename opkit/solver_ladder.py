"""How fast the classical solver is when it may be as wrong as a surrogate.

A surrogate with an error of 2 % competes with the solver on the coarsest grid and at
the loosest tolerance that still give 2 %, not with the solver at its full accuracy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample

from opkit.case import Case, Variable
from opkit.errors import OpkitInputError, SolverError
from opkit.solvers.interface import Fields

COARSEST = 8
"""Fewest steps along an axis of a coarse grid."""
Array = NDArray[Any]


@dataclass(frozen=True)
class Rung:
    """The classical solver at one accuracy.

    Args:
        resolution: points along each axis.
        rtol: its tolerance; None where it has none.
        relative_l2: its error, measured as the surrogate's.
        seconds: a sample, in a batch.
    """

    resolution: tuple[int, ...]
    rtol: float | None
    relative_l2: float
    seconds: float


def ladder(
    case: Case, inputs: Fields, error: Callable[[Fields], float], wanted: float
) -> list[Rung]:
    """Solve ever more cheaply until the error is above ``wanted``.

    First the case's own grid and tolerance; then a tenth of the wanted error as the
    tolerance; then that on grids of 1/2, 1/3, … of the steps. On periodic axes fields
    change grids by their Fourier series, on others inputs are taken at every second,
    third, … node and outputs interpolated linearly. Grids that the solver refuses are
    left out.

    Args:
        case: of a problem on a grid.
        inputs: variable name to (batch, *dims) on the case's grid.
        error: of outputs on the case's grid.
        wanted: the surrogate's error.

    Returns:
        The rungs climbed down, the last one possibly above the wanted error.
    """
    found = []
    for factor, solver in _solvers(case, wanted):
        try:
            solve_coarsely(case, solver, {k: v[:1] for k, v in inputs.items()}, factor)
            begin = time.perf_counter()
            outputs = solve_coarsely(case, solver, inputs, factor)
            seconds = time.perf_counter() - begin
        except (SolverError, OpkitInputError):
            continue
        count = len(next(iter(inputs.values())))
        size = tuple(int(n) for n in solver.resolution)
        rtol = getattr(solver, "rtol", None)
        found.append(Rung(size, rtol, error(outputs), seconds / count))
        if factor > 1 and not found[-1].relative_l2 <= wanted:
            break
    return found


def cheapest(rungs: Sequence[Rung], wanted: float) -> Rung | None:
    """Return the fastest rung whose error is at most ``wanted``."""
    good = [rung for rung in rungs if rung.relative_l2 <= wanted]
    return min(good, key=lambda rung: rung.seconds, default=None)


def solve_coarsely(case: Case, solver: Any, inputs: Fields, factor: int) -> Fields:
    """Solve on a grid of 1/factor of the steps; return outputs on the case's grid.

    Args:
        case: for dims and periodicity.
        solver: built for the coarse grid.
        inputs: on the case's grid.
        factor: divides the steps of every axis.
    """
    if factor == 1:
        outputs: Fields = solver.solve(inputs).outputs
        return outputs
    coarse = {
        v.name: _each_axis(case, v, inputs[v.name], factor, _down) for v in case.inputs
    }
    outputs = solver.solve(coarse).outputs
    return {
        v.name: _each_axis(case, v, outputs[v.name], factor, _up) for v in case.outputs
    }


def _solvers(case: Case, wanted: float) -> Iterator[tuple[int, Any]]:
    solver: Any = case.build_solver()
    yield 1, solver
    for rtol in (wanted / 10, 1e-2):
        loose = _changed(solver, rtol=rtol) if hasattr(solver, "rtol") else None
        if loose is not None and rtol > solver.rtol:
            solver = loose
            yield 1, solver
            break
    yield from coarser(case, solver)


def coarser(case: Case, solver: Any) -> Iterator[tuple[int, Any]]:
    """Yield factors that divide the steps of every axis, and solvers on those grids.

    Grids of fewer than `COARSEST` steps, and those that the solver refuses, are left
    out.
    """
    periodic = [case.periodic[axis] for axis in case.space]
    steps = [n - (not p) for n, p in zip(case.shape, periodic, strict=True)]
    for factor in range(2, min(steps) // COARSEST + 1):
        if any(n % factor for n in steps):
            continue
        shape = (n // factor + (not p) for n, p in zip(steps, periodic, strict=True))
        coarse = _changed(solver, resolution=tuple(shape))
        if coarse is not None:
            yield factor, coarse


def _changed(solver: Any, **values: Any) -> Any:
    try:
        return replace(solver, **values)
    except ValueError:
        return None


def _each_axis(
    case: Case,
    variable: Variable,
    field: Array,
    factor: int,
    change: Callable[[Array, int, int, bool], Array],
) -> Array:
    for axis in case.space:
        if axis in variable.dims:
            where = 1 + variable.dims.index(axis)
            field = change(field, where, factor, case.periodic[axis])
    return field


def _down(field: Array, axis: int, factor: int, periodic: bool) -> Array:
    if periodic:
        return np.asarray(resample(field, field.shape[axis] // factor, axis=axis))
    return np.take(field, range(0, field.shape[axis], factor), axis=axis)


def _up(field: Array, axis: int, factor: int, periodic: bool) -> Array:
    if periodic:
        return np.asarray(resample(field, field.shape[axis] * factor, axis=axis))
    u = np.moveaxis(field, axis, -1)
    weight = np.arange(factor) / factor
    left, right = u[..., :-1, None], u[..., 1:, None]
    fine = (left * (1 - weight) + right * weight).reshape(*u.shape[:-1], -1)
    return np.moveaxis(np.concatenate([fine, u[..., -1:]], -1), -1, axis)
