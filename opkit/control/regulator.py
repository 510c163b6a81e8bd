"""The linear-quadratic regulator: the best feedback where a system is linear.

    u_{k+1} = A u_k + B a_k,    a = -K u,    K = (R + Bᵀ P B)⁻¹ Bᵀ P A
    P = Q + Aᵀ P A - Aᵀ P B (R + Bᵀ P B)⁻¹ Bᵀ P A

with Q and R of `System.cost`. A and B are differences of the system's own steps about
its target, which are exact for linear systems; about an equilibrium of a nonlinear one
the feedback is the best to first order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_discrete_are

from opkit.base.arrays import Array
from opkit.control.system import System
from opkit.errors import OpkitInputError

MOST = 1024
"""Most points of a state: Riccati's equation is dense and takes the third power."""
BATCH = 64
STILL = 1e-6


@dataclass(frozen=True)
class Regulator:
    """Linear feedback.

    Args:
        gain: K (actuator, point).
        value: P (point, point).
        transition: A (point, point).
        action: B (point, actuator).
        target: u* (*space).
    """

    gain: Array
    value: Array
    transition: Array
    action: Array
    target: Array

    def __call__(self, states: Array) -> Array:
        """Return the amplitudes (member, actuator) for states (member, *space)."""
        return -(states - self.target).reshape(len(states), -1) @ self.gain.T

    def cost(self, states: Array) -> Array:
        """Return (u - u*)ᵀ P (u - u*) (member,), the cost of all time to come."""
        away = (states - self.target).reshape(len(states), -1)
        whole: Array = np.einsum("mi,ij,mj->m", away, self.value, away)
        return whole


def regulator(system: System, size: float = 1e-4) -> Regulator:
    """Return the regulator of a system about its target.

    Args:
        system: of `MOST` points at most.
        size: of the differences; of linear systems the result does not depend on it.

    Raises:
        OpkitInputError: too many points, a target that does not stand still, or
            directions that grow and no force reaches.
        SolverError: the step is that of a solver, which cannot go on.
    """
    shape, actuators = system.grid.shape, len(system.forces)
    points = system.grid.size
    if points > MOST:
        raise OpkitInputError(
            f"{points} points: Riccati's equation is dense: give {MOST} at most, on a "
            "coarser grid"
        )
    target = np.zeros(shape) if system.target is None else system.target
    nothing = np.zeros((1, actuators))
    moved = system.advance(target[None], nothing)[0] - target
    if np.abs(moved).max() > STILL * max(1.0, float(np.abs(target).max())):
        raise OpkitInputError(
            f"the target moves by {np.abs(moved).max():.2g} in one interval: give an "
            "equilibrium of the system"
        )
    steps = size * np.eye(points + actuators)
    jacobian = _differences(system, target, steps[:, :points], steps[:, points:]) / size
    transition, action = np.split(jacobian, [points], axis=1)
    state_price = system.interval * np.diag(system.weights.ravel())
    action_price = system.interval * system.price * np.eye(actuators)
    try:
        value = solve_discrete_are(transition, action, state_price, action_price)
    except (np.linalg.LinAlgError, ValueError) as error:
        raise OpkitInputError(
            "no feedback keeps this system at its target: something grows that no "
            "force reaches: give more actuators, or place them otherwise"
        ) from error
    product = action.T @ value
    gain = np.linalg.solve(action_price + product @ action, product @ transition)
    return Regulator(gain, value, transition, action, target)


def _differences(
    system: System, target: Array, directions: Array, pushes: Array
) -> Array:
    """Half of what + and - each direction and push change (point, direction)."""
    columns = []
    for first in range(0, len(directions), BATCH):
        rows = slice(first, first + BATCH)
        away = directions[rows].reshape(-1, *target.shape)
        above = system.advance(target + away, pushes[rows])
        below = system.advance(target - away, -pushes[rows])
        columns.append((above - below).reshape(len(away), -1) / 2)
    return np.concatenate(columns).T
