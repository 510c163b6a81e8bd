"""Recipes of a case, with the settings of a command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from opkit.errors import OpkitInputError
from opkit.operators.interface import operator_class
from opkit.recipe import Recipe
from opkit.registry import apply_override
from opkit.validation import explain


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
