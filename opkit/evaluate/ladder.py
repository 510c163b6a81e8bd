"""The honest ladder of a solver: cheaper, less accurate solves of the same problem.

A surrogate with an error of 2 % competes with the cheapest solve that is off by 2 %,
not with the solver at its full accuracy.
"""

from __future__ import annotations

from opkit.case.record import Case
from opkit.evaluate.coarse import changed, coarser
from opkit.solvers.interface import Ladder, MeshPerSample, Solver, Tolerance

FULL = "solver"
"""Label of the full solve."""
LOOSEST = 0.1
"""Largest relative tolerance that is tried."""
COARSE = 1e-2
"""The same on coarser grids and meshes."""


def rungs(
    case: Case, solver: Solver, target: float | None = None
) -> list[tuple[str, Solver]]:
    """Return label and solver of each rung below the full solve, dearest first.

    A solver that knows its own (`Ladder`) names them. For others they are, on the
    case's own grid or mesh, a tenth of the target and the target itself as the
    tolerance; then ever coarser grids or meshes (`opkit.evaluate.coarse`) with a tenth
    of the target. What the solver refuses is left out.

    Args:
        case: of the problem.
        solver: of the case.
        target: relative error that is enough; None leaves tolerances as they are.
    """
    if isinstance(solver, Ladder):
        return list(solver.cheaper())
    own_mesh = isinstance(solver, MeshPerSample)  # which no coarser grid changes
    if target is None:
        return [] if own_mesh else list(_coarse(case, solver))
    steps: list[tuple[str, Solver]] = []
    for rtol in sorted({min(part * target, LOOSEST) for part in (0.1, 1.0)}):
        loose = _with_tolerance(solver, rtol)
        if loose is not None:
            steps.append((f"rtol {rtol:.1g}", loose))
    if own_mesh:
        return steps
    below = _with_tolerance(solver, min(0.1 * target, COARSE)) or solver
    return [*steps, *_coarse(case, below)]


def _coarse(case: Case, solver: Solver) -> list[tuple[str, Solver]]:
    return [(f"coarse solve 1/{c.factor}", c) for c in coarser(case, solver)]


def _with_tolerance(solver: Solver, rtol: float) -> Solver | None:
    """Return the solver with a looser tolerance, None where there is none."""
    if not isinstance(solver, Tolerance) or rtol <= solver.rtol:
        return None
    return changed(solver, rtol=rtol)
