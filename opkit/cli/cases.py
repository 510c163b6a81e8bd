"""`opkit cases`: the table of cases, and one case resolved."""

from __future__ import annotations

from typing import Annotated

import typer

SET = typer.Option("--set", metavar="KEY=VALUE", help="Override a value: a.b=3.")
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
    from opkit.cli.console import table

    table([_row(load_case(name)) for name in list_cases()], json_=json)


def _row(case: object) -> dict[str, object]:
    from opkit.case.record import Case

    assert isinstance(case, Case)
    return {
        "case": case.name,
        "version": case.version,
        "title": case.title,
        "resolution": " x ".join(str(n) for n in case.shape),
        "recipes": ", ".join(case.recipes),
    }


@cases.command()
def show(
    name: str,
    set_: Annotated[list[str] | None, SET] = None,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Show a case, resolved: equation, references, solver, fields, recipes."""
    from opkit.case import load_case
    from opkit.cli.console import as_json

    case = load_case(name, set_ or ())
    if json:
        as_json(case.dump())
        return
    import yaml
    from rich.console import Console
    from rich.syntax import Syntax

    case.build_solver()
    data = {k: v for k, v in case.dump().items() if k not in ("title", "equation")}
    console = Console()
    console.print(f"{case.title}  ({case.identity})", style="bold", markup=False)
    console.print(f"\n  {case.equation}\n", markup=False, highlight=False)
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=88)
    console.print(Syntax(text, "yaml", background_color="default", word_wrap=True))
