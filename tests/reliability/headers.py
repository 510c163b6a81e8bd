"""Change the JSON header of a data file at random, its checksum made right."""

from __future__ import annotations

import copy
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hostile_hdf5

OTHERS: tuple[Any, ...] = (
    None, True, -1, 0, 1e308, 10**19, "", "x" * 5000, "[/b]", "\x1b[2J\x07", "\ud800",
    [], {}, [[]], [None], {"a": None}, {"kind": 3}, [1, "a"], "node", "sample",
)  # fmt: skip


def places(data: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in nested lists and dicts."""
    if at:
        yield at
    items: Any = ()
    if isinstance(data, dict):
        items = data.items()
    elif isinstance(data, list):
        items = enumerate(data)
    for key, value in items:
        yield from places(value, (*at, key))


def edited(data: Any, rng: random.Random) -> Any:
    """Return a copy with one value replaced, removed, added, or exchanged."""
    new = copy.deepcopy(data)
    every = list(places(new))
    *at, last = rng.choice(every)
    holder = new
    for key in at:
        holder = holder[key]
    kind = rng.randrange(4)
    if kind == 0:
        del holder[last]
    elif kind == 1 and isinstance(holder, dict):
        holder[rng.choice(["extra", "name", "role", "units", ""])] = rng.choice(OTHERS)
    elif kind == 2:
        other: Any = new
        for key in rng.choice(every):
            try:
                other = other[key]
            except (KeyError, IndexError, TypeError):
                break
        holder[last] = copy.deepcopy(other)
    else:
        holder[last] = rng.choice(OTHERS)
    return new


CHILD = """
import io, json, sys, traceback
from contextlib import redirect_stdout, redirect_stderr
from opkit.base import sandbox
from opkit.datasets import read
read.run_limited = lambda *_: ""  # this process is the child: thousands of files
import opkit.cli
untyped = 0
for line in sys.stdin:
    words = json.loads(line)
    sys.argv[1:] = words
    out, err = io.StringIO(), io.StringIO()
    code = 0
    try:
        with redirect_stdout(out), redirect_stderr(err):
            opkit.cli.main()
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        err.write(traceback.format_exc())
        code = 99
    text = out.getvalue() + err.getvalue()
    print(json.dumps([code, err.getvalue()[-3000:], "\\x1b" in text, "\\x07" in text]))
    sys.stdout.flush()
"""


class CommandLine:
    """Command lines in one process, as starting Python each time takes seconds."""

    def __init__(self, before: str = "") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", before + CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *words: str) -> tuple[int, str, bool]:
        """Return exit code, end of standard error, and whether controls got through."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(words), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            return -self._process.wait(), "the process ended", False
        code, text, escape, bell = json.loads(answer)
        return code, text, escape or bell

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def battery(
    folder: Path,
    count: int,
    verbs: Sequence[Callable[[Path], Sequence[str]]],
    seed: int = 0,
) -> dict[str, int]:
    """Edit the header `count` times and show each file to each verb."""
    rng = random.Random(seed)
    path = folder / "edited.h5"
    result = dict.fromkeys(
        ("files", "read", "refused", "untyped", "controls printed"), 0
    )
    opkit = CommandLine()
    for _ in range(count):

        def change(data: dict[str, Any]) -> str:
            header = edited(data, rng)
            return json.dumps(header)

        hostile_hdf5.with_header(path, change)
        result["files"] += 1
        for verb in verbs:
            code, text, controls = opkit(*verb(path))
            result["read"] += code == 0
            result["refused"] += code == 2
            wrong = code not in (0, 2) or "Traceback" in text
            result["untyped"] += wrong
            result["controls printed"] += controls
            if wrong:
                print(verb(path)[0], code, text[-800:], file=sys.stderr)
    opkit.close()
    return result
