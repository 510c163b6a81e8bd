"""The section on limits of use: what was seen, and whether error bounds hold."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from opkit.errors import OpkitError
from opkit.report.case_and_data import short
from opkit.report.content import Section, Table, grid, number, pairs
from opkit.report.subject import Subject
from opkit.surrogate.bundle.record import CalibrationRecord

COVERAGES = (0.8, 0.9, 0.95)
CHECKED = 100
"""Most samples whose residuals are computed."""


def section(subject: Subject) -> Section:
    """Range and resolution seen in training, flags, calibration."""
    config = subject.config
    tables, text = (
        [_seen(subject)],
        [
            "Valid for inputs from the distribution of the training data on the whole "
            "domain. Errors elsewhere were not measured.",
            f"Trained at {grid(config.shape.shape)}; on other grids see the errors per "
            "resolution.",
            f"Of {len(subject.inputs)} {subject.split} samples {_inside(subject)} lie "
            "within the range of values seen in training.",
        ],
    )
    if config.calibration is None:
        text.append("Not calibrated: no error of a single prediction is promised.")
    else:
        tables.append(pairs("Calibration of error bounds", _record(config.calibration)))
        try:
            tables += _bounds(subject)
        except OpkitError as error:
            text.append(f"The bounds were not tried: {error}")
    return Section(
        "limits", "Limits of use", tuple(text), subject.evaluation.flags, tuple(tables)
    )


def _record(record: CalibrationRecord) -> dict[str, str]:
    plain = record.model_dump(exclude={"checks", "powers", "unavailable"})
    rows = {key.replace("_", " "): short(value) for key, value in plain.items()}
    for name, what in record.checks.items():
        power = record.powers[name]
        part = f"; scale of errors as {name}^{power:g}" if power else ""
        rows[f"check {name}"] = what + part
    for name, reason in record.unavailable.items():
        rows[f"no check {name}"] = reason
    return rows


def _seen(subject: Subject) -> Table:
    config, normaliser = subject.config, subject.surrogate.model.inputs
    variables = [v for v in config.inputs for _ in range(v.channels)]
    numbers = (normaliser.low, normaliser.high, normaliser.mean, normaliser.std)
    columns = zip(*(values.tolist() for values in numbers), strict=True)
    return Table(
        "Inputs seen in training, a channel a line",
        ("input", "smallest", "largest", "mean", "spread", "units"),
        tuple(
            (v.name, *(number(x) for x in row), v.units)
            for v, row in zip(variables, columns, strict=True)
        ),
    )


def _inside(subject: Subject) -> int:
    """Count samples all of whose values lie in the channels' training range."""
    normaliser, x = subject.surrogate.model.inputs, subject.inputs
    low, high = (
        v.view(-1, *(1,) * (x.ndim - 2)) for v in (normaliser.low, normaliser.high)
    )
    return int(((x >= low) & (x <= high)).flatten(1).all(1).sum())


def _bounds(subject: Subject) -> list[Table]:
    """Hold the promised bounds against the errors of the test samples."""
    calibration = subject.surrogate.calibration
    if calibration is None or subject.rollout or subject.mesh is not None:
        return []
    if subject.config.boundary:
        return []
    x = subject.inputs[:CHECKED]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", UserWarning)
        verdict = subject.surrogate(x, check=True)
    rows = []
    for coverage in COVERAGES:
        bound = calibration.error_bound(verdict.scale, coverage, 1)[:, 0]
        kept = float(np.mean(subject.errors[: len(x)] <= bound))
        rows.append((f"{coverage:.0%}", f"{kept:.0%}", number(float(np.median(bound)))))
    similar = int(verdict.resembles_training().sum())
    return [
        Table(
            f"Error bounds of single predictions on {len(x)} {subject.split} samples, "
            f"of which {similar} resemble the training inputs",
            ("promised", "found", "median bound"),
            tuple(rows),
        )
    ]
