"""The verb discover: which terms does a model lack?"""

from __future__ import annotations

from typing import Annotated

import typer

from opkit.cli import complete
from opkit.cli.cases import JSON, SET
from opkit.cli.console import as_json, say, table


def register(app: typer.Typer) -> None:
    """Add the verb of this file to the command line."""
    app.command()(discover)


def discover(
    name: Annotated[
        str,
        typer.Argument(
            metavar="CASE",
            help="Name of a case, or a YAML path: the truth.",
            autocompletion=complete.cases,
        ),
    ],
    wrong: Annotated[
        list[str],
        typer.Option(
            "--wrong", metavar="KEY=VALUE", help="What the model has otherwise."
        ),
    ],
    interval: Annotated[float, typer.Option(help="Of the increments.")] = 0.005,
    pairs: Annotated[int, typer.Option(help="States that are observed.")] = 20,
    apart: Annotated[
        int, typer.Option(help="Record intervals between observed states.")
    ] = 10,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Fixed time steps of the solvers in an interval."),
    ] = None,
    powers: Annotated[int, typer.Option(help="Largest power of u in a term.")] = 4,
    derivatives: Annotated[int, typer.Option(help="Largest order of u_x...")] = 4,
    least: Annotated[
        float, typer.Option(help="Share of the increments that a term has to have.")
    ] = 0.01,
    corrections: Annotated[
        int, typer.Option(help="Of the finite interval; 0 as published.")
    ] = 4,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    set_: Annotated[list[str] | None, SET] = None,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Find the terms that a model lacks, from states of a case and their successors.

    The model is the solver of the same case with other values (--wrong); for a model
    and data of your own use opkit.discover in Python.
    """
    from opkit.case import load_case
    from opkit.discover.trial import trial

    truth = load_case(name, set_ or ())
    found = trial(
        truth,
        load_case(name, [*(set_ or ()), *wrong]),
        interval=interval,
        pairs=pairs,
        apart=apart,
        steps=steps,
        powers=powers,
        derivatives=derivatives,
        least=least,
        corrections=corrections,
        seed=seed,
    )
    if json:
        as_json(found)
        return
    if not found.terms:
        say(f"none of the {found.candidates} terms is missing")
        return
    table(found.rows())
    say(
        f"of {found.candidates} terms; unexplained: "
        f"{1 - found.explained:.2g} of the increments' variance"
    )
