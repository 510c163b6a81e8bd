"""Steady flow over three bumps on the floor of a channel.

    (u·∇)u = -∇p + ∆u / Re,   ∇·u = 0 in 0 < x < L, b(x) < y < 1,
    u = (6 y (1 - y), 0) at x = 0,   u = 0 on the walls,   ∂u/∂n / Re = p n at x = L,

b: `shapes.floor`; Re: Reynolds number of the channel's height and the mean velocity,
which are the units; p in units of ρ times the mean velocity squared. Method:
`steady_flow`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from opkit.base.arrays import Array
from opkit.errors import OpkitInputError
from opkit.solvers.fem.quads.fields import gradients
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

_LIMIT = 600.0
_START = 20.0
_Reynolds = Annotated[float, Field(ge=1, le=_LIMIT)]


@solver_dataclass
class ChannelBumps:
    """Solver of steady flow over bumps.

    Parameters of a sample: ``bumps`` (bump, 3), rows of place, height and half width,
    and ``reynolds`` () in [1, 600]. Fields (node,): ``velocity_x``, ``velocity_y``,
    ``pressure``. Quantities: ``pressure_drop`` from inlet to outlet, ``reattachment``,
    the last x at which the flow on the floor runs upstream (0 where nowhere).

    Args:
        resolution: cells along and across.
        length: L.
        reynolds: bounds of the law, uniform in log Re.
        load_steps: of the path from Re = 20 to 400; in proportion to log Re.
        tolerance: largest relative residual.
        path_tolerance: the same before the full Reynolds number.
    """

    resolution: tuple[Cells, Cells] = (128, 24)
    length: Annotated[float, Field(ge=2, le=100)] = 12.0
    reynolds: tuple[_Reynolds, _Reynolds] = (100.0, 400.0)
    load_steps: Annotated[int, Field(ge=1)] = 1
    tolerance: Annotated[float, Field(ge=1e-12, lt=1)] = 1e-8
    path_tolerance: Annotated[float, Field(ge=1e-12, le=0.1)] = 1e-2

    @property
    def grid(self) -> QuadGrid:
        """Numbering of the nodes: downstream, then upwards."""
        return QuadGrid(*self.resolution)

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw the bumps, then the Reynolds number."""
        bumps = shapes.draw_bumps(rng)
        low, high = np.log(self.reynolds)
        return {"bumps": bumps, "reynolds": np.array(np.exp(rng.uniform(low, high)))}

    def points(self, parameters: Fields) -> Array:
        """Nodes (node, 2) of one sample; steps along grow from 0.6 to 1.8 of the mean.

        Raises:
            OpkitInputError: bumps that overlap, leave the channel, or pinch it off.
        """
        bumps = np.asarray(parameters.get("bumps", np.zeros(0)), dtype=np.float64)
        shapes.check_bumps(bumps, self.length)
        t = np.linspace(0, 1, self.grid.shape[0])
        x = self.length * (0.6 * t + 0.4 * t**3)
        return channel_grid(self.grid, x, shapes.floor(bumps, x), np.ones_like(x))

    def solve_one(
        self, parameters: Fields, initial: Fields | None = None
    ) -> GridSolution:
        """Solve for one sample.

        Args:
            parameters: ``bumps`` and ``reynolds``.
            initial: fields of a guess: both velocities; ``pressure`` may be missing.

        Raises:
            OpkitInputError: a parameter or a guess that cannot be used.
            NotConvergedError: no solution; names the last Reynolds number reached.
            MissingExtraError: FEniCSx is not installed.
        """
        flow, points = self._flow(parameters)
        guess = None if initial is None else flow.guess(initial, 1.0)
        state = flow.solve(self.tolerance, self.load_steps, self.path_tolerance, guess)
        velocity, pressure = flow.space.split(state.x)
        p = self.grid.at_nodes(pressure)
        fields = {"velocity_x": velocity[0], "velocity_y": velocity[1], "pressure": p}
        quantities = {
            "pressure_drop": flow.pressure_drop(p),
            "reattachment": self._reattachment(points, velocity),
        }
        return grid_solution(state, points, fields, quantities)

    def residual_one(self, parameters: Fields, fields: Fields) -> float:
        """Relative residual of fields; without a pressure, of a crude one."""
        flow, _ = self._flow(parameters)
        return flow.residual(flow.guess(fields, 1.0), 1.0)

    def _flow(self, parameters: Fields) -> tuple[SteadyFlow, Array]:
        points = self.points(parameters)
        reynolds = float(parameter(parameters, "reynolds", ()))
        if not 1 <= reynolds <= _LIMIT:
            raise OpkitInputError(
                f"reynolds {reynolds:.4g} must be in [1, {_LIMIT:g}]: beyond it, flow "
                "over bumps is not steady"
            )
        flow = _flow(self.grid)
        t = np.linspace(0, 1, self.grid.shape[1])
        plain = flow.lubrication(points, 6 * t * (1 - t), 1 / reynolds)
        flow.prepare(points, plain, 1 / reynolds, 1 / _START)
        return flow, points

    def _reattachment(self, points: Array, velocity: Array) -> float:
        """Where ∂u_x/∂y on the floor, at the middles of cells, changes sign last."""
        grid = self.grid
        cells = np.arange(grid.first) * grid.second
        middle = np.array([[0.5, 0.0]])
        shear = gradients(grid, points, velocity, middle)[cells, 0, 0, 1]
        x = points[grid.lattice[cells, 3], 0]
        back = np.flatnonzero(shear < 0)
        if not len(back):
            return 0.0
        k = int(back[-1])
        if k == len(x) - 1:
            return float(x[k])
        return float(x[k] + (x[k + 1] - x[k]) * shear[k] / (shear[k] - shear[k + 1]))


@lru_cache(maxsize=16)
def _flow(grid: QuadGrid) -> SteadyFlow:
    from opkit.solvers.steady_flow.flow import SteadyFlow

    return SteadyFlow(grid)
