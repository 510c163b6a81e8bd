"""Steady flow over three bumps on the floor of a channel.

    (u·∇)u = -∇p + ∆u / Re,   ∇·u = 0 in 0 < x < L, b(x) < y < 1,
    u = (6 y (1 - y), 0) at x = 0,   u = 0 on the walls,   ∂u/∂n / Re = p n at x = L,

b: `shapes.floor`; Re: Reynolds number of the channel's height and the mean velocity,
which are the units; p in units of ρ times the mean velocity squared. Method:
`steady_flow`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from opkit.base.arrays import Array
from opkit.errors import OpkitInputError
from opkit.solvers.fem.quads.grids import channel_grid
from opkit.solvers.fem.quads.solution import Values
from opkit.solvers.fem.quads.solver import Across
from opkit.solvers.interface import solver_dataclass
from opkit.solvers.laws import shapes
from opkit.solvers.steady_flow.channels import ChannelSolver, Conditions
from opkit.solvers.steady_flow.variables import VELOCITY

if TYPE_CHECKING:
    from opkit.solvers.steady_flow.flow import SteadyFlow

_LIMIT = 600.0
_START = 20.0


@solver_dataclass
class ChannelBumps(ChannelSolver):
    """Solver of steady flow over bumps.

    Numbers of a sample: ``places``, ``heights``, ``widths`` (bump,) of the bumps, a
    width is half of what the bump covers; ``reynolds`` () in [1, 600]. Outputs on
    (y, x): ``velocity_x``, ``velocity_y``, ``pressure``. Details: ``pressure_drop``
    from inlet to outlet, ``reattachment``, the last x at which the flow on the floor
    runs upstream (0 where nowhere).

    Args:
        resolution: see `ChannelSolver`.
        load_steps: of the path from Re = 20 to 400; in proportion to log Re.
        rtol: see `GridSolver`.
        path_tolerance: see `GridSolver`.
        reynolds: Re where a sample has none.
        bumps: how many there are.
        length: L.
    """

    coarser = (
        (128, 24),
        (96, 16),
        (80, 14),
        (64, 12),
        (48, 12),
        (48, 8),
        (32, 8),
        (24, 6),
    )

    resolution: tuple[Across, Across] = (49, 257)
    reynolds: Annotated[float, Field(ge=1, le=_LIMIT)] = 400.0
    bumps: Annotated[int, Field(ge=2, le=100)] = 3
    length: Annotated[float, Field(ge=2, le=100)] = 12.0

    def parameters(self) -> Mapping[str, tuple[int, ...]]:
        """The bumps and the Reynolds number."""
        vectors = dict.fromkeys(("places", "heights", "widths"), (self.bumps,))
        return {**vectors, "reynolds": ()}

    def own(self) -> Mapping[str, float]:
        """The Reynolds number."""
        return {"reynolds": self.reynolds}

    def nodes(self, sample: Values) -> Array:
        """Nodes (node, 2) of one sample; steps along grow from 0.6 to 1.8 of the mean.

        Raises:
            OpkitInputError: bumps that overlap, leave the channel, or pinch it off.
        """
        names = ("places", "heights", "widths")
        bumps = np.stack([sample[name] for name in names], axis=1)
        shapes.check_bumps(bumps, self.length)
        t = np.linspace(0, 1, self.grid.shape[0])
        x = self.length * (0.6 * t + 0.4 * t**3)
        return channel_grid(self.grid, x, shapes.floor(bumps, x), np.ones_like(x))

    def conditions(self, sample: Values) -> Conditions:
        """A parabola of mean velocity 1."""
        reynolds = float(sample["reynolds"])
        if not 1 <= reynolds <= _LIMIT:
            raise OpkitInputError(
                f"reynolds {reynolds:.4g} must be in [1, {_LIMIT:g}]: beyond it, flow "
                "over bumps is not steady"
            )
        return Conditions(6.0, 1 / reynolds, 1 / _START)

    def quantities(
        self, flow: SteadyFlow, fields: Mapping[str, Array]
    ) -> Mapping[str, float]:
        """Pressure drop and reattachment."""
        velocity = np.stack([fields[name] for name in VELOCITY])
        return {
            **super().quantities(flow, fields),
            "reattachment": self._reattachment(flow.points, velocity),
        }

    def _reattachment(self, points: Array, velocity: Array) -> float:
        """Where ∂u_x/∂y on the floor, at the middles of cells, changes sign last."""
        # x does not change along the second direction: ∂u/∂y = u_η / y_η there, and the
        # slope of a parabola through the floor's three nodes is (-3, 4, -1) of them
        shape = self.grid.shape
        x, y = (points[:, k].reshape(shape)[1::2, :3] for k in (0, 1))
        u, slope = velocity[0].reshape(shape)[1::2, :3], np.array([-3.0, 4.0, -1.0])
        shear, x = (u @ slope) / (y @ slope), x[:, 0]
        back = np.flatnonzero(shear < 0)
        if not len(back):
            return 0.0
        k = int(back[-1])
        if k == len(x) - 1:
            return float(x[k])
        return float(x[k] + (x[k + 1] - x[k]) * shear[k] / (shear[k] - shear[k + 1]))
