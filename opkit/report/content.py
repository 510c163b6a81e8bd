"""What a report is made of: sections of text, tables and pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table with a caption; every cell is text.

    Args:
        caption: what the rows are and how they were measured.
        columns: headings; the first column names the row.
        rows: one tuple a row, as long as ``columns``.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Picture:
    """An image inside the page.

    Args:
        uri: ``data:`` address of a PNG or SVG.
        alt: what a reader who does not see it should know.
        caption: below it.
        wide: a chart; fields are drawn narrower, several in a line.
    """

    uri: str
    alt: str
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Row:
    """Pictures that belong together, with a heading."""

    heading: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Section:
    """One part of the page, in this order: text, warnings, tables, pictures, commands.

    Args:
        key: anchor in the page's table of contents.
        title: heading.
        text: paragraphs.
        warnings: what is wrong, one line each.
        tables: tables.
        rows: rows of pictures.
        commands: to type into a shell.
    """

    key: str
    title: str
    text: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    rows: tuple[Row, ...] = ()
    commands: tuple[str, ...] = ()


def number(value: float | None, digits: int = 3) -> str:
    """Format a number with so many significant digits; "-" where there is none."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.{digits}g}"


def grid(shape: Sequence[int]) -> str:
    """Format a resolution, such as ``"85 × 85"``, or ``"833 points"`` of a mesh."""
    text = " × ".join(str(n) for n in shape)
    return text if len(shape) > 1 else f"{text} points"


def pairs(caption: str, values: dict[str, str]) -> Table:
    """Return a table of names and values; empty values are left out."""
    rows = tuple((name, value) for name, value in values.items() if value)
    return Table(caption, ("what", "value"), rows)
