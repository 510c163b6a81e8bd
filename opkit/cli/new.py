"""The verb new: a small project of your own that works as it is."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from opkit.cli.console import say


def register(app: typer.Typer) -> None:
    """Add the verb of this file to the command line."""
    app.command()(new)


def new(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="case, operator, or plugin, which has both.",
            autocompletion=lambda: ["case", "operator", "plugin"],
        ),
    ],
    name: Annotated[
        str, typer.Argument(help="Lower-case words with hyphens, such as heat-rod.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to make the project's folder in; default here."),
    ] = None,
) -> None:
    """Write a project with a case, an operator or both, and tests that pass.

    The case is steady diffusion on a rod; put your own equation in its place.
    """
    from opkit.templates import write_project

    folder = write_project(kind, name, out)
    say(f"{folder}: written. Next:")
    there = shlex.quote(str(folder))
    say(f"  cd {there} && python -m pip install -e . && python -m pytest")
