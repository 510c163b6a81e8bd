"""List runs with their figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from opkit.base.files import refusals, why
from opkit.errors import BundleError, OpkitError
from opkit.surrogate.bundle import files as bundle
from opkit.surrogate.bundle.run_directory import RunDirectory

Status = Literal["finished", "flagged", "failed", "interrupted", "damaged"]


@dataclass(frozen=True)
class RunSummary:
    """One run in a listing.

    Args:
        path: run directory.
        operator: that it trains.
        case: of its data.
        status: how it ended.
        epochs: that are finished.
        best_validation: lowest of the recipe's metric on the validation samples.
        error: relative L2 of the surrogate at the training resolution.
        split: that the error was measured on: ``"test"``, or ``"validation"`` where the
            data have no test split.
        flags: what is wrong with it.
    """

    path: Path
    operator: str
    case: str
    status: Status
    epochs: int
    best_validation: float | None
    error: float | None
    split: str | None
    flags: tuple[str, ...]


def list_runs(folder: Path) -> list[RunSummary]:
    """Return all runs directly under a folder, by name; damaged ones say so.

    Raises:
        BundleError: there is no such folder.
    """
    if not folder.is_dir():
        raise BundleError(
            f"{folder}: no such folder; name one that holds run directories, or train: "
            f"opkit train DATA --out {folder}/NAME"
        )
    with refusals(folder):
        inside = sorted(folder.iterdir())
    return [summarise(path) for path in inside if (path / "config.yaml").is_file()]


def summarise(path: Path) -> RunSummary:
    """Return the figures of one run; of a damaged one, what is wrong with it."""
    try:
        return _summary(path)
    except OpkitError as error:
        reason = str(error)
    except OSError as error:
        reason = why(error)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"its records are not as opkit writes them ({type(error).__name__})"
    reason = reason.removeprefix(f"{path}/")
    return RunSummary(path, "?", "?", "damaged", 0, None, None, None, (reason,))


def _summary(path: Path) -> RunSummary:
    directory = RunDirectory(path)
    operator = str(directory.config()["recipe"].get("operator", "?"))
    rows = directory.metrics()
    best = min((row["validation"] for row in rows), default=None)
    try:
        config = bundle.read_config(path)
    except BundleError:
        if (directory.bundle / bundle.CONFIG).exists():
            raise
        ends = [e for e in directory.events() if e.get("event") == "finished"]
        if ends and "test" in ends[-1]:  # a hypernetwork, which has no bundle
            return _hypernetwork(path, operator, ends[-1], len(rows), best)
        failures = [e for e in directory.events() if e.get("event") == "failed"]
        reason = tuple(str(e.get("reason", "")) for e in failures[-1:])
        status: Status = "failed" if failures else "interrupted"
        return RunSummary(
            path, operator, "?", status, len(rows), best, None, None, reason
        )
    own = [
        row
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
        own[0].relative_l2 if own else None,
        own[0].split if own else None,
        config.flags,
    )


def _hypernetwork(
    path: Path, operator: str, end: dict[str, Any], epochs: int, best: float | None
) -> RunSummary:
    flags = tuple(map(str, end.get("flags", ())))
    status: Status = "flagged" if flags else "finished"
    case, test = str(end.get("case", "?")), float(end["test"])
    return RunSummary(path, operator, case, status, epochs, best, test, "test", flags)
