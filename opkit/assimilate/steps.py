"""Models for filters: a case's solver, a surrogate, a surrogate with its solver."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from opkit.assimilate.cycle import Step
from opkit.base.arrays import Array
from opkit.case.record import Case
from opkit.errors import OpkitInputError
from opkit.solvers.interface import Forecasts, Solver, Steps, with_parameters

if TYPE_CHECKING:
    from opkit.surrogate import Surrogate


def state_of(case: Case) -> str:
    """Return the name of the one output that evolves from its own initial field.

    Further outputs, such as a streamfunction, follow from it.

    Raises:
        OpkitInputError: there is none, or more than one.
    """
    inputs = {v.name for v in case.inputs}
    evolving = [v.name for v in case.outputs if f"initial_{v.name}" in inputs]
    in_time = all("time" in v.dims for v in case.outputs)
    if len(evolving) != 1 or not in_time:
        raise OpkitInputError(
            f"case {case.name} does not evolve one field from its initial state: "
            "assimilation needs an output NAME in time and an input initial_NAME"
        )
    return evolving[0]


def solver_step(
    case: Case, steps: int | None = None, solver: Solver | None = None
) -> Step:
    """Return a step over one record interval of a case by its solver.

    Args:
        case: with a solver in time.
        steps: fixed number of time steps, without control of their error, which is
            many times faster; by the solver's own accuracy where None.
        solver: of the case, where it is built already.

    Raises:
        OpkitInputError: the case does not evolve one field; the solver has no fixed
            steps.
    """
    name = state_of(case)
    built = case.build_solver() if solver is None else solver
    if steps is not None:
        if not isinstance(built, Forecasts):
            raise OpkitInputError(
                f"the solver of case {case.name} has no fixed number of steps: leave "
                "steps away"
            )
        return built.forecast(steps)
    if not isinstance(built, Steps):
        raise OpkitInputError(f"the solver of case {case.name} makes no steps in time")
    one = with_parameters(built, records=1)

    def step(states: Array) -> Array:
        solution = one.solve({f"initial_{name}": states})
        return np.asarray(solution.outputs[name][:, 0], np.float64)

    return step


def surrogate_step(
    surrogate: Surrogate | str | Path,
    tolerance: float | None = None,
    interval: float | None = None,
) -> Step:
    """Return a step of an autoregressive surrogate with one field and one frame.

    Args:
        surrogate: or the run directory or bundle that it is loaded from.
        tolerance: largest relative L2 error of a step; beyond it the case's solver is
            asked (`Surrogate.solve`). None: the surrogate alone.
        interval: time between observations, which its step has to be, where known.

    Raises:
        OpkitInputError: a surrogate that needs more than the last state, or that
            makes steps of another length.
    """
    from opkit.surrogate import Surrogate, load

    model = surrogate if isinstance(surrogate, Surrogate) else load(surrogate)
    recipe, config = model.config.recipe, model.config
    if recipe.mode != "autoregressive" or recipe.history != 1:
        raise OpkitInputError(
            f"a surrogate in mode {recipe.mode} with a history of {recipe.history}: "
            "filters need one that steps from the last state: train with --set "
            "mode=autoregressive --set history=1"
        )
    if config.parameters or config.by_role["static"] or config.series:
        raise OpkitInputError(
            "a surrogate with parameters, static fields or functions of time: give a "
            "step of your own that supplies them"
        )

    made = config.time_step
    if interval is not None and made is not None and not np.isclose(made, interval):
        raise OpkitInputError(
            f"a surrogate with steps of {made:g} for observations every {interval:g}: "
            f"set solver.parameters.record_interval={made:g}, or train another"
        )

    def step(states: Array) -> Array:
        space = len(config.shape.shape)
        channels = states.shape[1 : states.ndim - space]
        count = int(np.prod(channels, dtype=int))
        grid = states.shape[states.ndim - space :]
        frames = states.reshape(len(states), 1, count, *grid).astype(np.float32)
        if tolerance is None:
            ahead = model.rollout(frames, 1)
        else:
            ahead = model.solve(frames, tolerance, steps=1).outputs
        return np.asarray(ahead, np.float64).reshape(states.shape)

    return step
