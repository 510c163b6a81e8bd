"""Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as a Markdown table; empty if there are none."""
    rows = list(rows)
    if not rows:
        return ""
    head = list(rows[0])
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [f"| {' | '.join(cell(row[key]) for key in head)} |" for row in rows]
    return "\n".join(lines) + "\n"


def cell(value: Any) -> str:
    """Return a value so that it stays inside its cell."""
    text = "" if value is None else str(value)
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def code(value: Any) -> str:
    """Return a value as code, or nothing where there is none."""
    return "" if value in (None, "") else f"`{value}`"


def contents(pages: Iterable[str]) -> str:
    """Return a hidden table of contents of pages in the same folder."""
    return "\n```{toctree}\n:hidden:\n:maxdepth: 1\n\n" + "\n".join(pages) + "\n```\n"
