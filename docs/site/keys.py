"""Pages of the keys of a case and of a recipe, out of the pydantic models."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel
from tables import code, table

from opkit.case import laws, quantities, record
from opkit.case.recipe import Recipe, Training
from opkit.cli.console import shown
from opkit.cli.option_list import described


def case_page() -> str:
    """Return the page of the keys of a case's YAML file."""
    parts = [
        "# Keys of a case\n\nA [case](../concepts/case.md) is a YAML file with these "
        "keys; a key that is not listed is an error. `--set KEY=VALUE` changes one for "
        "a command, with dots for inner keys.\n"
    ]
    parts += _section("The file", record.Case)
    for key, model in (
        ("solver", record.SolverChoice),
        ("geometry", record.Geometry),
        ("boundary: a side", record.Side),
        ("inputs, outputs: a variable", record.Variable),
        ("samples", record.Samples),
    ):
        parts += _section(key, model)
    for law in _members(laws.Parameter):
        parts += _section(f"parameters: {_kind(law)}", law)
    for quantity in _members(quantities.Quantity):
        parts += _section(f"quantities: {_kind(quantity)}", quantity)
    return "\n".join(parts)


def recipe_page() -> str:
    """Return the page of the keys of a recipe."""
    parts = [
        "# Keys of a recipe\n\nA [recipe](../concepts/recipe.md) is an entry of "
        "`recipes` in a case; `opkit train --set KEY=VALUE` changes one for a run. "
        "`model` holds the options of the [operator](../operator-pages/index.md).\n"
    ]
    parts += _section("A recipe", Recipe)
    parts += _section("training", Training)
    return "\n".join(parts)


def _members(union: Any) -> list[type[BaseModel]]:
    """Return the models of an annotated union, each once."""
    if isinstance(union, type) and issubclass(union, BaseModel):
        return [union]
    models: list[type[BaseModel]] = []
    for part in get_args(union):
        models += [model for model in _members(part) if model not in models]
    return models


def _kind(model: type[BaseModel]) -> str:
    field = model.model_fields.get("kind")
    return (
        model.__name__
        if field is None
        else " or ".join(map(str, get_args(field.annotation)))
    )


def _section(title: str, model: type[BaseModel]) -> list[str]:
    text = (model.__doc__ or "").strip().split("\n\n")[0].replace("``", "`")
    rows = [
        {
            "key": code(row["option"]),
            "default": "required"
            if model.model_fields[row["option"]].is_required()
            else code(shown(row["default"])),
            "type": row["type"],
            "about": row["about"],
        }
        for row in described(model)
    ]
    return [f"## {title}\n", " ".join(text.split()) + "\n", table(rows)]
