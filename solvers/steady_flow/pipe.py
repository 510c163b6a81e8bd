"""Steady flow through a curved pipe, the benchmark of Geo-FNO.

    (u·∇)u = -∇p + ν ∆u,   ∇·u = 0 in 0 < x < 10, s(x) < y < s(x) + 1,
    u = (4 U η (1 - η), 0) at x = 0,   u = 0 on the walls,   ν ∂u/∂n = p n at x = 10,

η = y - s(x); s: `shapes.pipe_shift`; ν = 0.005; U: largest inlet velocity, 1 in the
paper and 0.25 in the published data, whose Reynolds number (mean velocity times height
over ν) is 33; p: kinematic pressure. Method: `steady_flow`. Source: Li et al., JMLR 24
(2023), and the authors' code ``pipe_design.py``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from opkit.base.arrays import Array
from opkit.solvers.fem.quads.grids import QuadGrid, channel_grid
from opkit.solvers.fem.quads.solution import (
    Cells,
    GridSolution,
    grid_solution,
    parameter,
)
from opkit.solvers.interface import Fields, solver_dataclass
from opkit.solvers.laws import shapes

if TYPE_CHECKING:
    from opkit.solvers.steady_flow.flow import SteadyFlow

_START = 40.0  # Reynolds number at which the path starts


@solver_dataclass
class Pipe:
    """Solver of steady flow through a curved pipe.

    Parameter of a sample: ``axis`` (5, 2), position and slope at five stations. Fields
    (node,): ``velocity_x``, ``velocity_y``, ``pressure``; 64 x 64 cells give the
    published 129 x 129 points. Quantity: ``pressure_drop``.

    Args:
        resolution: cells along and across.
        inlet: U.
        viscosity: ν.
        load_steps: of the path for each twenty-fold Reynolds number.
        tolerance: largest relative residual.
        path_tolerance: the same before the full Reynolds number.
    """

    resolution: tuple[Cells, Cells] = (64, 64)
    inlet: Annotated[float, Field(gt=0, le=2)] = 0.25
    viscosity: Annotated[float, Field(ge=1e-3, le=100)] = 0.005
    load_steps: Annotated[int, Field(ge=1)] = 2
    tolerance: Annotated[float, Field(ge=1e-12, lt=1)] = 1e-8
    path_tolerance: Annotated[float, Field(ge=1e-12, le=0.1)] = 1e-2

    @property
    def grid(self) -> QuadGrid:
        """Numbering of the nodes: downstream, then upwards."""
        return QuadGrid(*self.resolution)

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw the axis (5, 2)."""
        return {"axis": shapes.draw_pipe(rng)}

    def points(self, parameters: Fields) -> Array:
        """Nodes (node, 2) of one sample.

        Raises:
            OpkitInputError: an axis so steep that the pipe pinches off.
        """
        axis = parameter(parameters, "axis", (shapes.STATIONS, 2))
        x = np.linspace(0, shapes.PIPE_LENGTH, self.grid.shape[0])
        low = shapes.pipe_shift(axis, x)
        return channel_grid(self.grid, x, low, low + 1)

    def solve_one(
        self, parameters: Fields, initial: Fields | None = None
    ) -> GridSolution:
        """Solve for one sample.

        Args:
            parameters: ``axis``.
            initial: fields of a guess: both velocities; ``pressure`` may be missing.

        Raises:
            OpkitInputError: a parameter or a guess that cannot be used.
            NotConvergedError: no solution; names the last Reynolds number reached.
            MissingExtraError: FEniCSx is not installed.
        """
        flow, points = self._flow(parameters)
        guess = None if initial is None else flow.guess(initial, self.inlet)
        state = flow.solve(self.tolerance, self.load_steps, self.path_tolerance, guess)
        velocity, pressure = flow.space.split(state.x)
        velocity = self.inlet * velocity
        p = self.inlet**2 * self.grid.at_nodes(pressure)
        fields = {"velocity_x": velocity[0], "velocity_y": velocity[1], "pressure": p}
        drop = {"pressure_drop": flow.pressure_drop(p)}
        return grid_solution(state, points, fields, drop)

    def residual_one(self, parameters: Fields, fields: Fields) -> float:
        """Relative residual of fields; without a pressure, of a crude one."""
        flow, _ = self._flow(parameters)
        return flow.residual(flow.guess(fields, self.inlet), 1.0)

    def _flow(self, parameters: Fields) -> tuple[SteadyFlow, Array]:
        points, viscosity = self.points(parameters), self.viscosity / self.inlet
        flow = _flow(self.grid)
        t = np.linspace(0, 1, self.grid.shape[1])
        plain = flow.lubrication(points, 4 * t * (1 - t), viscosity)
        flow.prepare(points, plain, viscosity, 2 / 3 / _START)
        return flow, points


@lru_cache(maxsize=16)
def _flow(grid: QuadGrid) -> SteadyFlow:
    from opkit.solvers.steady_flow.flow import SteadyFlow

    return SteadyFlow(grid)
