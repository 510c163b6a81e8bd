"""One topology of the channel with its cylinder: what a sample needs, in dolfinx."""

from __future__ import annotations

import numpy as np

from opkit.base.arrays import Array
from opkit.solvers.cylinder_wake.cylinder import Cylinder
from opkit.solvers.cylinder_wake.grid import Channel, WakeGrid
from opkit.solvers.cylinder_wake.operators import FlowForms, FlowMatrices
from opkit.solvers.cylinder_wake.run import Run
from opkit.solvers.cylinder_wake.stepper import State, Stepper

KICK = 0.5
"""Largest speed of the cylinder's surface while it turns, over U."""
_PATIENCE = 30.0  # longest time without a minimum of the lift, in diameters over U


class WakeFlow:
    """The compiled forms on one grid.

    Args:
        grid: topology.
        channel: the rectangle.
    """

    def __init__(self, grid: WakeGrid, channel: Channel) -> None:
        self.grid, self.channel = grid, channel
        H = channel.height
        points = grid.points(channel, np.array([H / 2, H / 2]), H / 8)
        self._forms = FlowForms(grid, points)
        self._fixed = np.unique(np.concatenate([grid.cylinder, grid.inlet, grid.walls]))

    def points(self, cylinder: Cylinder) -> Array:
        """Nodes (node, 2)."""
        centre = np.array(cylinder.centre)
        return self.grid.points(self.channel, centre, cylinder.radius)

    def matrices(self, cylinder: Cylinder) -> FlowMatrices:
        """Assemble for a sample."""
        return self._forms.assemble(self.points(cylinder))

    def stepper(self, cylinder: Cylinder, matrices: FlowMatrices) -> Stepper:
        """Steps of a sample; the cylinder turns until `Cylinder.rests`."""
        points, fixed = self.points(cylinder), self._fixed
        rest = np.zeros((len(fixed), 2))
        inlet = np.isin(fixed, self.grid.inlet)
        rest[inlet, 0] = self.profile(points[fixed[inlet], 1])
        surface = np.isin(fixed, self.grid.cylinder)
        arm = (points[fixed[surface]] - cylinder.centre) / cylinder.radius
        tangent = KICK * np.stack([-arm[:, 1], arm[:, 0]], axis=1)

        def inflow(time: float) -> Array:
            if time >= cylinder.rests:
                return rest
            velocity = rest.copy()
            velocity[surface] = np.sin(2 * np.pi * time / cylinder.turn) * tangent
            return velocity

        nu = cylinder.viscosity
        return Stepper(matrices, nu, fixed, inflow, body=self.grid.cylinder)

    def run(self, cylinder: Cylinder, courant: float) -> Run:
        """Prepare to advance a sample."""
        stepper = self.stepper(cylinder, self.matrices(cylinder))
        diameter = cylinder.diameter
        patience = _PATIENCE * diameter
        return Run(stepper, 2 / diameter, patience, courant, str(cylinder))

    def rest(self, cylinder: Cylinder) -> State:
        """The inlet's profile everywhere, slower near the cylinder; no pressure."""
        points = self.points(cylinder)
        distance = np.linalg.norm(points - cylinder.centre, axis=1) / cylinder.radius
        u = self.profile(points[:, 1]) * -np.expm1(-((distance - 1) ** 2))
        velocity = np.stack([u, np.zeros_like(u)], axis=1)
        return State(0.0, velocity, np.zeros(len(self.grid.vertices)))

    def state(self, cylinder: Cylinder, velocity: Array, pressure: Array) -> State:
        """A state of the fields (node, 2) and (node,), with the cylinder at rest."""
        return State(cylinder.rests, velocity, pressure[self.grid.vertices])

    def profile(self, y: Array) -> Array:
        """u_x at the inlet, mean 1."""
        H = self.channel.height
        return 6 * y * (H - y) / H**2

    def carry(self, state: State, other: WakeFlow) -> State:
        """A state on another grid of the same channel."""
        pressure = other.grid_values(self, self.grid.at_nodes(state.pressure))
        return State(
            state.time,
            other.grid_values(self, state.velocity.T).T,
            pressure[other.grid.vertices],
        )

    def grid_values(self, source: WakeFlow, values: Array) -> Array:
        """Values (..., node) of another grid at this one's nodes."""
        if source.grid == self.grid:
            return values
        return source.grid.interpolate(values, self.grid)

    def flux(self, velocity: Array) -> tuple[float, float]:
        """∫ u_x dy at the inlet and at the outlet, of a velocity (node, 2)."""
        H, u = self.channel.height, velocity[:, 0]
        sides = (u[self.grid.inlet], u[self.grid.outlet])
        weights = np.ones(len(self.grid.outlet))
        weights[1::2], weights[2:-1:2] = 4.0, 2.0
        first, last = (float(weights @ side) for side in sides)
        scale = H / (3 * (len(weights) - 1))
        return scale * first, scale * last
