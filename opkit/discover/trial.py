"""Discovery where the answer is known: a case's solver against another one of it."""

from __future__ import annotations

import numpy as np

from opkit.assimilate.steps import solver_step, state_of
from opkit.base.arrays import Array
from opkit.case.record import Case
from opkit.discover.increments import Discovery, discover
from opkit.discover.library import spectral_library
from opkit.errors import OpkitInputError
from opkit.solvers.interface import with_parameters

MOST = 100_000
"""Pairs that are looked at, and record intervals between them."""


def trial(
    truth: Case,
    wrong: Case,
    *,
    interval: float,
    pairs: int = 20,
    apart: int = 10,
    steps: int | None = None,
    powers: int = 4,
    derivatives: int = 4,
    least: float = 0.01,
    corrections: int = 4,
    seed: int = 0,
) -> Discovery:
    """Find what one case's solver lacks of another's, from states of the latter.

    Args:
        truth: whose solver is observed.
        wrong: whose solver is the model.
        interval: of the increments.
        pairs: number of states.
        apart: record intervals of the truth between them.
        steps: fixed time steps in the interval; the solvers' own accuracy where None.
        powers: of the library.
        derivatives: of the library.
        least: share below which a term is dropped.
        corrections: see `discover`.
        seed: of the initial states, of which there are four at most.

    Raises:
        OpkitInputError: numbers out of range; a case that does not evolve one field on
            a periodic grid; cases on different grids.
    """
    for what, number in (("pairs", pairs), ("apart", apart)):
        if not 1 <= number <= MOST:
            raise OpkitInputError(f"{what} {number}: give a number from 1 to {MOST}")
    if not 0 < interval < np.inf:
        raise OpkitInputError(f"interval {interval:g}: give a positive time")
    name = state_of(truth)
    if state_of(wrong) != name or wrong.shape != truth.shape:
        raise OpkitInputError("the model has another grid or field than the truth")
    if not all(truth.periodic.values()):
        raise OpkitInputError(
            f"case {truth.name} is not periodic: the spectral library needs that; use "
            "opkit.discover.discover with terms of your own"
        )
    solver = truth.build_solver()
    rng, march = np.random.default_rng(seed), solver_step(truth, None, solver)
    fields = [solver.sample(rng)[f"initial_{name}"] for _ in range(min(4, pairs))]
    lines = np.stack(fields).astype(np.float64)
    states: list[Array] = [lines]
    while sum(map(len, states)) < pairs:
        for _ in range(apart):
            lines = march(lines)
        states.append(lines)
    before = np.concatenate(states)[:pairs]
    axes = tuple(solver.coordinates()[axis].values for axis in truth.space)
    extent = {str(axis): ends for axis, ends in truth.geometry.extent.items()}
    periods = tuple(extent[axis][1] - extent[axis][0] for axis in truth.space)
    short, model = (
        solver_step(
            case,
            steps,
            with_parameters(built, records=1, record_interval=interval),
        )
        for case, built in ((truth, solver), (wrong, wrong.build_solver()))
    )
    return discover(
        model,
        before,
        short(before),
        interval,
        spectral_library(axes, periods, powers, derivatives),
        least=least,
        corrections=corrections,
    )
