"""What a run that goes on takes over from its first start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from opkit.errors import BundleError, OpkitInputError
from opkit.recipe import Recipe
from opkit.rundir import RunDirectory
from opkit.train.recipes import overridden


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
    """Return the operator that a run trains."""
    return Recipe.model_validate(directory.config()["recipe"]).operator


def continued(
    directory: RunDirectory, operator: str, overrides: Sequence[str]
) -> tuple[Recipe, int]:
    """Return recipe and seed of the first start; only epochs may be asked anew.

    Raises:
        OpkitInputError: another operator or another setting than the run's.
    """
    config = directory.config()
    recipe = first = Recipe.model_validate(config["recipe"])
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
    return recipe, int(config["seed"])


def _but_epochs(recipe: Recipe, other: Recipe) -> Recipe:
    training = recipe.training.model_copy(update={"epochs": other.training.epochs})
    return recipe.model_copy(update={"training": training})
