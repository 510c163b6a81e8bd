"""Evaluate a bundle on its data, or on other data, and compare with what it claims."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opkit.datasets.read import DataFile
from opkit.errors import BundleError, CaseError
from opkit.evaluate import baselines, scores
from opkit.surrogate import surrogate
from opkit.surrogate.bundle.record import Score
from opkit.surrogate.bundle.run_directory import data_of_run
from opkit.surrogate.surrogate import Surrogate


@dataclass(frozen=True)
class Evaluation:
    """Errors of a surrogate, measured now.

    Args:
        rows: measured now.
        data: the file they were measured on.
        stored: what the bundle claims.
        same_data: whether the data are those the bundle's scores were measured on.
        difference: largest relative difference of an error from the stored one; None
            where they cannot be compared.
        flags: what is wrong with it: baselines that it is no better than, measured now,
            and what else the bundle says.
    """

    rows: tuple[Score, ...]
    data: Path
    stored: tuple[Score, ...]
    same_data: bool
    difference: float | None
    flags: tuple[str, ...]

    @property
    def reproduced(self) -> bool | None:
        """Whether all stored errors were found again exactly; None on other data."""
        return None if self.difference is None else self.difference == 0.0


def evaluate(run: str | Path | Surrogate, data: Path | None = None) -> Evaluation:
    """Measure a surrogate's errors per resolution beside those of trivial predictors.

    Args:
        run: run directory or bundle, or a surrogate loaded from one.
        data: data file; the one the run was trained on where not given.

    Raises:
        BundleError: no bundle, or its data file is not known or gone.
        CaseError: the data are of another case.
        DataError: the data cannot be read.
    """
    loaded = run if isinstance(run, Surrogate) else surrogate.load(run)
    path = data_of(loaded, data)
    with DataFile(path, trusted=True) as file:
        content_hash = file.content_hash()
    config = loaded.config
    split = config.split_in(path)
    rows = tuple(scores.table(loaded, path, split))
    same = content_hash == config.provenance.data_hash
    stored = (flag for flag in config.flags if not flag.startswith("not better than "))
    return Evaluation(
        rows=rows,
        data=path,
        stored=config.scores,
        same_data=same,
        difference=_difference(rows, config.scores) if same else None,
        flags=(*baselines.flags(rows), *stored),
    )


def data_of(loaded: Surrogate, data: Path | None) -> Path:
    """Return the data file to measure on, checked: the given one, or the run's own.

    Raises:
        BundleError: none given, and the run's own is not known or gone.
        CaseError: the data are of another case.
        DataError: the data cannot be read.
    """
    path = data
    if path is None:
        if loaded.source is None:
            raise BundleError("a surrogate that was not loaded from a file: give data")
        path = data_of_run(loaded.source)
    with DataFile(path) as file:
        _same_case(loaded, dict(file.header.case), path)
    return path


def _same_case(loaded: Surrogate, case: dict[str, Any], path: Path) -> None:
    own = loaded.config.case
    for key in ("name", "version"):
        if own.get(key) != case.get(key):
            raise CaseError(
                f"{path} is of case {_identity(case)}, the surrogate of "
                f"{_identity(own)}: give a data file of that case"
            )


def _identity(case: dict[str, Any]) -> str:
    if "name" not in case:
        return "none"
    return f"{case['name']}-v{case.get('version', 0)}"


def _difference(rows: tuple[Score, ...], stored: tuple[Score, ...]) -> float | None:
    def key(row: Score) -> tuple[object, ...]:
        return row.predictor, row.split, row.resolution, row.samples

    def errors(row: Score) -> list[float]:
        return [e for e in (row.relative_l2, row.relative_h1) if e is not None]

    measured = {key(row): errors(row) for row in rows}
    if not stored or not {key(row) for row in stored} <= measured.keys():
        return None
    pairs = (
        pair
        for row in stored
        for pair in zip(measured[key(row)], errors(row), strict=False)
    )  # bundles of earlier versions have no errors in H1 and fewer baselines
    return max(abs(new - old) / (old or 1.0) for new, old in pairs)
