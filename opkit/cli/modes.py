"""The verb modes: what of the dynamics in a data file is linear, and how surely."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opkit.cli.cases import JSON
from opkit.cli.console import as_json, say, table


def register(app: typer.Typer) -> None:
    """Add the verb of this file to the command line."""
    app.command()(modes)


def modes(
    data: Annotated[Path, typer.Argument(help="Data file of trajectories.")],
    split: Annotated[str, typer.Option(help="Of its samples.")] = "train",
    most: Annotated[int, typer.Option(min=1, help="POD modes.")] = 32,
    quadratic: Annotated[
        bool, typer.Option("--quadratic", help="Use products of coordinates too.")
    ] = False,
    rows: Annotated[int, typer.Option(min=1, help="Modes that are listed.")] = 12,
    json: Annotated[bool, JSON] = False,
) -> None:
    """List the modes of a linear model of the dynamics, with the error of each.

    Half of the trajectories fit the model, the others verify its modes.
    """
    from opkit.evaluate.koopman import VERIFIED, modes_of_file

    found = modes_of_file(data, split, most, quadratic)
    listed = [
        {
            "|eigenvalue|": float(abs(value)),
            "growth rate": float(growth),
            "frequency": float(frequency),
            "residual": float(residual),
            "verified": "yes" if residual <= VERIFIED else "no",
        }
        for value, growth, frequency, residual in zip(
            found.eigenvalues,
            found.growth,
            found.frequency,
            found.residuals,
            strict=True,
        )
    ]
    if json:
        as_json({"modes": listed, "features": found.features})
        return
    table(listed[:rows])
    say(
        f"{int(found.verified.sum())} of {found.features} modes are verified (residual "
        f"up to {VERIFIED:g} on trajectories that they were not fitted to)"
    )
