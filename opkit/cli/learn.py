"""Verbs about operators: train, evaluate, predict, plot."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to the command line."""
