"""Cheaper solves on quadratic grids, as far as they give error for speed.

    full grid       from the solution on half the cells, which costs no accuracy and is
                    the honest rival of a prediction; looser tolerances, one load step
    coarser grids   with loose tolerances, with all load steps and with one

Outputs of a coarser grid are interpolated by its own elements at the nodes of the full
one: biquadratic, and bilinear in each cell for the pressure, which is the same thing at
its nodes. Lower order is not among them: bilinear elements for the displacement lock,
and linear ones for velocity and pressure are unstable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from opkit.base.arrays import Array
from opkit.errors import SolverError
from opkit.solvers.cheaper import AtNodesOf
from opkit.solvers.fem.quads.solution import GridSolution, Values
from opkit.solvers.interface import (
    Fields,
    Solution,
    Solver,
    with_parameters,
)

if TYPE_CHECKING:
    from opkit.solvers.fem.quads.solver import GridSolver


def solve_from_coarse(
    solver: GridSolver, sample: Values, cells: tuple[int, int], rtol: float = 1e-2
) -> GridSolution:
    """Solve one sample on a coarse grid, then on the solver's own from there.

    Where the path of loads is long, this costs the path on the coarse grid and one
    Newton on the fine one.

    Args:
        solver: of the fine grid.
        sample: its numbers.
        cells: of the coarse grid, along its two directions.
        rtol: largest relative residual there.

    Returns:
        The fine solution, whose counts do not contain the coarse solves.

    Raises:
        OpkitInputError: a number that cannot be used.
        SolverError: no solution on the fine grid. Without one on the coarse grid, the
            fine one is solved from cold.
    """
    coarse = with_parameters(solver, resolution=solver.with_cells(cells), rtol=rtol)
    try:
        solution = coarse.solve_one(sample)
    except SolverError:
        return solver.solve_one(sample)
    initial = {
        name: coarse.grid.interpolate(solution.fields[name], solver.grid)
        for name in solver.state
    }
    return solver.solve_one(sample, initial)


@dataclass(frozen=True)
class Cheaper(AtNodesOf["GridSolver"]):
    """A solver's cheaper version, with outputs at the solver's own nodes.

    Args:
        full: the solver.
        inner: the same on the grid and to the tolerance that is to be used.
        start: cells of a grid whose solution `inner` starts from, or none.
    """

    inner: GridSolver
    start: tuple[int, int] | None = None

    def solve(self, inputs: Fields) -> Solution:
        """Solve cheaply; outputs are on the full solver's grid.

        A sample that fails is tried once more, with more load steps.

        Raises:
            OpkitInputError: as the full solver.
            SolverError: no solution on this grid.
        """
        solution = self.inner.solve_by(inputs, self._one)
        if self.inner.grid == self.full.grid:
            return solution
        outputs = {
            name: self._prolong(np.asarray(values, np.float64))
            for name, values in solution.outputs.items()
        }
        return Solution(outputs, solution.error, solution.measure, solution.details)

    def _one(self, sample: Values) -> GridSolution:
        if self.start is not None:
            return solve_from_coarse(self.inner, sample, self.start)
        try:
            return self.inner.solve_one(sample)
        except SolverError:
            # as who has taken too large a step does: more of them
            steps = 2 * max(self.inner.load_steps, self.full.load_steps)
            return with_parameters(self.inner, load_steps=steps).solve_one(sample)

    def _prolong(self, values: Array) -> Array:
        inner, full = self.inner, self.full
        fine = inner.grid.interpolate(inner.in_order(values), full.grid)
        return np.ascontiguousarray(full.on_axes(fine))


def rungs(
    full: GridSolver, coarser: Sequence[tuple[int, int]]
) -> list[tuple[str, Solver]]:
    """Label and solver of each rung, dearest first.

    Args:
        full: the solver.
        coarser: cells of coarser grids, finest first; those with as many cells as the
            full grid, or more, are left out.
    """
    own = full.grid.first, full.grid.second
    half = own[0] // 2, own[1] // 2
    ladder: list[tuple[str, Solver]] = []
    if min(half) >= 4 and not (full.grid.periodic and half[1] % 4):
        for rtol in sorted({full.rtol, max(full.rtol, 1e-2)}):
            inner = with_parameters(full, rtol=rtol)
            label = f"{_cells(own)} cells from {_cells(half)}, rtol {rtol:.0e}"
            ladder.append((label, Cheaper(full, inner, half)))
    smaller = [c for c in coarser if c[0] < own[0] and c[1] < own[1]]
    for cells in (own, *smaller):
        resolution = full.with_cells(cells)
        steps_too = full.load_steps
        settings = [(1e-3, steps_too), (1e-2, steps_too), (1e-2, 1), (1e-1, 1)]
        for rtol, steps in dict.fromkeys(settings):
            if rtol <= full.rtol:
                continue
            label = f"{_cells(cells)} cells, rtol {rtol:.0e}"
            if full.load_steps > 1:
                label += f", load steps {steps}"
            inner = with_parameters(
                full, resolution=resolution, rtol=rtol, load_steps=steps
            )
            ladder.append((label, Cheaper(full, inner)))
    return ladder


def _cells(cells: tuple[int, int]) -> str:
    return f"{cells[0]} x {cells[1]}"
