"""The verb export: a surrogate as a file that runs without opkit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opkit.cli import complete
from opkit.cli.cases import JSON
from opkit.cli.console import as_json, size, table


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to the command line."""
    app.command()(export)


def export(
    run: Annotated[Path, typer.Argument(help="Run directory or bundle.")],
    to: Annotated[
        str,
        typer.Option(
            "--to", help="pt2, aoti or onnx.", autocompletion=complete.targets
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File to make; default in the run directory."),
    ] = None,
    batch: Annotated[
        str, typer.Option(help="dynamic, or the one batch size to take.")
    ] = "dynamic",
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Data file to compare on; default the run's own."),
    ] = None,
    device: Annotated[
        str, typer.Option(help="cpu or cuda.", autocompletion=complete.devices)
    ] = "cpu",
    no_verdict: Annotated[
        bool,
        typer.Option("--no-verdict", help="Leave out error bound, novelty and range."),
    ] = False,
    derivatives: Annotated[
        bool,
        typer.Option("--derivatives", help="Also write jvp and vjp (pt2, aoti)."),
    ] = False,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Export a surrogate, execute the file, and compare it with the surrogate."""
    from opkit.errors import OpkitInputError

    if batch != "dynamic" and not (batch.isascii() and batch.isdigit()):
        raise OpkitInputError(
            f"--batch {batch!r}: give a positive number, or dynamic for any"
        )
    from opkit.export import export as run_it

    # Python reads no number of more than 4,300 digits; 20 are refused as too large
    number = None if batch == "dynamic" else int(batch[:20])
    result = run_it(run, to, out, number, data, device, not no_verdict, derivatives)
    if json:
        as_json(result)
        return
    shapes = {
        field.name: " x ".join(map(str, field.shape))
        for field in (*result.inputs, *result.outputs)
    }
    values = {
        "file": f"{result.file}, {size(result.bytes)}",
        **shapes,
        "samples compared": result.difference.samples,
        "relative L2 difference": f"{result.difference.relative_l2:.1e}",
        "allowed": f"{result.difference.tolerance:.1e}",
        **{
            f"largest difference, {name}": f"{value:.1e}"
            for name, value in result.difference.max_abs.items()
        },
        "programs": " ".join(result.programs),
        "verdict": " ".join(field.name for field in result.verdict)
        or f"none: {result.no_verdict}",
        **{
            f"{name}, relative L2 difference": f"{product.relative_l2:.1e}"
            for name, product in result.derivatives.items()
        },
        "seconds": f"{sum(result.seconds.values()):.1f}",
    }
    table([{"what": what, "value": value} for what, value in values.items()])
