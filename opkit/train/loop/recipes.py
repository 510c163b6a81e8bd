"""Recipes of a case, with the settings of a command line.

A run that goes on keeps the recipe of its first start.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from opkit.base.explain import explain
from opkit.case.catalogue import apply_override
from opkit.case.recipe import Recipe
from opkit.errors import BundleError, OpkitInputError
from opkit.operators.interface import operator_class
from opkit.surrogate.bundle.run_directory import RunDirectory
from opkit.train.loop import checkpoint


def resolve_recipe(
    case: dict[str, Any], operator: str, overrides: Sequence[str]
) -> Recipe:
    """Return the case's recipe of that name, or a default one, with overrides.

    Raises:
        OpkitInputError: a key, value, or operator that does not exist, or that does
            not train on fields.
    """
    recipe = merge_recipe(case, operator, overrides)
    operator_class(recipe.operator)
    if recipe.stream:
        raise OpkitInputError(
            f"recipe {operator}: stream is for hypernetworks, leave it out"
        )
    return recipe


def merge_recipe(
    case: dict[str, Any], operator: str, overrides: Sequence[str]
) -> Recipe:
    """Return the case's recipe of that name, or a default one, with overrides.

    Raises:
        OpkitInputError: a key or value that does not exist.
    """
    recipes = case.get("recipes", {})
    plain = dict(recipes.get(operator) or {"operator": operator})
    plain["model"] = dict(plain.get("model", {}))
    plain["training"] = dict(plain.get("training", {}))
    plain["stream"] = dict(plain.get("stream", {}))
    return overridden(plain, overrides, operator)


def overridden(plain: dict[str, Any], overrides: Sequence[str], name: str) -> Recipe:
    """Apply overrides to a recipe's settings, in place, and check them.

    Args:
        plain: the settings.
        overrides: such as ``"training.epochs=5"``.
        name: of the recipe, for messages.

    Raises:
        OpkitInputError: a key or value that does not exist.
    """
    for override in overrides:
        apply_override(plain, override)
    try:
        return Recipe.model_validate(plain)
    except ValidationError as error:
        raise OpkitInputError(f"recipe {name}: {explain(error, Recipe)}") from None


def first_data(run: Path) -> Path:
    """Return the data file, or the case of equations, that a run was trained on.

    Raises:
        OpkitInputError: a bundle alone, or the file is gone.
    """
    try:
        config = RunDirectory(run).config()
        data = Path(config["data"])
    except (BundleError, KeyError, NotADirectoryError):
        raise OpkitInputError(
            f"{run}: not a run directory, so its data are not known: name the file"
        ) from None
    if "data_hash" in config and not data.is_file():
        raise OpkitInputError(f"{data}: the data of {run} are gone: name the file")
    return data


def first_operator(directory: RunDirectory) -> str:
    """Return the operator that a run trains.

    Raises:
        BundleError: its record is damaged.
    """
    return _own_recipe(directory).operator


def _own_recipe(directory: RunDirectory) -> Recipe:
    try:
        return Recipe.model_validate(directory.config()["recipe"])
    except ValidationError as error:
        path = directory.path / "config.yaml"
        raise BundleError(f"{path}: recipe.{explain(error, Recipe)}") from None


def continued(
    directory: RunDirectory, operator: str, overrides: Sequence[str]
) -> tuple[Recipe, int]:
    """Return recipe and seed of the first start; only epochs may be asked anew.

    Raises:
        OpkitInputError: another operator or another setting than the run's, or fewer
            epochs than are finished.
    """
    recipe = first = _own_recipe(directory)
    if operator != first.operator:
        raise OpkitInputError(
            f"{directory.path} trains {first.operator}, not {operator}"
        )
    for override in overrides:
        plain = recipe.model_dump(mode="json")
        recipe = overridden(plain, [override], f"of {directory.path}")
        if _but_epochs(recipe, first) != first:
            raise OpkitInputError(
                f"{override}: --resume keeps the settings of {directory.path}, all but "
                "training.epochs: leave it out, or start a new run"
            )
    done = checkpoint.finished(directory.checkpoints)
    if recipe.training.epochs < done:
        raise OpkitInputError(
            f"{directory.path} has finished {done} epochs: training.epochs="
            f"{recipe.training.epochs} would be fewer; give more, or leave it out"
        )
    return recipe, int(directory.config().get("seed", 0))


def _but_epochs(recipe: Recipe, other: Recipe) -> Recipe:
    training = recipe.training.model_copy(update={"epochs": other.training.epochs})
    return recipe.model_copy(update={"training": training})
