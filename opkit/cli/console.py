"""Tables, JSON and progress, on a terminal and without one."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol


def as_json(data: Any) -> None:
    """Print data as JSON."""
    print(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def table(
    rows: Sequence[Mapping[str, Any]], title: str | None = None, json_: bool = False
) -> None:
    """Print rows (mappings with the same keys) as a table, or as JSON."""
    if json_:
        as_json(list(rows))
        return
    from rich.console import Console
    from rich.table import Table

    drawn = Table(title=title, title_justify="left")
    for key in rows[0] if rows else ():
        drawn.add_column(str(key), overflow="fold")
    for row in rows:
        drawn.add_row(*(cell(value) for value in row.values()))
    width = None if sys.stdout.isatty() else 120
    Console(width=width).print(drawn)


def cell(value: Any) -> str:
    """Format one table cell: four significant digits for floats, '-' for None."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class Update(Protocol):
    """Reports progress: units done, and a short text about the state."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Show that ``done`` of ``total`` units are done."""
        ...


@contextmanager
def progress(label: str, unit: str, quiet: bool = False) -> Iterator[Update]:
    """Draw a progress bar on a terminal; print plain lines where there is none."""
    if quiet:
        yield lambda done, total, note="": None
    elif sys.stderr.isatty():
        with _bar(label, unit) as update:
            yield update
    else:
        yield _lines(label, unit)


@contextmanager
def _bar(label: str, unit: str) -> Iterator[Update]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=None, note="")

        def update(done: int, total: int, note: str = "") -> None:
            bar.update(task, completed=done, total=total, note=note)

        yield update


def _lines(label: str, unit: str, seconds: float = 10.0) -> Update:
    start = last = time.monotonic()

    def update(done: int, total: int, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if done < total and now - last < seconds:
            return
        last = now
        left = (now - start) * (total - done) / max(done, 1)
        print(
            f"{label} {done}/{total} {unit}, {left:.0f} s left  {note}",
            file=sys.stderr,
            flush=True,
        )

    return update
