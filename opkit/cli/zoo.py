"""The verb zoo: trained surrogates that come with opkit."""

from __future__ import annotations

from typing import Annotated

import typer

from opkit.cli import complete
from opkit.cli.cases import JSON
from opkit.cli.console import as_json, size, table


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command()(zoo)


def zoo(
    name: Annotated[
        str | None,
        typer.Argument(help="Bundle whose card to print.", autocompletion=complete.zoo),
    ] = None,
    json: Annotated[bool, JSON] = False,
) -> None:
    """List the trained surrogates that come with opkit, or print the card of one.

    `zoo:NAME` stands wherever a run or bundle is asked for, here and in `opkit.load`.
    """
    from opkit.surrogate.bundle.zoo_list import card, list_zoo

    if name is not None:
        text = card(name)
        if json:
            as_json({"name": name, "card": text})
        else:
            print(text, end="")
        return
    entries = list_zoo()
    if json:
        as_json(entries)
        return
    table(
        [
            {
                "name": entry.name,
                "case": entry.case,
                "operator": entry.operator,
                "grid": " x ".join(map(str, entry.grid)),
                "relative L2": entry.error,
                "size": size(entry.bytes),
            }
            for entry in entries
        ]
    )
    print("`opkit zoo NAME` prints the card of one.")
