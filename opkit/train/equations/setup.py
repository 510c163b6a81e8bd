"""From a case that draws equations and a recipe to what is trained on what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from pydantic import ValidationError

from opkit.base.explain import explain
from opkit.case.recipe import Recipe, Training
from opkit.case.record import Case
from opkit.errors import OpkitInputError
from opkit.operators.hypino.network import PRESETS, HyPINO, HyPINOOptions
from opkit.solvers.manufactured.law import ManufacturedDistribution
from opkit.train.equations.stream import ProblemStream, StreamOptions

OPERATOR = "hypino"
FOR_FIELDS = (
    "loss",
    "physics",
    "symmetries",
    "holdout",
    "noise",
    "unroll",
    "pushforward",
    "forcing",
    "workers",
    "memory",
)


@dataclass(frozen=True)
class EquationSetup:
    """What a recipe and a case say about training on equations.

    Args:
        recipe: with overrides.
        options: of the hypernetwork.
        stream: the problems.
    """

    recipe: Recipe
    options: HyPINOOptions
    stream: ProblemStream


def prepare(case: Case, recipe: Recipe, seed: int) -> EquationSetup:
    """Check a recipe against its case.

    Raises:
        OpkitInputError: settings that do not exist, or mean nothing here.
    """
    training, plain = recipe.training, Training()
    for name in FOR_FIELDS:
        if getattr(training, name) != getattr(plain, name):
            raise OpkitInputError(
                f"training.{name} is for data files: leave it out, {OPERATOR} trains "
                "on equations"
            )
    if "h1" in training.metric:
        raise OpkitInputError(
            f"training.metric={training.metric}: {OPERATOR} is measured at scattered "
            "points, choose relative_l2, mse, nrmse or vrmse"
        )
    if recipe.operator != OPERATOR or case.distribution.get("kind") != "manufactured":
        raise OpkitInputError(
            f"{recipe.operator} on the case {case.name}: only {OPERATOR} trains on a "
            "case, on manufactured; others on a data file, make one with opkit generate"
        )
    options = model_options(recipe.model)
    try:
        stream = StreamOptions.model_validate(recipe.stream)
    except ValidationError as error:
        raise OpkitInputError(
            f"recipe {OPERATOR}, stream: {explain(error, StreamOptions)}"
        ) from None
    law = stream.distribution or ManufacturedDistribution.model_validate(
        case.distribution
    )
    n = options.resolution
    problems = ProblemStream(stream, law, (n, n), training.epochs, seed)
    return EquationSetup(recipe, options, problems)


def model_options(model: dict[str, Any]) -> HyPINOOptions:
    """Return a preset with changes, or the published sizes with changes."""
    changes = dict(model)
    preset = changes.pop("preset", None)
    if preset is not None and preset not in PRESETS:
        raise OpkitInputError(
            f"model.preset={preset!r}: choose one of {', '.join(PRESETS)}"
        )
    start = {} if preset is None else PRESETS[preset].model_dump()
    try:
        return HyPINOOptions.model_validate({**start, **changes})
    except ValidationError as error:
        raise OpkitInputError(
            f"recipe {OPERATOR}, model: {explain(error, HyPINOOptions)}"
        ) from None


def build_hypernetwork(setup: EquationSetup, seed: int) -> HyPINO:
    """Construct the hypernetwork with the weights of a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return HyPINO(setup.options)
