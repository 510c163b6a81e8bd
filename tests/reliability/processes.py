"""Generations in child processes that can be killed, and what they leave behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opkit.base import safe_yaml
from opkit.case.record import Case, parse_case
from opkit.datasets.read import DataFile
from opkit.errors import DataError
from opkit.generate import generate

PLUGIN = Path(__file__).parents[1] / "plugin"
SAMPLES = 192
SCRIPT = """
import json, sys
from opkit.case import parse_case
from opkit.errors import OpkitError
from opkit.generate import generate
case, out, samples, options, before = json.loads(sys.argv[1])
exec(before)  # faults that this battery injects, from its own source
try:
    generate(parse_case(case), out, samples=samples, **options)
except OpkitError as error:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    sys.exit(2)
"""


def case(**parameters: Any) -> Case:
    """Heat flow, 16 x 16, four records: milliseconds a sample."""
    stated = safe_yaml.read(PLUGIN / "toy-heat.yaml")
    stated["solver"]["parameters"] = parameters
    return parse_case(stated | {"resolution": 16})


def install_plugin() -> None:
    """Let this process and its children find the toy solver."""
    paths = [str(PLUGIN), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    if str(PLUGIN) not in sys.path:
        sys.path.insert(0, str(PLUGIN))


def start(
    problem: Case,
    out: Path,
    before: str = "",
    environment: dict[str, str] | None = None,
    **options: Any,
) -> subprocess.Popen[str]:
    """Start a generation in a process group of its own."""
    argument = json.dumps([problem.dump(), str(out), SAMPLES, options, before])
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, argument],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **(environment or {})},
    )


def parts(out: Path) -> Path:
    """The folder of shards beside an output."""
    return out.with_name(out.name + ".parts")


@dataclass
class Remains:
    """What a killed generation left.

    Args:
        listed: samples in shards that the manifest lists.
        lost: of these, samples that are not intact.
        unreadable: shards under their final name that cannot be read or verified.
        redo: samples that were solved and have to be solved again.
    """

    listed: int = 0
    lost: int = 0
    unreadable: int = 0
    redo: int = 0


def inspect(out: Path) -> Remains:
    """Look at every shard under its final name, and at the manifest."""
    remains, intact = Remains(), {}
    for shard in parts(out).glob("shard-*.h5"):
        try:
            with DataFile(shard, trusted=True) as file:
                intact[shard.name] = sum(1 for _ in file.verify())
        except DataError:
            remains.unreadable += 1
    manifest = parts(out) / "manifest.jsonl"
    if manifest.exists():
        for line in manifest.read_text().splitlines()[1:]:
            try:
                line_content = json.loads(line)
            except ValueError:
                continue  # cut short by the kill; the shard itself is still there
            remains.listed += line_content["last"] - line_content["first"]
            remains.lost += (
                line_content["last"]
                - line_content["first"]
                - intact.get(line_content["name"], 0)
            )
    for note in parts(out).glob("*.at"):
        at = json.loads(note.read_text())
        first = int(note.name[6:12]) * SHARD
        remains.redo += at["last"] - first
    return remains


SHARD = 32  # samples a shard of this case, as planned


def reference(folder: Path, problem: Case) -> str:
    """The content hash of an uninterrupted generation."""
    path = generate(problem, folder / "reference.h5", samples=SAMPLES)
    return content(path)


def content(path: Path) -> str:
    """The content hash of a finished file, all of it verified."""
    with DataFile(path, trusted=True) as file:
        intact = sum(1 for _ in file.verify())
        assert intact == SAMPLES, f"{path}: {intact} samples"
        return file.content_hash()


def table(rows: Sequence[Sequence[Any]], head: Sequence[str]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in (head, *rows)]
    lines.insert(1, "|" + "---|" * len(head))
    return "\n".join(lines)
