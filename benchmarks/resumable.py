"""Benchmarks that go on where they were stopped.

Finished rows lie in a JSON file beside the runs, and are not made again; a run that was
stopped goes on from its last checkpoint.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from opkit.base.environment import environment
from opkit.case.record import Case
from opkit.generate import generate
from opkit.surrogate.surrogate import Surrogate, load
from opkit.train import train

Row = dict[str, Any]


class Rows:
    """Rows of a table by name, kept in a JSON file.

    Args:
        path: of the file; made with the first row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        text = path.read_text() if path.exists() else "{}"
        self.by_name: dict[str, Row] = json.loads(text)

    def row(self, name: str, make: Callable[[], Row]) -> Row:
        """Return a row, made now if it is not there; with the load of the machine."""
        if name not in self.by_name:
            made = make() | {"load": os.getloadavg()[0]}
            self.by_name[name] = made
            aside = self.path.with_suffix(".part")
            aside.write_text(json.dumps(self.by_name, indent=1))
            aside.replace(self.path)
        return self.by_name[name]


def data_file(
    case: Case,
    path: Path,
    seed: int,
    picked: Sequence[int] | None = None,
    samples: int | None = None,
) -> Path:
    """Generate a data file with one worker, go on with it, or return it."""
    if path.exists():
        return path
    resume = path.with_name(path.name + ".parts").exists()
    return generate(case, path, seed, samples, workers=1, resume=resume, picked=picked)


def trained(
    data: Path, run: Path, operator: str, settings: Sequence[str], seed: int = 0
) -> tuple[Surrogate, float]:
    """Train on the CPU, go on with training, or load; with its processor seconds."""
    spent = run.with_name(run.name + ".json")
    before = json.loads(spent.read_text())["seconds"] if spent.exists() else 0.0
    if not (run / "bundle").exists():
        begin = time.process_time()

        def note(_: object) -> None:
            seconds = before + time.process_time() - begin
            spent.write_text(json.dumps({"seconds": seconds}))

        train(
            data,
            run,
            operator=operator,
            overrides=() if run.exists() else settings,
            seed=seed,
            device="cpu",
            resume=run.exists(),
            progress=note,
        )
    return load(run), json.loads(spent.read_text())["seconds"]


def print_machine(rows: Rows) -> None:
    """Print threads and processor, and the load under which the rows were made."""
    loads = [row["load"] for row in rows.by_name.values()]
    print(
        f"{torch.get_num_threads()} thread, load {min(loads):.1f} to {max(loads):.1f}, "
        f"{environment()['platform']}"
    )
