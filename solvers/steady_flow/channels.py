"""What the solvers of steady flow through a channel have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from opkit.base.arrays import Array
from opkit.solvers.fem.quads.grids import QuadGrid
from opkit.solvers.fem.quads.solution import GridSolution, Values, grid_solution
from opkit.solvers.fem.quads.solver import Across, GridSolver
from opkit.solvers.interface import Sides, all_sides, solver_dataclass
from opkit.solvers.steady_flow.variables import VELOCITY

if TYPE_CHECKING:
    from opkit.solvers.steady_flow.flow import SteadyFlow


@dataclass(frozen=True)
class Conditions:
    """What drives the flow of one sample, in units in which the inlet has its profile.

    Args:
        inlet: c of the inlet's profile c t (1 - t).
        viscosity: ν.
        thickest: ν at the start of the path.
        speed: unit of the velocity.
    """

    inlet: float
    viscosity: float
    thickest: float
    speed: float = 1.0


@solver_dataclass
class ChannelSolver(GridSolver):
    """Base of the solvers of steady flow, fields on (y, x) = (upwards, downstream).

    Args:
        resolution: points across and along, both odd.
        load_steps: of the path for each twenty-fold Reynolds number.
        rtol: see `GridSolver`.
        path_tolerance: see `GridSolver`.
    """

    outputs = (*VELOCITY, "pressure")
    state = (*VELOCITY, "pressure")
    axes = ("upwards", "downstream")
    along_y = False

    resolution: tuple[Across, Across] = (65, 257)

    @property
    def grid(self) -> QuadGrid:
        """Numbering of the nodes: downstream, then upwards."""
        across, along = self.resolution
        return QuadGrid((along - 1) // 2, (across - 1) // 2)

    def sides(self) -> Sides:
        """Velocity given at the inlet and 0 on the walls, no traction at the outlet."""
        return {**all_sides("dirichlet"), "right": {"kind": "neumann", "value": 0.0}}

    @abstractmethod
    def conditions(self, sample: Values) -> Conditions:
        """What drives the flow.

        Raises:
            OpkitInputError: a Reynolds number out of range.
        """

    def quantities(
        self, flow: SteadyFlow, fields: Mapping[str, Array]
    ) -> Mapping[str, float]:
        """Numbers made of the fields (node,)."""
        return {"pressure_drop": flow.pressure_drop(fields["pressure"])}

    def solve_one(self, sample: Values, initial: Values | None = None) -> GridSolution:
        """Solve for one sample.

        Args:
            sample: its numbers.
            initial: of a guess (node,): both velocities; ``pressure`` may be missing.

        Raises:
            OpkitInputError: a number that cannot be used.
            NotConvergedError: no solution; names the last Reynolds number reached.
            MissingExtraError: FEniCSx is not installed.
        """
        flow, speed = self._flow(sample)
        guess = None if initial is None else flow.guess(initial, speed)
        state = flow.solve(self._numerics(), guess)
        velocity, pressure = flow.space.split(state.x)
        fields = {
            "velocity_x": speed * velocity[0],
            "velocity_y": speed * velocity[1],
            "pressure": speed**2 * self.grid.at_nodes(pressure),
        }
        return grid_solution(state, flow.points, fields, self.quantities(flow, fields))

    def residual_one(self, sample: Values, fields: Values) -> float:
        """Relative residual of fields, ``pressure`` recovered where it is missing."""
        flow, speed = self._flow(sample)
        x = flow.guess(fields, speed)
        if "pressure" not in fields:
            x = flow.with_multiplier(x)
        return flow.residual(x, 1.0)

    def _flow(self, sample: Values) -> tuple[SteadyFlow, float]:
        points, conditions = self.nodes(sample), self.conditions(sample)
        flow = _flow(self.grid)
        t = np.linspace(0, 1, self.grid.shape[1])
        inlet = conditions.inlet * t * (1 - t)
        plain = flow.lubrication(points, inlet, conditions.viscosity)
        flow.prepare(points, plain, conditions.viscosity, conditions.thickest)
        return flow, conditions.speed


@lru_cache(maxsize=16)
def _flow(grid: QuadGrid) -> SteadyFlow:
    from opkit.solvers.steady_flow.flow import SteadyFlow

    return SteadyFlow(grid)
