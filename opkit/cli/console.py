"""Tables, JSON and progress, on a terminal and without one."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rich.cells import cell_len
from rich.text import Text

from opkit.base.visible import visible, visible_json

if TYPE_CHECKING:
    from opkit.surrogate.bundle.record import Score


def as_json(data: Any) -> None:
    """Print one JSON document: numbers as numbers, keys as in Python.

    Args:
        data: anything `plain` takes.
    """
    print(visible_json(json.dumps(plain(data), indent=2, ensure_ascii=False)))


def say(text: object, error: bool = False) -> None:
    """Print text of which a part may come from a file or be the name of one."""
    print(visible(str(text)), file=sys.stderr if error else sys.stdout)


def paragraph(text: str) -> None:
    """Print a sentence or more, broken between words at the terminal's width."""
    width = shutil.get_terminal_size((120, 24)).columns
    print(textwrap.fill(visible(text), width, break_on_hyphens=False))


def plain(value: Any) -> Any:
    """Return dataclasses, records and arrays as JSON's types; inf and nan as None."""
    from pydantic import BaseModel

    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="json"))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    if type(value).__module__ == "numpy":
        return plain(value.tolist())
    return str(value)


NUMBER = re.compile(r"[-+∞%.,\d]+(e[-+]?\d+)?( ?[x×/] ?[-+.\d]+)*|nan|inf|-|")
"""Cells that are not broken over lines: numbers, sizes such as 64 x 64, nothing."""
LONGEST = 24
"""A word of more characters may be broken where a table is too wide."""


def table(rows: Sequence[Mapping[str, Any]], title: str | None = None) -> None:
    """Print rows (mappings with the same keys) as a table.

    Texts are broken between words, numbers never; where that is too wide, each row is
    printed as lines of its own.
    """
    from rich.console import Console
    from rich.table import Table

    title = None if title is None else visible(title)
    width = shutil.get_terminal_size((120, 24)).columns
    names = [visible(str(key)) for key in rows[0]] if rows else []
    cells = [[cell(value) for value in row.values()] for row in rows]
    boxed = True
    widths = _widths(names, cells, width - 3 * len(names) - 1)
    if widths is None:
        boxed = False
        widths = _widths(names, cells, width - 2 * (len(names) - 1))
    console = Console(width=width)
    if widths is None:
        if title:
            console.print(title, style="italic", markup=False, highlight=False)
        for row in cells:
            _record(names, row, width)
        return
    style: dict[str, Any] = {} if boxed else {"box": None, "padding": (0, 2, 0, 0)}
    drawn = Table(
        title=title and Text(title), title_justify="left", pad_edge=boxed, **style
    )
    columns = list(zip(*cells, strict=True))
    for name, chosen, column in zip(names, widths, columns, strict=True):
        right = all(NUMBER.fullmatch(text) for text in column) and any(column)
        drawn.add_column(
            name, width=chosen, overflow="fold", justify="right" if right else "left"
        )
    for row in cells:
        drawn.add_row(*(Text(text) for text in row))
    console.print(drawn)


def _widths(
    names: Sequence[str], cells: Sequence[Sequence[str]], room: int
) -> list[int] | None:
    """Share the room between columns; None where even the least widths exceed it."""
    columns = [[name, *(row[i] for row in cells)] for i, name in enumerate(names)]
    widths = [max(cell_len(text) for text in column) for column in columns]
    least = [max(map(_least, column)) for column in columns]
    if sum(least) > room:
        return None
    while sum(widths) > room:
        spare = [width - low for width, low in zip(widths, least, strict=True)]
        widest = max(range(len(widths)), key=lambda i: (spare[i] > 0, widths[i]))
        widths[widest] -= 1
    return widths


def _least(text: str) -> int:
    """Return the least width of a cell whose words, or number, stay whole."""
    if NUMBER.fullmatch(text):
        return cell_len(text)
    return max((min(cell_len(word), LONGEST) for word in text.split()), default=0)


