"""A system that evolves and is pushed: forces on a field, and what they cost.

    ∂u/∂t = F(u) + Σ_j a_j b_j(x),    J = ∫ (∫ (u - u*)² dx + ρ |a|²) dt

The amplitudes a are constant over an interval Δ. F is known through a step alone, of a
solver or of a surrogate, so the forces enter between its steps (Strang's splitting):

    u ← u + (h/2) B a,    u ← step(u),    u ← u + (h/2) B a,    h = Δ / substeps

which is of second order in h for every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from opkit.assimilate.places import Grid, grid_of
from opkit.assimilate.steps import solver_step, state_of
from opkit.base.arrays import Array
from opkit.case.record import Case
from opkit.errors import OpkitInputError
from opkit.solvers.interface import Steps

Step = Callable[[Array], Array]


@dataclass(frozen=True)
class System:
    """A field under forces.

    Args:
        step: from states (member, *space) to those one `time_step` later.
        time_step: h, in the time of the case.
        grid: of the field.
        forces: b_j, (actuator, *space), per time.
        substeps: steps in one interval of constant amplitudes.
        target: u* (*space); zero where None.
        price: ρ, of the amplitudes.
    """

    step: Step
    time_step: float
    grid: Grid
    forces: Array
    substeps: int = 1
    target: Array | None = None
    price: float = 1.0

    def __post_init__(self) -> None:
        shape = self.grid.shape
        for what, values in (("forces", self.forces[0:1]), ("target", self.target)):
            if values is not None and values.shape[-len(shape) :] != shape:
                raise OpkitInputError(
                    f"{what} of shape {values.shape} on a grid of shape {shape}: give "
                    "values at its points"
                )
        if self.forces.ndim != 1 + len(shape) or not len(self.forces):
            raise OpkitInputError(
                f"forces of shape {self.forces.shape}: give (actuator, *space)"
            )
        for name, value in (("time_step", self.time_step), ("price", self.price)):
            if not 0 < value < math.inf:
                raise OpkitInputError(f"{name} {value:g}: give a number above 0")
        if self.substeps < 1:
            raise OpkitInputError(f"substeps {self.substeps}: give 1 or more")

    @property
    def interval(self) -> float:
        """Δ, the time of one action."""
        return self.substeps * self.time_step

    @cached_property
    def weights(self) -> Array:
        """Quadrature weights (*space) of ∫ dx: trapezoidal, around where axes close."""
        whole = np.ones(())
        for axis, period in zip(self.grid.axes, self.grid.periods, strict=True):
            if period is None:
                ends = np.concatenate([axis[:1], axis, axis[-1:]])
            else:
                ends = np.concatenate([axis[-1:] - period, axis, axis[:1] + period])
            whole = np.multiply.outer(whole, (ends[2:] - ends[:-2]) / 2)
        return whole

    def advance(self, states: Array, actions: Array) -> Array:
        """Return the states after one interval.

        Args:
            states: (member, *space).
            actions: (member, actuator), the amplitudes.

        Raises:
            SolverError: the step is that of a solver, which cannot go on.
        """
        push = self.time_step * np.tensordot(actions, self.forces, 1)
        states = states + push / 2
        for k in range(self.substeps):
            last = k == self.substeps - 1
            states = np.asarray(self.step(states), np.float64)
            states = states + (push / 2 if last else push)
        return states

    def cost(self, states: Array, actions: Array) -> Array:
        """Return Δ (∫ (u - u*)² dx + ρ |a|²), (member,).

        Args:
            states: (member, *space), at the beginning of the interval.
            actions: (member, actuator).
        """
        away = states if self.target is None else states - self.target
        axes = tuple(range(1, states.ndim))
        field = (away**2 * self.weights).sum(axes)
        whole: Array = self.interval * (field + self.price * (actions**2).sum(1))
        return whole


def boxes(grid: Grid, count: int, width: float = 0.1) -> Array:
    """Return forces that are 1 on stretches along the last axis, 0 elsewhere.

    Args:
        grid: that it is defined on.
        count: of actuators, whose middles are equally spaced.
        width: of each, a part of the axis' length.

    Raises:
        OpkitInputError: they overlap, or one is narrower than a grid spacing.
    """
    axis, period = grid.axes[-1], grid.periods[-1]
    length = float(np.ptp(axis)) if period is None else period
    if count < 1 or not 0 < count * width <= 1 + 1e-12:
        raise OpkitInputError(
            f"{count} actuators of width {width:g}: they overlap: give fewer or "
            f"narrower ones, {1 / max(count, 1):g} at most"
        )
    middles = axis[0] + length * (np.arange(count) + 0.5) / count
    apart = axis[None] - middles[:, None]
    if period is not None:
        apart = (apart + length / 2) % length - length / 2
    along = (np.abs(apart) <= width * length / 2 * (1 + 1e-12)).astype(np.float64)
    if not along.any(1).all():
        raise OpkitInputError(
            f"actuators of width {width:g} on {len(axis)} points hold none: give wider "
            "ones or a finer grid"
        )
    shape = (count, *grid.shape)
    return np.broadcast_to(
        along.reshape(count, *(1,) * (len(grid.shape) - 1), -1), shape
    ).copy()


def system_of(
    case: Case,
    actuators: int = 8,
    *,
    width: float = 0.1,
    substeps: int = 1,
    steps: int | None = None,
    step: Step | None = None,
    target: ArrayLike | None = None,
    price: float = 1.0,
) -> System:
    """Return a case's system under forces on equally spaced stretches.

    Args:
        case: whose output evolves from its own initial field; its record interval is h.
        actuators: their number.
        width: of each, a part of the domain's length.
        substeps: record intervals in one action.
        steps: fixed time steps of the solver in a record interval; see
            `opkit.assimilate.solver_step`.
        step: in place of the solver's, such as `opkit.assimilate.surrogate_step` gives.
        target: u*, (*space).
        price: ρ.

    Raises:
        OpkitInputError: the case does not evolve one field; numbers that cannot be.
    """
    state_of(case)
    solver = case.build_solver()
    if not isinstance(solver, Steps):
        raise OpkitInputError(f"the solver of case {case.name} makes no steps in time")
    grid = grid_of(case, solver)
    times = np.asarray(solver.coordinates()["time"].values, np.float64)
    return System(
        step=step or solver_step(case, steps, solver),
        time_step=float(times[0]),
        grid=grid,
        forces=boxes(grid, actuators, width),
        substeps=substeps,
        target=None if target is None else np.asarray(target, np.float64),
        price=price,
    )
