"""Twin experiments: the truth is a run of the case's solver, observed with noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from opkit.assimilate.cycle import Assimilation, Step, assimilate
from opkit.assimilate.filters import Filter
from opkit.assimilate.observations import Observation
from opkit.assimilate.places import Grid, grid_of
from opkit.assimilate.steps import solver_step, state_of
from opkit.base.arrays import Array
from opkit.case.record import Case
from opkit.errors import OpkitInputError

if TYPE_CHECKING:
    import xarray as xr

MOST_BYTES = 1 << 33
"""Memory that an ensemble, or the truth, may take."""
MOST_NOISE = 1e100
"""Whose square, the variance, is a finite number too."""
BURN_IN = 0.1
"""Part of the cycles, at the beginning, that scores leave out."""


@dataclass(frozen=True)
class Twin:
    """A true trajectory, what is seen of it, and where filters begin.

    Args:
        truth: (time, *space), after each cycle.
        observations: (time, observation).
        observation: what is observed.
        variance: of the observations' errors.
        ensemble: members before the first cycle (member, *space).
        climatology: states of other trajectories (state, *space).
        grid: of the states.
        interval: time of one cycle.
        step: the solver, over one cycle.
    """

    truth: Array
    observations: xr.DataArray
    observation: Observation
    variance: float
    ensemble: Array
    climatology: Array
    grid: Grid
    interval: float
    step: Step

    def run(
        self,
        filter: Filter,
        step: Step | None = None,
        *,
        seed: int = 0,
        model_errors: Array | None = None,
        keep_going: bool = False,
        report: Callable[[int, int], None] | None = None,
    ) -> Assimilation:
        """Assimilate the observations; see `assimilate`.

        Args:
            filter: turns forecasts into analyses.
            step: the model; the solver of the truth where None.
            seed: of what the filter draws.
            model_errors: of the model.
            keep_going: after a divergence.
            report: of progress.
        """
        return assimilate(
            step or self.step,
            filter,
            self.ensemble,
            self.observations,
            self.observation,
            self.variance,
            seed=seed,
            model_errors=model_errors,
            keep_going=keep_going,
            report=report,
        )

    def scores(self, run: Assimilation) -> dict[str, float]:
        """Return the mean over cycles of RMSE and spread, the first tenth left out."""
        first = int(BURN_IN * len(self.truth))
        mean, spread = run.states["mean"].values, run.states["spread"].values
        axes = tuple(range(1, mean.ndim))
        rmse = np.sqrt(((mean - self.truth) ** 2).mean(axes))[first:]
        size = np.sqrt((spread**2).mean(axes))[first:]
        return {"rmse": float(rmse.mean()), "spread": float(size.mean())}

    @property
    def climatological_error(self) -> float:
        """RMSE of the climatological mean as an estimate of the truth."""
        return float(np.sqrt(((self.truth - self.climatology.mean(0)) ** 2).mean()))

    def model_errors(self, step: Step) -> Array:
        """Return the errors of one step of a model from climatological states."""
        return step(self.climatology) - self.step(self.climatology)


def twin(
    case: Case,
    observe: Callable[[Grid], Observation],
    *,
    cycles: int,
    members: int,
    noise: float | None = None,
    initial_error: float = 0.1,
    steps: int | None = None,
    climatology: int = 400,
    seed: int = 0,
) -> Twin:
    """Run the truth of a case, observe it, and draw the first ensemble.

    Args:
        case: whose output evolves from its own initial field.
        observe: makes the observation operator on the grid of the case.
        cycles: number of observation times, one a record interval apart.
        members: of the ensemble.
        noise: standard deviation of the observations' errors; a quarter of the
            climatological one where None.
        initial_error: of members and of their mean, in climatological standard
            deviations.
        steps: fixed time steps of the solver in one interval; see `solver_step`.
        climatology: number of states, of trajectories that begin elsewhere.
        seed: of all that is drawn.

    Raises:
        OpkitInputError: the case does not evolve one field; a number out of range.
    """
    for what, count, least in (
        ("cycles", cycles, 1), ("members", members, 1), ("climatology", climatology, 2)
    ):  # fmt: skip
        if count < least:
            raise OpkitInputError(f"{what} {count}: give {least} or more")
    if noise is not None and not 0 < noise < MOST_NOISE:
        raise OpkitInputError(
            f"noise {noise:g}: the covariance of observations has to be positive: give "
            f"a standard deviation above 0 and below {MOST_NOISE:g}"
        )
    if not 0 < initial_error < np.inf:
        raise OpkitInputError(f"initial error {initial_error:g}: give one above 0")
    name, solver = state_of(case), case.build_solver()
    step = solver_step(case, steps, solver)
    rng = np.random.default_rng(seed)
    grid = grid_of(case, solver)
    observation = observe(grid)

    def draw() -> Array:
        return np.asarray(solver.sample(rng)[f"initial_{name}"], np.float64)

    for what, count in (("cycles", cycles), ("members", members)):
        size = 8 * count * math.prod(grid.shape)
        if size > MOST_BYTES:
            raise OpkitInputError(
                f"{what} {count}: states take {size / 2**30:.3g} GiB, above "
                f"{MOST_BYTES >> 30}: give fewer"
            )
    states = _climatology(draw, step, climatology)
    deviation = float((states - states.mean(0)).std())
    sigma = deviation / 4 if noise is None else noise
    start = state = draw()
    truth = np.empty((cycles, *state.shape))
    for cycle in range(cycles):
        truth[cycle] = state = step(state[None])[0]
    seen = observation(truth)
    noisy = seen + sigma * rng.standard_normal(seen.shape)
    interval = float(solver.coordinates()["time"].values[0])
    return Twin(
        truth=truth,
        observations=_labelled(noisy, interval),
        observation=observation,
        variance=sigma**2,
        ensemble=_around(start, states, members, initial_error, rng),
        climatology=states,
        grid=grid,
        interval=interval,
        step=step,
    )


def _climatology(draw: Callable[[], Array], step: Step, count: int) -> Array:
    """States of trajectories that begin at drawn fields, four of them at most."""
    lines = min(4, count)
    members = np.stack([draw() for _ in range(lines)])
    states = [members]
    for _ in range(-(-count // lines) - 1):
        for _ in range(5):  # apart by five intervals
            members = step(members)
        states.append(members)
    return np.concatenate(states)[:count]


def _around(
    start: Array, states: Array, members: int, error: float, rng: np.random.Generator
) -> Array:
    """Members whose errors are differences of climatological states."""

    def differences(count: int) -> Array:
        one, two = rng.integers(len(states), size=(2, count))
        apart: Array = error / np.sqrt(2) * (states[one] - states[two])
        return apart

    return start + differences(1) + differences(members)


def _labelled(values: Array, interval: float) -> xr.DataArray:
    import xarray as xr

    times = interval * np.arange(1.0, len(values) + 1)
    return xr.DataArray(values, dims=("time", "observation"), coords={"time": times})
