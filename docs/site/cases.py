"""A page per case, out of its YAML file and its solver's docstring."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

from tables import code, contents, table

from opkit.case import Case, list_cases, load_case
from opkit.operators.interface import operator_class

PICTURES = Path(__file__).parents[1] / "figures" / "cases"
DRAWN_ELSEWHERE = {
    "bracket-3d": (
        "brackets.png",
        "python benchmarks/waves_and_brackets.py --figures docs/figures",
        "Displacement 100 times as large, and von Mises stress",
    )
}
"""Cases in space, which pictures.py does not draw: file, command, caption."""


def pages() -> Iterator[tuple[str, str]]:
    """Yield name and text of every page."""
    cases = [load_case(name) for name in list_cases()]
    yield "cases/index.md", _index(cases)
    for case in cases:
        yield f"cases/{case.name}.md", _page(case)


def _index(cases: list[Case]) -> str:
    rows = [
        {
            "case": f"[{case.name}]({case.name}.md)",
            "problem": case.title,
            "grid": " x ".join(map(str, case.shape)),
            "recipes": ", ".join(case.recipes) or "none",
        }
        for case in cases
    ]
    return (
        "# Cases\n\nA [case](../concepts/case.md) names a problem: equation, domain, "
        "law of the inputs, solver, and recipes. `opkit cases` lists "
        "them; your own is a YAML file ([your own PDE](../tutorials/own-pde.md)).\n\n"
        + table(rows)
        + contents(case.name for case in cases)
    )


def _page(case: Case) -> str:
    parts = [f"# {case.name}\n\n{case.title}.\n\n> {case.equation}\n"]
    picture = PICTURES / f"{case.name}.png"
    if case.name in DRAWN_ELSEWHERE:
        file, command, what = DRAWN_ELSEWHERE[case.name]
        parts.append(
            f"![Three samples of {case.name}](../figures/{file})\n\n"
            f"*{what}* (`{command}`).\n"
        )
    elif picture.exists():
        parts.append(
            f"![Three samples of {case.name}](../figures/cases/{picture.name})\n\n"
            "*The first samples of seed 0* (`python docs/site/pictures.py`).\n"
        )
    parts.append("## Data\n")
    fields = [
        {
            "variable": code(variable.name),
            "role": role,
            "dims": ", ".join(variable.dims),
            "units": variable.units,
        }
        for role, group in (("input", case.inputs), ("output", case.outputs))
        for variable in group
    ]
    parts.append(table(fields))
    if case.parameters:
        parts.append("Numbers per sample:\n")
        parts.append(
            table(
                {
                    "parameter": code(name),
                    "law": _short(law.model_dump(mode="json", exclude_none=True)),
                    "units": law.units,
                }
                for name, law in case.parameters.items()
            )
        )
    if case.quantities:
        parts.append("Quantities of interest:\n")
        parts.append(
            table(
                {
                    "quantity": code(name),
                    "what": _short(q.model_dump(mode="json", exclude_none=True)),
                }
                for name, q in case.quantities.items()
            )
        )
    if case.distribution:
        parts.append(f"Law of the inputs: `{_short(case.distribution)}`.\n")
    sides = {part: side.kind for part, side in case.boundary.items()}
    parts.append(
        f"Resolution {' x '.join(map(str, case.shape))}; boundary: {_short(sides)}; "
        f"samples: {case.samples.train} to train, {case.samples.validation} to "
        f"validate, {case.samples.test} to test.\n"
    )
    parts.append(f"## Solver\n\n`{case.solver.target}`\n\n{_docstring(case)}\n")
    parts.append(
        table(
            {"parameter": code(key), "value": code(value)}
            for key, value in case.solver.parameters.items()
        )
    )
    parts.append(_commands(case))
    if case.recipes:
        parts.append("## Recipes\n")
        parts.append(table(_recipe(name, case) for name in case.recipes))
    if case.references:
        parts.append("## Sources\n")
        parts.append("".join(f"- {reference}\n" for reference in case.references))
    return "\n".join(parts)


def _recipe(name: str, case: Case) -> dict[str, str]:
    recipe = case.recipes[name]
    direct = recipe.operator != "hypino" and operator_class(recipe.operator).direct
    published = recipe.expectation
    return {
        "recipe": code(name),
        "operator": f"[{recipe.operator}](../operator-pages/{recipe.operator}.md)"
        if recipe.operator != "hypino"
        else "[hypino](../hypino.md)",
        "model": _short(recipe.model),
        "epochs": "none: one fit" if direct else str(recipe.training.epochs),
        "published": ""
        if published is None
        else f"{published.value} ({published.source})",
    }


def _commands(case: Case) -> str:
    if not case.recipes or next(iter(case.recipes.values())).operator == "hypino":
        return ""
    recipe = next(iter(case.recipes))
    return (
        f"\n    opkit generate case {case.name} --out {case.name}.h5\n"
        f"    opkit train {case.name}.h5 --operator {recipe} --out runs/{case.name}\n"
        f"    opkit evaluate runs/{case.name} --pays\n"
    )


def _docstring(case: Case) -> str:
    """First paragraphs of the solver's module: equation, scheme, source."""
    module, _, name = case.solver.target.partition(":")
    imported = importlib.import_module(module)
    texts = [inspect.getdoc(imported), inspect.getdoc(getattr(imported, name))]
    return "\n\n".join(as_markdown(text) for text in texts if text)


def as_markdown(text: str) -> str:
    """Keep everything before the sections of arguments; indented lines are code."""
    lines: list[str] = []
    for line in text.splitlines():
        if line.rstrip() in ("Args:", "Returns:", "Raises:"):
            break
        lines.append(line.replace("``", "`"))
    return "\n".join(lines).strip()


def _short(data: object) -> str:
    if isinstance(data, dict):
        return ", ".join(f"{key} {_short(value)}" for key, value in data.items())
    if isinstance(data, (list, tuple)):
        return "[" + ", ".join(_short(value) for value in data) + "]"
    return str(data)
