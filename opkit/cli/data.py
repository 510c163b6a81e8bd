"""Verbs about data: generate, inspect, validate, import, export-data."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the verbs of this file to the command line."""
