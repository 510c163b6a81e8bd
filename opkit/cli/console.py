"""Tables, JSON and progress, on a terminal and without one."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from opkit.surrogate.bundle.record import Score


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


def size(nbytes: int) -> str:
    """Format a number of bytes, such as ``"36.2 MB"``."""
    value, unit = float(nbytes), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.3g} {unit}"


class Update(Protocol):
    """Reports progress: units done, and a short text about the state."""

    def __call__(self, done: int, total: int, note: str = "", resumed: int = 0) -> None:
        """Show ``done`` of ``total`` units, ``resumed`` of them from before."""
        ...


@contextmanager
def progress(label: str, unit: str, quiet: bool = False) -> Iterator[Update]:
    """Draw a progress bar on a terminal; print plain lines where there is none."""
    if quiet:
        yield lambda done, total, note="", resumed=0: None
    elif sys.stderr.isatty():
        with _bar(label, unit) as update:
            yield update
    else:
        yield _lines(label, unit)


@contextmanager
def _bar(label: str, unit: str) -> Iterator[Update]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("{task.fields[pace]}"),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    pace = _Pace()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=None, note="", pace="")

        def update(done: int, total: int, note: str = "", resumed: int = 0) -> None:
            text = pace(done - resumed, total - done)
            bar.update(task, completed=done, total=total, note=note, pace=text)

        yield update


def _lines(label: str, unit: str, seconds: float = 10.0) -> Update:
    pace = _Pace()
    last = time.monotonic()

    def update(done: int, total: int, note: str = "", resumed: int = 0) -> None:
        nonlocal last
        now = time.monotonic()
        if done < total and now - last < seconds:
            return
        last = now
        text = pace(done - resumed, total - done)
        print(
            f"{label} {done}/{total} {unit}, {text}  {note}",
            file=sys.stderr,
            flush=True,
        )

    return update


class _Pace:
    """Units a second since the start, and the time left."""

    def __init__(self) -> None:
        self.start = time.monotonic()

    def __call__(self, done: int, left: int) -> str:
        if done <= 0:
            return ""
        elapsed = time.monotonic() - self.start
        rate = done / max(elapsed, 1e-9)
        if left <= 0:
            return f"{rate:.3g}/s, {elapsed:.0f} s"
        return f"{rate:.3g}/s, {left / rate:.0f} s left"


def score_rows(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Rows of a table of errors; those in H1 where there are any."""
    slopes = any(score.relative_h1 is not None for score in scores)
    return [
        {
            "predictor": score.predictor,
            "split": score.split,
            "resolution": "x".join(str(n) for n in score.resolution),
            "samples": score.samples,
            "relative L2": score.relative_l2,
            **({"relative H1": score.relative_h1} if slopes else {}),
            "s/sample": score.seconds,
        }
        for score in scores
    ]
