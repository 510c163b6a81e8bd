"""A solve that starts from the same solver's solution on a coarser grid.

It needs no surrogate, and on fine grids it is the honest rival of one: where the path
of loads is long, it costs the path on the coarse grid and one Newton on the fine one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from opkit.errors import SolverError
from opkit.solvers.fem.quads.grids import QuadGrid
from opkit.solvers.fem.quads.solution import GridSolution
from opkit.solvers.interface import Fields


class GridSolver(Protocol):
    """A solver on a grid of quadrilaterals, a dataclass with a ``resolution``."""

    @property
    def grid(self) -> QuadGrid:
        """Numbering of the nodes."""
        ...

    def solve_one(
        self, parameters: Fields, initial: Fields | None = None
    ) -> GridSolution:
        """Solve for one sample."""
        ...


def solve_from_coarse[T: GridSolver](
    solver: T, parameters: Fields, resolution: tuple[int, int], tolerance: float = 1e-2
) -> GridSolution:
    """Solve on a coarse grid, then on the solver's own from there.

    Args:
        solver: of the fine grid.
        parameters: of the sample.
        resolution: of the coarse grid.
        tolerance: of the relative residual there.

    Returns:
        The fine solution, whose counts do not contain the coarse solves.

    Raises:
        OpkitInputError: a parameter that cannot be used.
        SolverError: no solution on the fine grid. Without one on the coarse grid, the
            fine one is solved from cold.
    """
    coarse: T = replace(  # type: ignore[type-var]
        solver, resolution=resolution, tolerance=tolerance
    )
    try:
        solution = coarse.solve_one(parameters)
    except SolverError:
        return solver.solve_one(parameters)
    initial = {
        name: coarse.grid.interpolate(field, solver.grid)
        for name, field in solution.fields.items()
    }
    return solver.solve_one(parameters, initial)
