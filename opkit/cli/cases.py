"""`opkit cases`: the table of cases, and one case resolved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from opkit.base.visible import visible
from opkit.cli import complete

if TYPE_CHECKING:
    from opkit.case.record import Case

SET = typer.Option(
    "--set",
    metavar="KEY=VALUE",
    help="Override a value: a.b=3.",
    autocompletion=complete.case_keys,
)
FORCE = typer.Option("--force", help="Replace the output if it exists.")
JSON = typer.Option("--json", help="Print JSON.")

cases = typer.Typer(help="List the cases, or show one.", invoke_without_command=True)


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to the command line."""
    app.add_typer(cases, name="cases")


@cases.callback()
def list_cases(context: typer.Context, json: Annotated[bool, JSON] = False) -> None:
    """List the cases: name, version, title, resolution, operators with recipes."""
    if context.invoked_subcommand:
        return
    from opkit.case import list_cases, load_case
    from opkit.cli.console import as_json, table

    rows: list[dict[str, Any]] = []
    for name in list_cases():
        case = load_case(name)
        rows.append(
            {
                "name": case.name,
                "version": case.version,
                "title": case.title,
                "resolution": list(case.shape),
                "recipes": list(case.recipes),
            }
        )
    if json:
        as_json(rows)
        return
    for row in rows:
        row["resolution"] = " x ".join(map(str, row["resolution"]))
        row["recipes"] = ", ".join(row["recipes"])
    table(rows)


@cases.command()
def show(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of a case, or a YAML path.", autocompletion=complete.cases
        ),
    ],
    set_: Annotated[list[str] | None, SET] = None,
    recipe: Annotated[
        bool, typer.Option("--recipe", help="List the keys that --set takes.")
    ] = False,
    operator: Annotated[
        str | None,
        typer.Option(
            help="Recipe of the case, or operator, that --recipe is about; default "
            "the case's first.",
            autocompletion=complete.operators,
        ),
    ] = None,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Show a case, resolved: equation, references, solver, fields, recipes."""
    from opkit.case import load_case
    from opkit.cli.console import as_json

    case = load_case(name, set_ or ())
    if recipe or operator:
        _keys(case, operator or next(iter(case.recipes), "fno"), json)
        return
    if json:
        as_json(case.dump())
        return
    import yaml
    from rich.console import Console
    from rich.syntax import Syntax

    case.build_solver()
    data = {k: v for k, v in case.dump().items() if k not in ("title", "equation")}
    console = Console()
    console.print(
        f"{visible(case.title)}  ({case.identity})", style="bold", markup=False
    )
    console.print(f"\n  {visible(case.equation)}\n", markup=False, highlight=False)
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=88)
    console.print(Syntax(text, "yaml", background_color="default", word_wrap=True))


def _keys(case: Case, operator: str, json: bool) -> None:
    """Print the keys that --set takes, with their values and what they mean."""
    from opkit.case.recipe import Recipe, Training
    from opkit.cli.console import as_json, shown, table
    from opkit.cli.option_list import described
    from opkit.operators.interface import operator_class

    chosen = case.recipes.get(operator) or Recipe(operator=operator)
    rows: list[dict[str, Any]] = []

    def add(prefix: str, record: Any, values: dict[str, Any], no: set[str]) -> None:
        rows.extend(
            {
                "key": prefix + row["option"],
                "value": values.get(row["option"], row["default"]),
                "about": row["about"],
            }
            for row in described(record)
            if row["option"] not in no
        )

    plain = chosen.model_dump(mode="json")
    inner = {"model", "training", "stream", "expectation"}
    add("", Recipe, plain, inner)
    add("training.", Training, plain["training"], set())
    if chosen.stream or chosen.operator == "hypino":
        rows += [
            {"key": f"stream.{key}", "value": value, "about": ""}
            for key, value in chosen.stream.items()
        ]
        rows += [
            {"key": f"model.{key}", "value": value, "about": ""}
            for key, value in chosen.model.items()
        ]
    else:
        add(
            "model.", operator_class(chosen.operator).Options, dict(chosen.model), set()
        )
    if json:
        as_json(rows)
        return
    table([{**row, "value": shown(row["value"])} for row in rows])
    print(
        f"Set them by `opkit train DATA --operator {operator} --set KEY=VALUE`.\n"
        f"`opkit cases show {case.name}` shows the keys that `opkit generate` takes."
    )
