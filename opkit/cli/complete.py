"""What the shell may complete: cases, operators, kinds of files, keys of --set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import typer

TARGETS = ("pt2", "aoti", "onnx")
LAYOUTS = ("well", "pdebench", "zarr", "vtu")


def cases(incomplete: str) -> list[str]:
    """Return names of cases."""
    from opkit.case import list_cases

    return _begin(list_cases(), incomplete)


def operators(incomplete: str) -> list[str]:
    """Return names of operators."""
    from opkit.operators import OPERATORS

    return _begin(sorted(OPERATORS), incomplete)


def zoo(incomplete: str) -> list[str]:
    """Return names of the zoo's bundles."""
    from opkit.zoo import names

    return _begin(names(), incomplete)


def targets(incomplete: str) -> list[str]:
    """Return kinds of files of ``opkit export``."""
    return _begin(TARGETS, incomplete)


def layouts(incomplete: str) -> list[str]:
    """Return layouts of ``opkit export-data``."""
    return _begin(LAYOUTS, incomplete)


def devices(incomplete: str) -> list[str]:
    """Return devices."""
    return _begin(("cpu", "cuda"), incomplete)


def case_keys(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return keys of ``--set`` for the case that is named on the line."""
    from opkit.case import load_case
    from opkit.errors import OpkitError

    named = ctx.params.get("words") or [ctx.params.get("name")]
    try:
        stated = load_case(str(named[-1])).dump()
    except OpkitError:
        return []
    keys = [key for key, _ in settable(stated) if not key.startswith("recipes.")]
    return [f"{key}=" for key in _begin(keys, incomplete)]


def recipe_keys(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return keys of ``--set`` for training, with the named operator's options."""
    from opkit.case.recipe import Recipe

    name = ctx.params.get("operator") or "fno"
    keys = [key for key, _ in settable(Recipe(operator=name).model_dump(mode="json"))]
    if incomplete.startswith("model."):
        from opkit.cli.option_list import options
        from opkit.errors import OpkitError

        try:
            keys += [f"model.{row['option']}" for row in options(str(name))]
        except OpkitError:
            return []
    else:
        keys.append("model.")
    begun = _begin(keys, incomplete)
    return [key if key.endswith(".") else f"{key}=" for key in begun]


def settable(data: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values of nested plain data."""
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from settable(value, f"{path}{key}.")
        else:
            yield path + key, value


def _begin(words: Any, incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]
