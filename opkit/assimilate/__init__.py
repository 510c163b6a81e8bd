"""Filters: states of a system from a model of it and from noisy, sparse observations.

    from opkit.assimilate import LETKF, Grid, assimilate, every

    grid = Grid((x,), periods=(length,))
    local = LETKF(radius=11.0, inflation=1.05)
    run = assimilate(step, local, ensemble, observations, every(2, grid), errors=1.0)
    run.states  # xarray.Dataset: mean, spread over time

``step`` is any function from states (member, *space) to those one cycle later: a
solver, a surrogate, a surrogate that falls back on its solver (`solver_step`,
`surrogate_step`).
"""

from opkit.assimilate.cycle import Assimilation, assimilate
from opkit.assimilate.filters import ETKF, LETKF, Filter
from opkit.assimilate.learned import LearnedCorrection, learn_correction
from opkit.assimilate.observations import (
    Observation,
    at_points,
    every,
    linear,
    observe_with,
)
from opkit.assimilate.places import Grid, gaspari_cohn
from opkit.assimilate.statistical import OptimalInterpolation, ThreeDVar
from opkit.assimilate.steps import solver_step, surrogate_step
from opkit.assimilate.twin import Twin, twin

__all__ = [
    "ETKF",
    "LETKF",
    "Assimilation",
    "Filter",
    "Grid",
    "LearnedCorrection",
    "Observation",
    "OptimalInterpolation",
    "ThreeDVar",
    "Twin",
    "assimilate",
    "at_points",
    "every",
    "gaspari_cohn",
    "learn_correction",
    "linear",
    "observe_with",
    "solver_step",
    "surrogate_step",
    "twin",
]