def _record(names: Sequence[str], row: Sequence[str], width: int) -> None:
    """Print a row as lines: a name and its value, continued below the value."""
    pad = max(map(cell_len, names)) + 2
    for name, text in zip(names, row, strict=True):
        print(
            textwrap.fill(
                text or "-",
                width,
                initial_indent=name.ljust(pad),
                subsequent_indent=" " * pad,
                break_on_hyphens=False,
            )
        )
    print()


def cell(value: Any) -> str:
    """Format one table cell: four significant digits for floats, '-' for None."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else visible(str(value))


def shown(value: Any) -> str:
    """Format a setting as it is written on the command line: ``[16, 16]``, ``null``."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is None:
        return "null"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(shown, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


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


WIDE = 100
"""Columns from which on label, bar, count, pace and note share one line."""


@contextmanager
def _bar(label: str, unit: str) -> Iterator[Update]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    console = Console(stderr=True)
    text = TextColumn("{task.description}", markup=False, table_column=Column())
    bars = (BarColumn(bar_width=16),) if console.width >= WIDE else ()
    pace = _Pace()
    with Progress(*bars, text, console=console) as bar:
        task = bar.add_task(label, total=None)

        def update(done: int, total: int, note: str = "", resumed: int = 0) -> None:
            state = f"{done}/{total} {unit}"
            rate = pace(done - resumed, total - done)
            room = console.width - (18 if bars else 0)
            line = progress_text(label, state, rate, note, room)
            bar.update(task, completed=done, total=total, description=line)

        yield update


def progress_text(label: str, state: str, pace: str, note: str, width: int) -> str:
    """Return a progress line; where it is too long the note goes below it.

    The label is shortened in its middle before anything is dropped.

    Args:
        label: what is done.
        state: the count and its unit.
        pace: units a second, and the time left.
        note: about the state.
        width: of the terminal.
    """
    line = "  ".join(filter(None, (label, state, pace, note)))
    if cell_len(line) <= width:
        return line
    rest = "  ".join(filter(None, (state, pace)))
    room = max(width - cell_len(rest) - 2, 8)
    if cell_len(label) > room:
        half = (room - 1) // 2
        label = f"{label[: room - 1 - half]}…{label[-half:]}"
    lines = [f"{label}  {rest}"]
    if note:
        lines += textwrap.wrap(note, width, break_on_hyphens=False)
    return "\n".join(lines)


def _lines(label: str, unit: str, seconds: float = 10.0) -> Update:
    pace = _Pace()
    last = time.monotonic()

    def update(done: int, total: int, note: str = "", resumed: int = 0) -> None:
        nonlocal last
        now = time.monotonic()
        if done < total and now - last < seconds:
            return
        last = now
        rate = pace(done - resumed, total - done)
        parts = (f"{label}  {done}/{total} {unit}", rate, note)
        line = visible("  ".join(filter(None, parts)))
        print(line, file=sys.stderr, flush=True)

    return update


class _Pace:
    """Units a second since the start, and the time left."""

    def __init__(self) -> None:
        self.start = time.monotonic()

    def __call__(self, done: int, rest: int) -> str:
        if done <= 0:
            return ""
        elapsed = time.monotonic() - self.start
        rate = done / max(elapsed, 1e-9)
        if rest <= 0:
            return f"{rate:.3g}/s, {elapsed:.0f} s"
        return f"{rate:.3g}/s, {rest / rate:.0f} s left"


def score_rows(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Rows of a table of errors; in H1, of kinds of outputs, of quantities, if any.

    ``of NAME`` is the relative error of an output where some are no fields.
    """
    quantities = list(dict.fromkeys(q for score in scores for q in score.quantities))
    outputs = list(dict.fromkeys(o for score in scores for o in score.outputs))
    slopes = any(score.relative_h1 is not None for score in scores)
    return [
        {
            "predictor": score.predictor,
            "split": score.split,
            "resolution": "x".join(str(n) for n in score.resolution),
            "samples": score.samples,
            "relative L2": score.relative_l2,
            **({"relative H1": score.relative_h1} if slopes else {}),
            **{f"of {name}": score.outputs.get(name) for name in outputs},
            **{
                f"|error| of {name}" if outputs else name: score.quantities.get(name)
                for name in quantities
            },
            "s/sample": score.seconds,
        }
        for score in scores
    ]
