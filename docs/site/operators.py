"""A page per operator, out of its docstring, options and the cases' recipes."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator

from tables import code, contents, table

from cases import as_markdown
from opkit.case import list_cases, load_case
from opkit.cli.console import shown
from opkit.cli.option_list import options
from opkit.operators import OPERATORS
from opkit.operators.interface import acceptance, operator_class


def pages() -> Iterator[tuple[str, str]]:
    """Yield name and text of every page."""
    accepts = {name: acceptance()[name] for name in OPERATORS}
    rows = [
        {
            "operator": f"[{name}]({name}.md)",
            "geometry": ", ".join(offer.geometries),
            "space axes": ", ".join(map(str, offer.dimensions)),
            "numbers per sample": offer.numbers,
        }
        for name, offer in accepts.items()
    ]
    yield (
        "operator-pages/index.md",
        "# Operators\n\nAn operator is a `torch.nn.Module` that learns the map from "
        "inputs to outputs of a case. [Choose one](../guides/choose-an-operator.md), "
        "[write one](../tutorials/own-operator.md), or see how they "
        "[compare](../operators.md).\n\n" + table(rows) + contents(OPERATORS),
    )
    for name in OPERATORS:
        yield f"operator-pages/{name}.md", _page(name)


def _page(name: str) -> str:
    cls = operator_class(name)
    module = importlib.import_module(cls.__module__)
    texts = [inspect.getdoc(module), cls.__doc__ and inspect.getdoc(cls)]
    words = "\n\n".join(as_markdown(text) for text in texts if text)
    offer = cls.accepts
    recipes = [
        {
            "case": f"[{case.name}](../cases/{case.name}.md)",
            "recipe": code(key),
            "command": code(f"opkit train {case.name}.h5 --operator {key}"),
        }
        for case in map(load_case, list_cases())
        for key, recipe in case.recipes.items()
        if recipe.operator == name
    ]
    rows = [
        {
            "option": code(f"model.{row['option']}"),
            "default": code(shown(row["default"])),
            "type": row["type"],
            "about": row["about"],
        }
        for row in options(name)
    ]
    parts = [
        f"# {name}\n\n{words}\n",
        f"Works on: {', '.join(offer.geometries)} with "
        f"{', '.join(map(str, offer.dimensions))} space axes; numbers per sample: "
        f"{offer.numbers}; periodic axes: {'yes' if offer.periodic else 'no'}; nodes "
        f"that differ per sample: {'yes' if offer.points else 'no'}; samples with "
        f"different numbers of nodes: {'yes' if offer.ragged else 'no'}.\n",
        "## Options\n",
        table(rows) or "None.\n",
        "## Recipes\n",
        table(recipes) or "No case has a recipe; it trains with its defaults.\n",
        "How it compares with the others: [Operators](../operators.md).\n",
    ]
    return "\n".join(parts)
