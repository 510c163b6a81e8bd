"""List runs with their figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from opkit.errors import BundleError
from opkit.surrogate.bundle import files as bundle
from opkit.surrogate.bundle.run_directory import RunDirectory

Status = Literal["finished", "flagged", "failed", "interrupted"]


@dataclass(frozen=True)
class RunSummary:
    """One run in a listing."""

    path: Path
    operator: str
    case: str
    status: Status
    epochs: int
    best_validation: float | None
    test_error: float | None
    flags: tuple[str, ...]


def list_runs(folder: Path) -> list[RunSummary]:
    """Return all runs directly under a folder, by name; damaged ones say so."""
    found = []
    for path in sorted(folder.iterdir() if folder.is_dir() else []):
        if (path / "config.yaml").is_file():
            found.append(summarise(path))
    return found


def summarise(path: Path) -> RunSummary:
    """Return the figures of one run."""
    directory = RunDirectory(path)
    try:
        recipe = directory.config()["recipe"]
        operator = str(recipe.get("operator", "?"))
    except (BundleError, AttributeError) as error:
        return RunSummary(path, "?", "?", "failed", 0, None, None, (str(error),))
    rows = directory.metrics()
    best = min((row["validation"] for row in rows), default=None)
    try:
        config = bundle.read_config(path)
    except BundleError:
        ends = [e for e in directory.events() if e.get("event") == "finished"]
        if ends and "test" in ends[-1]:  # a hypernetwork, which has no bundle
            return _hypernetwork(path, operator, ends[-1], len(rows), best)
        failures = [e for e in directory.events() if e.get("event") == "failed"]
        reason = tuple(str(e.get("reason", "")) for e in failures[-1:])
        status: Status = "failed" if failures else "interrupted"
        return RunSummary(path, operator, "?", status, len(rows), best, None, reason)
    own = [
        row.relative_l2
        for row in config.scores
        if row.predictor == "surrogate" and row.resolution == config.shape.shape
    ]
    return RunSummary(
        path,
        operator,
        str(config.case.get("name", "imported data")),
        "flagged" if config.flags else "finished",
        len(rows),
        best,
        own[0] if own else None,
        config.flags,
    )


def _hypernetwork(
    path: Path, operator: str, end: dict[str, Any], epochs: int, best: float | None
) -> RunSummary:
    flags = tuple(map(str, end.get("flags", ())))
    status: Status = "flagged" if flags else "finished"
    case, test = str(end.get("case", "?")), float(end["test"])
    return RunSummary(path, operator, case, status, epochs, best, test, flags)
