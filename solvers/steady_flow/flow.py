"""Steady incompressible flow through channels of any shape, in dolfinx.

    (u·∇)u = -∇p + ν ∆u,   ∇·u = 0,
    u given at the inlet,   u = 0 on the walls,   ν ∂u/∂n = p n at the outlet,

u: velocity; p: kinematic pressure; ν: viscosity. Q2-Q1 elements (Taylor and Hood) on a
`QuadGrid`: the first direction runs downstream, ``low`` and ``high`` are the walls.
Newton's method on a path from a thick fluid to the true one, linear in log ν.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from opkit.base.arrays import Array
from opkit.solvers.fem import newton
from opkit.solvers.fem.quads.grids import QuadGrid
from opkit.solvers.fem.quads.solution import Values
from opkit.solvers.fem.quads.space import Equations, GridSystem, QuadSpace, projection
from opkit.solvers.fem.stack import PETSc, fem, ufl
from opkit.solvers.steady_flow.variables import VELOCITY


class SteadyFlow(GridSystem):
    """The discrete equations on one grid; samples differ in points and viscosity.

    Args:
        grid: cells along and across.
        edges: on which the velocity is given. With ``last`` among them, the pressure of
            the first vertex is given too.
    """

    def __init__(
        self, grid: QuadGrid, edges: Sequence[str] = ("first", "low", "high")
    ) -> None:
        self.grid = grid
        i, j = (np.linspace(0, 1, n) for n in grid.shape)
        unit = np.stack(np.meshgrid(i, j, indexing="ij"), axis=-1).reshape(-1, 2)
        space = QuadSpace(grid, unit, mixed=True)
        u, p = ufl.split(space.state)
        v, q = ufl.TestFunctions(space.space)
        self._viscosity = fem.Constant(space.domain, PETSc.ScalarType(1.0))
        form = self._viscosity * ufl.inner(ufl.grad(u), ufl.grad(v))
        form += ufl.inner(ufl.dot(ufl.grad(u), u), v) - p * ufl.div(v) - q * ufl.div(u)
        nodes = np.unique(np.concatenate([grid.edge(name) for name in edges]))
        fixed = space.vector[:, nodes].ravel()
        if "last" in edges:
            fixed = np.append(fixed, space.scalar[0])
        super().__init__(space, Equations(space, form * space.dx, fixed, False))
        pairs = projection(space, ufl.Identity(2))
        self.multiplier = Equations(space, form * space.dx, fixed, True, pairs)
        self._viscosities = (1.0, 1.0)

    def prepare(
        self, points: Array, plain: Array, viscosity: float, thickest: float
    ) -> None:
        """Move to another sample.

        Args:
            points: (node, 2).
            plain: a state with the given velocities.
            viscosity: ν.
            thickest: ν at the start of the path.
        """
        self._viscosities = (max(viscosity, thickest), viscosity)
        self.place(points, plain)

    def solve(
        self, numerics: newton.Numerics, guess: Array | None = None
    ) -> newton.State:
        """Solve, with the load steps for each twenty-fold decrease of the viscosity."""
        first, last = self._viscosities
        exact = numerics.load_steps * np.log(first / last) / np.log(20.0)
        numerics = replace(numerics, load_steps=max(1, int(np.ceil(exact - 1e-9))))
        start = self.plain.copy()
        start[self.space.scalar] *= first / last
        return newton.solve(self, start, self.plain, numerics, guess)

    def guess(self, initial: Values, speed: float) -> Array:
        """The state of a guess (node,) with velocities in units of ``speed``.

        The first correction does not depend on the pressure: it may be missing.
        """
        velocity = np.stack([initial[name] for name in VELOCITY]) / speed
        if "pressure" not in initial:
            return self.space.join(velocity, self.plain[self.space.scalar])
        pressure = initial["pressure"][self.grid.vertices] / speed**2
        return self.space.join(velocity, pressure)

    def set_load(self, load: float) -> None:
        """Set the viscosity."""
        first, last = self._viscosities
        self._viscosity.value = first ** (1 - load) * last**load

    def label(self, load: float) -> str:
        """The Reynolds number of the flux, which is mean velocity times height."""
        first, last = self._viscosities
        flux = self.fluxes(self.space.split(self.plain)[0])[0]
        return f"Reynolds number {flux / (first ** (1 - load) * last**load):.4g}"

    def fluxes(self, velocity: Array) -> Array:
        """∫ u_x dy through each column of nodes between cells (first + 1,)."""
        I, J = self.grid.shape
        u, y = (a.reshape(I, J)[::2] for a in (velocity[0], self.points[:, 1]))
        return np.array([simpson(a, b) for a, b in zip(u, y, strict=True)])

    def pressure_drop(self, pressure: Array) -> float:
        """Mean pressure at the inlet minus the mean at the outlet."""
        means = []
        for name in ("first", "last"):
            edge = self.grid.edge(name)
            y = self.points[edge, 1]
            means.append(simpson(pressure[edge], y) / (y[-1] - y[0]))
        return float(means[0] - means[1])

    def lubrication(self, points: Array, inlet: Array, viscosity: float) -> Array:
        """A plain state: the inlet's profile on each section, dp/dx = -12 ν q / h³.

        Args:
            points: (node, 2).
            inlet: u_x at the nodes of the inlet (J,), zero at both ends; its flux is q.
            viscosity: ν.
        """
        I, J = self.grid.shape
        x, y = (points[:, k].reshape(I, J) for k in (0, 1))
        h = y[:, -1] - y[:, 0]
        ux = inlet * (h[0] / h)[:, None]
        uy = ux * np.gradient(y, x[:, 0], axis=0, edge_order=2)
        uy[0] = 0.0
        gradient = 12 * viscosity * simpson(inlet, y[0]) / h**3
        steps = np.diff(x[:, 0]) * (gradient[1:] + gradient[:-1]) / 2
        pressure = np.append(np.cumsum(steps[::-1])[::-1], 0.0)
        nodes = np.repeat(pressure, J)
        velocity = np.stack([ux.ravel(), uy.ravel()])
        return self.space.join(velocity, nodes[self.grid.vertices])


def simpson(values: Array, y: Array) -> float:
    """∫ values dy over equal steps by Simpson's rule, exact for Q2 fields."""
    weights = np.ones(len(y))
    weights[1::2], weights[2:-1:2] = 4.0, 2.0
    return float(values @ weights * (y[-1] - y[0]) / (3 * (len(y) - 1)))
