"""The verb serve: a surrogate as a server."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from opkit.base.visible import visible
from opkit.cli.cases import JSON


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to the command line."""
    app.command()(serve)


def serve(
    run: Annotated[Path, typer.Argument(help="Run directory or bundle.")],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="0 takes any that is free.")
    ] = 4242,
    host: Annotated[
        str, typer.Option(help="Address to be bound to; others than loopback: --token.")
    ] = "127.0.0.1",
    page: Annotated[
        bool, typer.Option("--page", help="Show a page at / to try it in a browser.")
    ] = False,
    token: Annotated[
        str,
        typer.Option(
            envvar="OPKIT_SERVE_TOKEN", help="What clients send: Bearer, or a password."
        ),
    ] = "",
    megabytes: Annotated[
        float, typer.Option(min=0.001, help="Largest body of a request.")
    ] = 32.0,
    seconds: Annotated[
        float, typer.Option(min=0.001, help="Until a request is answered, at most.")
    ] = 60.0,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Answer over HTTP: the UM-Bridge protocol, and JSON at /predict.

    Levels are surrogate, checked (solved where the prediction may be off by more than a
    tolerance) and solver. /schema says what /predict takes. Ctrl-C ends it.
    """
    from json import dumps

    from opkit.serve import Limits
    from opkit.serve import serve as run_it

    def ready(url: str) -> None:
        text = visible(f"{run} at {url} (Ctrl-C ends it)")
        line = dumps({"url": url, "model": "forward"}) if json else text
        try:
            print(line, flush=True)
        except BrokenPipeError:  # who started it does not listen: clients may
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115

    run_it(run, host, port, token, Limits(megabytes, seconds), page, ready)
