"""Change one value in a record of a run, its checksum made right, and call verbs on it.

A run directory is read from others, and its ``config.yaml`` is edited by hand: every
value may be of another kind, missing, or of another size.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forked
import full_disks
import headers
import mutated
import yaml

SECONDS = 300
RESUME = "train --resume run -q --set training.epochs=5"
READ = ("runs .", "predict run d.h5 -o p.h5", "evaluate run", "report run -o r.html "
        "--no-solver", "plot run", "train d.h5 --continue run -o run2 -q "
        "--set training.epochs=1", "export run --to pt2")  # fmt: skip


def _sealed_manifest(data: Any) -> bytes:
    from opkit.train.loop import checkpoint

    if isinstance(data, dict):
        data = {k: v for k, v in data.items() if k != "manifest_sha256"}
        data["manifest_sha256"] = checkpoint._digest(data)
    return json.dumps(data).encode()


def _sealed_bundle(data: Any) -> bytes:
    from opkit.surrogate.bundle import files

    if isinstance(data, dict):
        data = {k: v for k, v in data.items() if k != "sha256"}
        return files._seal(data)
    return json.dumps(data).encode()


def _yaml(data: Any) -> bytes:
    text: str = yaml.safe_dump(data, allow_unicode=True)
    return text.encode("utf-8", "replace")


def _plain(data: Any) -> bytes:
    return json.dumps(data).encode()


RECORDS: dict[str, tuple[str, Callable[[Any], bytes], tuple[str, ...]]] = {
    "config of a run": ("run/config.yaml", _yaml, (RESUME, *READ)),
    "manifest of checkpoints": (
        "run/checkpoints/manifest.json", _sealed_manifest, (RESUME, "runs .")
    ),
    "record of a bundle": ("run/bundle/config.json", _sealed_bundle, READ),
    "environment of a run": ("run/environment.json", _plain, (RESUME, *READ)),
}  # fmt: skip
TEXTS = ("run/metrics.csv", "run/log.jsonl")
ODD = (b"nan", b"-inf", b"1e999", b"9" * 4500, b"x" * 200_000, b'"', b"\0", b"\r",
       b"-1", b"1e30", b"[[[", b"{}", b"null", b"\xff", b"\x1b[2J")  # fmt: skip
"""Of cells and lines, the longest longer than csv allows."""


def odd_cell(content: bytes, rng: random.Random) -> bytes:
    """Replace one cell of a table, or one value of a log."""
    lines = content.split(b"\n")
    row = rng.randrange(len(lines))
    cells = lines[row].split(b",")
    cells[rng.randrange(len(cells))] = rng.choice(ODD)
    lines[row] = b",".join(cells)
    return b"\n".join(lines)


class Records:
    """A run whose records are changed.

    Args:
        folder: an empty one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "records"
        self.folder.mkdir()
        self.opkit = forked.Opkit(self.folder)
        full_disks.prepare(self.folder, self.opkit)
        self.before = full_disks.tree(self.folder)

    def edited(self, kind: str, count: int, seed: int) -> dict[str, int]:
        """Change one value so many times, and call one verb on each.

        Args:
            kind: of `RECORDS`, or ``"tables and logs of a run"``.
            count: of changes.
            seed: of them.
        """
        rng = random.Random(f"{seed} {kind}")
        counts = dict.fromkeys(
            ("records", "did their work", "one line", "untyped or crashed", "hung",
             "over 2.5 GB", "controls printed"), 0
        )  # fmt: skip
        for number in range(count):
            if kind in RECORDS:
                name, seal, verbs = RECORDS[kind]
                content = self.before[name] or b""
                parse = yaml.safe_load if name.endswith("yaml") else json.loads
                changed = seal(headers.edited(parse(content), rng))
            else:
                name, verbs = TEXTS[number % 2], (RESUME, *READ)
                content = self.before[name] or b""
                change = rng.choice((odd_cell, mutated.mutated))
                changed = change(content, rng)
            (self.folder / name).write_bytes(changed)
            words = verbs[number // 2 % len(verbs)]
            ended = self.opkit(words, seconds=SECONDS)
            counts["records"] += 1
            untyped = forked.tally(counts, ended)
            counts["controls printed"] += "\x1b" in ended.out + ended.err
            if untyped or ended.mebibytes > forked.MEBIBYTES:
                print(kind, words, ended.code, ended.err[-900:], file=sys.stderr)
                kept = self.folder.parent / f"{kind} {number}".replace(" ", "-")
                kept.write_bytes(changed)
            full_disks.restore(self.folder, self.before)
        return counts


def battery(
    folder: Path, count: int, seed: int = 0, only: tuple[str, ...] = ()
) -> Iterator[tuple[str, dict[str, int]]]:
    """Change each kind of record so many times."""
    records = Records(folder)
    for kind in (*RECORDS, "tables and logs of a run"):
        if not only or kind in only:
            yield kind, records.edited(kind, count, seed)
    records.opkit.close()
