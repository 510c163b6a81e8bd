"""Incompressible flow in time: BDF2, extrapolated convection, pressure correction.

    L (3 u* - 4 u_n + u_{n-1}) / 2Δt + ν K u* = Bᵀ p_n - 2 N(u_n) + N(u_{n-1}),
    B L⁻¹ Bᵀ φ = -3/(2Δt) B u*,   u = u* + (2Δt/3) L⁻¹ Bᵀ φ,   p = p_n + φ - ν P⁻¹ B u*,

with u = u* = given on the given nodes; P: lumped mass of the pressure. With L in the
first equation u obeys the momentum equation up to O(Δt²); with the consistent mass
there, up to O(Δt h²) only. Both matrices are factorised once per sample and step
length; u has no discrete divergence. The first step is Euler's. Second order in
velocity and pressure. Sources: Guermond, Minev, Shen, "An overview of projection
methods for incompressible flows" (2006), rotational form; Gresho, Chan, "On the theory
of semi-implicit projection methods" (1990), lumped mass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from opkit.base.arrays import Array, Indices
from opkit.solvers.cylinder_wake.operators import Factorised, FlowMatrices

Given = Callable[[float], Array]
"""Velocity (given node, 2) at a time."""


@dataclass(frozen=True)
class State:
    """Velocity (node, 2) and pressure (vertex,) at one time."""

    time: float
    velocity: Array
    pressure: Array


class Stepper:
    """Advance a state by steps of one length, ``dt``.

    Args:
        matrices: of the sample.
        viscosity: ν.
        fixed: nodes with a given velocity.
        given: the velocity there.
        body: nodes of a body at rest, among the given ones.
        enclosed: no free outlet: the pressure of the first vertex stays.
    """

    def __init__(
        self,
        matrices: FlowMatrices,
        viscosity: float,
        fixed: Indices,
        given: Given,
        body: Indices | None = None,
        enclosed: bool = False,
    ) -> None:
        self.matrices, self._viscosity = matrices, viscosity
        self._fixed, self._given = fixed, given
        moves = np.ones(len(matrices.lumped))
        moves[fixed] = 0.0
        self._free = np.flatnonzero(moves)
        self._mass = matrices.lumped[:, None]
        self._mobility = (moves / matrices.lumped)[:, None]
        self._body = np.empty(0, dtype=np.int64) if body is None else body
        self._rows = matrices.rows(self._body)
        self._first = int(enclosed)
        S = matrices.projection(moves)
        self._poisson = Factorised(S[self._first :, self._first :])
        self._momentum: dict[float, Factorised] = {}
        self.dt = 0.0
        self.state = State(0.0, np.empty((0, 2)), np.empty(0))

    def start(self, state: State) -> None:
        """Begin at a state, whose divergence is projected away; then set ``dt``."""
        u = state.velocity.copy()
        u[self._fixed] = self._given(state.time)
        u += self._mobility * self.matrices.gradient(self._solve_pressure(u))
        self.state = State(state.time, u, state.pressure)
        self._before: Array | None = None
        self._momentum.clear()
        self._convection = self.matrices.convection(u)
        self._convection_before = self._convection

    def rate(self) -> float:
        """Largest speed of the present state, in cells per unit of time."""
        return self.matrices.rate(self.state.velocity)

    def step(self) -> State:
        """Advance by one step."""
        m, dt, now = self.matrices, self.dt, self.state
        u, before = now.velocity, self._before
        if before is None:
            c, history = 1.0 / dt, u / dt
            convection = self._convection
        else:
            c, history = 1.5 / dt, (4 * u - before) / (2 * dt)
            convection = 2 * self._convection - self._convection_before
        new = u.copy()
        new[self._fixed] = self._given(now.time + dt)
        r = m.gradient(now.pressure) - convection - self._mass * (c * new - history)
        r -= self._viscosity * (m.stiffness @ new)
        new[self._free] += self._implicit(c).solve(r[self._free])
        divergence = m.divergence(new)
        phi = self._solve_pressure(new)
        new += self._mobility * m.gradient(phi)
        p = now.pressure + c * phi - self._viscosity * divergence / m.pressure_mass
        self._acceleration = c * new - history
        self._before, self._convection_before = u, self._convection
        self._convection = m.convection(new)
        self.state = State(now.time + dt, new, p)
        return self.state

    def force(self) -> Array:
        """Force (2,) of the fluid on the body.

        The sum of the rows of L ∂u/∂t + N(u) + ν K u - Bᵀ p of its nodes, with the sign
        changed: the traction integrated with the accuracy of the energy.
        """
        rows, u = self._rows, self.state.velocity
        r = (self._mass * self._acceleration)[self._body].sum(
            axis=0
        ) + self._viscosity * (rows.stiffness @ u)
        r += self._convection[self._body].sum(axis=0)
        force: Array = rows.gradient @ self.state.pressure - r
        return force

    def _solve_pressure(self, u: Array) -> Array:
        phi = np.zeros(len(self.matrices.pressure_mass))
        b = -self.matrices.divergence(u)[self._first :]
        phi[self._first :] = self._poisson.solve(b)
        return phi

    def _implicit(self, c: float) -> Factorised:
        if c not in self._momentum:
            matrix = sparse.diags_array(c * self.matrices.lumped)
            matrix = matrix + self._viscosity * self.matrices.stiffness
            free = self._free
            self._momentum[c] = Factorised(matrix[free][:, free])
        return self._momentum[c]
