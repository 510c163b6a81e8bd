"""Two command lines at the same time over one run, one target, one store.

Each pair starts with another distance in time, from none to what the first one takes.
Both do their work or end in one line, at least one does it, and what is there at the
end is whole: as after one of them alone, with nothing beside it.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import forked
import full_disks

RESUME = "train --resume run -q --set training.epochs=8"
METRICS = """
import csv, opkit
rows = [int(float(r["epoch"])) for r in csv.DictReader(open("run/metrics.csv"))]
assert rows == list(range(1, len(rows) + 1)), rows
opkit.load("run")
"""
EIGHT = f"{METRICS}assert len(rows) == 8, rows\n"
FILE = """
from pathlib import Path
from opkit.datasets.read import DataFile
with DataFile(Path("{}"), trusted=True) as file:
    assert sum(1 for _ in file.verify()) == len(file) == {}
"""
HELD = """
import numpy as np
from pathlib import Path
assert all(len(v) for v in np.load("p.npz").values())
"""
SOLVE = f"{full_disks.LOADED}; s.solve({{}} * x, exact=True, store='q.h5')"
ROWS = 8 + 2 + 200
"""Samples of each split of the file that it writes."""
DARCY = f"generate case darcy -o g.h5 -q {full_disks.SMALL}"


@dataclass(frozen=True)
class Pair:
    """Two command lines.

    Args:
        first: of them.
        second: of them; the same where empty.
        check: a program that ends with an error where the result is not whole.
        both: whether both are to do their work.
    """

    first: str
    second: str = ""
    check: str = ""
    both: bool = False


PAIRS = {
    "resume, resume": Pair(RESUME, check=EIGHT),
    "resume, predict": Pair(
        RESUME, "predict run d.h5 -o p.npz", EIGHT + HELD, both=True
    ),
    "resume, report": Pair(RESUME, "report run -o r.html --no-solver", EIGHT, True),
    "resume, runs": Pair(RESUME, "runs .", EIGHT, True),
    "resume, export": Pair(RESUME, "export run --to pt2 -o x.pt2", EIGHT),
    "resume, train over it": Pair(RESUME, full_disks.TRAIN.replace("run2", "run"),
                                  METRICS),
    "train, train": Pair(full_disks.TRAIN, check=METRICS.replace("run", "run2")),
    "generate, generate": Pair(DARCY, check=FILE.format("g.h5", ROWS)),
    "generate -w, generate": Pair(f"{DARCY} -w 2", DARCY, FILE.format("g.h5", ROWS)),
    "generate, import to it": Pair(
        DARCY, "import g.h5 --train a.npz --input a=a:sample,x --output b=b:sample,x",
        "from pathlib import Path\nfrom opkit.datasets.read import DataFile\n"
        "DataFile(Path('g.h5'), trusted=True).close()",
    ),
    "predict, predict": Pair("predict run d.h5 -o p.npz", check=HELD),
    "predict, predict --force": Pair(
        "predict run d.h5 -o p.npz --force", check=HELD, both=True
    ),
    "predict --force to what is read": Pair(
        "predict run d.h5 -o p.h5 --force", "inspect p.h5"
    ),
    "import, import": Pair(full_disks.VERBS["import"].words,
                           check=FILE.format("i.h5", 40)),
    "export-data, export-data": Pair("export-data d.h5 zarr --to zarr"),
    "solve(store=), solve(store=)": Pair(
        f"-c {SOLVE.format(2)}", f"-c {SOLVE.format(3)}", FILE.format("q.h5", 2), True
    ),
    "solve(store=), predict from it": Pair(
        f"-c {full_disks.LOADED}; s.solve(3 * x, exact=True, store='old.h5')",
        "predict run old.h5 -o p.npz", FILE.format("old.h5", 2) + HELD, True,
    ),
    "export, export": Pair("export run --to pt2 -o x.pt2"),
    "plot, plot": Pair("plot run", both=True),
    "plot, resume": Pair("plot run", RESUME, EIGHT, True),
    "tune, tune": Pair(full_disks.VERBS["tune"].words),
    "new, new": Pair("new case rod-and-more"),
}  # fmt: skip
LEFT = (".tmp-", ".parts", "-wal", "-journal")


def battery(
    folder: Path, count: int, seed: int = 0, only: tuple[str, ...] = ()
) -> Iterator[tuple[str, dict[str, int]]]:
    """Run each pair so many times.

    Args:
        folder: an empty one.
        count: of times for each pair.
        seed: of the distances.
        only: pairs; all by default.
    """
    work = folder / "races"
    work.mkdir()
    one, other = forked.Opkit(work), forked.Opkit(work)
    full_disks.prepare(work, one)
    before = full_disks.tree(work)
    for name, pair in PAIRS.items():
        if only and name not in only:
            continue
        rng = random.Random(f"{seed} {name}")
        counts = dict.fromkeys(
            ("pairs", "both did", "one did", "none did", "untyped or hung", "not whole",
             "left something"), 0
        )  # fmt: skip
        start = time.monotonic()
        alone = one(_words(pair.first))
        took = time.monotonic() - start
        assert alone.code == 0, (name, alone)
        full_disks.restore(work, before)
        for _ in range(count):
            pause = rng.choice((0.0, rng.uniform(0, took)))
            swapped = rng.random() < 0.5
            lines = [_words(pair.first), _words(pair.second or pair.first)]
            ended = _at_once(one, other, lines[:: -1 if swapped else 1], pause)
            done = sum(e.code == 0 for e in ended)
            faults = [e for e in ended if not (e.code == 0 or e.typed)]
            after = full_disks.tree(work)
            left = [k for k in after if any(part in k for part in LEFT)]
            check = one(["-c", pair.check]) if pair.check else None
            broken = check is not None and check.code != 0
            counts["pairs"] += 1
            counts[("none did", "one did", "both did")[done]] += 1
            counts["untyped or hung"] += bool(faults)
            counts["not whole"] += broken
            counts["left something"] += bool(left)
            if faults or broken or left or not done or (pair.both and done < 2):
                said = [(e.code, e.hung, e.err[-700:]) for e in ended]
                why = check.err[-700:] if check else ""
                print(name, round(pause, 2), swapped, said, left, why, file=sys.stderr)
            full_disks.restore(work, before)
        yield name, counts
    one.close()
    other.close()


def _words(line: str) -> str | list[str]:
    return ["-c", line[3:]] if line.startswith("-c ") else line


def _at_once(
    one: forked.Opkit,
    other: forked.Opkit,
    lines: list[str | list[str]],
    pause: float,
) -> list[forked.Ended]:
    """Run two command lines, the second so many seconds later."""
    results: list[forked.Ended] = []
    first = threading.Thread(target=lambda: results.append(one(lines[0], seconds=300)))
    first.start()
    time.sleep(pause)
    second = other(lines[1], seconds=300)
    first.join()
    return [*results, second]
