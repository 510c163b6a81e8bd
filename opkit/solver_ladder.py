"""How fast the classical solver is when it may be as wrong as a surrogate.

A surrogate with an error of 2 % competes with the solver on the coarsest grid and at
the loosest tolerance that still give 2 %, not with the solver at its full accuracy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from opkit.case import Case
from opkit.coarse_solvers import Coarse, changed, coarser, uncoarsened
from opkit.errors import OpkitInputError, SolverError
from opkit.solvers.interface import Fields


@dataclass(frozen=True)
class Rung:
    """The classical solver at one accuracy.

    Args:
        resolution: points along each axis, or all nodes of a mesh.
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

    First the case's own grid or mesh and tolerance; then a tenth of the wanted error as
    the tolerance; then that on coarser ones (`opkit.coarse_solvers.coarser`). What the
    solver refuses is left out.

    Args:
        case: of the problem.
        inputs: variable name to (batch, *dims) on the case's grid.
        error: of outputs on the case's grid.
        wanted: the surrogate's error.

    Returns:
        The rungs climbed down, the last one possibly above the wanted error.
    """
    found = []
    for step in _steps(case, wanted):
        try:
            step.solve({k: v[:1] for k, v in inputs.items()})
            begin = time.perf_counter()
            outputs = step.solve(inputs)
            seconds = time.perf_counter() - begin
        except (SolverError, OpkitInputError):
            continue
        count = len(next(iter(inputs.values())))
        rtol = getattr(step.solver, "rtol", None)
        found.append(Rung(step.points, rtol, error(outputs), seconds / count))
        if step.factor > 1 and not found[-1].relative_l2 <= wanted:
            break
    return found


def cheapest(rungs: Sequence[Rung], wanted: float) -> Rung | None:
    """Return the fastest rung whose error is at most ``wanted``."""
    good = [rung for rung in rungs if rung.relative_l2 <= wanted]
    return min(good, key=lambda rung: rung.seconds, default=None)


def _steps(case: Case, wanted: float) -> Iterator[Coarse]:
    solver: Any = case.build_solver()
    yield uncoarsened(case, solver)
    for rtol in (wanted / 10, 1e-2):
        loose = changed(solver, rtol=rtol) if hasattr(solver, "rtol") else None
        if loose is not None and rtol > solver.rtol:
            solver = loose
            yield uncoarsened(case, solver)
            break
    yield from coarser(case, solver)
