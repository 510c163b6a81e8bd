"""The verb report: a run as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opkit.cli.cases import FORCE, JSON
from opkit.cli.console import as_json, say

SOLVER = typer.Option("--solver/--no-solver", help="Time the case's solver.")


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to the command line."""
    app.command()(report)


def report(
    run: Annotated[Path, typer.Argument(help="Run directory or bundle.")],
    out: Annotated[Path, typer.Option("--out", "-o", help=".html file.")] = Path(
        "report.html"
    ),
    data: Annotated[
        Path | None, typer.Option("--data", help="Data file; default the run's own.")
    ] = None,
    solver: Annotated[bool, SOLVER] = True,
    json: Annotated[bool, JSON] = False,
    force: Annotated[bool, FORCE] = False,
) -> None:
    """Write everything about a run into one HTML page that needs nothing else."""
    from opkit.report import report as write

    path = write(run, out, data, solver, force)
    if json:
        as_json({"file": path})
    else:
        say(path)
