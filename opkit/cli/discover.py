"""The verb discover: which terms does a model lack?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opkit.cli import complete
from opkit.cli.cases import JSON, SET
from opkit.cli.console import as_json, say, table

if TYPE_CHECKING:
    from opkit.discover import Discovery


def register(app: typer.Typer) -> None:
    """Add the verb of this file to the command line."""
    app.command()(discover)


def discover(
    name: Annotated[
        str,
        typer.Argument(
            metavar="CASE",
            help="Name of a case, a YAML path, or a data file (.h5): the truth.",
            autocompletion=complete.cases,
        ),
    ],
    wrong: Annotated[
        list[str] | None,
        typer.Option(
            "--wrong", metavar="KEY=VALUE", help="What the model has otherwise."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.py:FUNCTION",
            help="Of a data file: your own model, states (sample, *space) to those one "
            "record interval later. The file is run.",
        ),
    ] = None,
    interval: Annotated[
        float | None,
        typer.Option(help="Of the increments; 0.005, or that of the data file."),
    ] = None,
    pairs: Annotated[int, typer.Option(help="States that are observed.")] = 20,
    apart: Annotated[
        int | None,
        typer.Option(help="Record intervals between observed states; 10."),
    ] = None,
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

    The model is the solver of the same case with other values (--wrong), or, of a data
    file, a function of your own (--model).
    """
    from opkit.discover.from_file import from_file, load_model
    from opkit.errors import OpkitInputError

    if name.endswith((".h5", ".hdf5")):
        for option, given in (
            ("--interval", interval), ("--apart", apart), ("--set", set_)
        ):  # fmt: skip
            if given is not None and given != []:
                raise OpkitInputError(
                    f"{option} is about cases: a data file has its own records; leave "
                    "it out"
                )
        found = from_file(
            Path(name),
            None if model is None else load_model(model),
            wrong=wrong or (),
            pairs=pairs,
            steps=steps,
            powers=powers,
            derivatives=derivatives,
            least=least,
            corrections=corrections,
        )
    else:
        if model is not None:
            raise OpkitInputError(
                "--model is about data files: generate one, or give --wrong"
            )
        if not wrong:
            raise OpkitInputError(
                "give --wrong KEY=VALUE: what the model has otherwise"
            )
        found = _of_case(
            name, set_ or [], wrong, interval, apart, pairs, steps, powers,
            derivatives, least, corrections, seed,
        )  # fmt: skip
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


def _of_case(
    name: str,
    set_: list[str],
    wrong: list[str],
    interval: float | None,
    apart: int | None,
    pairs: int,
    steps: int | None,
    powers: int,
    derivatives: int,
    least: float,
    corrections: int,
    seed: int,
) -> Discovery:
    from opkit.case import load_case
    from opkit.discover.trial import trial

    return trial(
        load_case(name, set_),
        load_case(name, [*set_, *wrong]),
        interval=0.005 if interval is None else interval,
        pairs=pairs,
        apart=10 if apart is None else apart,
        steps=steps,
        powers=powers,
        derivatives=derivatives,
        least=least,
        corrections=corrections,
        seed=seed,
    )
