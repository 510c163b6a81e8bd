"""The section on limits of use: what was seen, and whether error bounds hold."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from opkit.errors import OpkitError
from opkit.operators.inputs import Inputs
from opkit.report.case_and_data import short
from opkit.report.content import Section, Table, grid, number, pairs
from opkit.report.subject import Subject
from opkit.surrogate.bundle.normalise import Normaliser
from opkit.surrogate.bundle.record import CalibrationRecord, Channels

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
            _resolution(subject),
            f"Of {subject.count} {subject.split} samples {_inside(subject)} lie "
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


def _resolution(subject: Subject) -> str:
    if subject.ragged:
        return "Each sample has a mesh or cloud of its own."
    here = grid(subject.config.shape.shape)
    return f"Trained at {here}; on other grids see the errors per resolution."


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
    config, model = subject.config, subject.surrogate.model
    rows = _rows(config.inputs, model.inputs, lambda x: x)
    if model.numbers is not None:
        rows += _rows(config.parameters, model.numbers, model.numbers.uneven)
    if model.series is not None:
        rows += _rows(config.series, model.series, lambda x: x)
    return Table(
        "Inputs seen in training, a channel a line",
        ("input", "smallest", "largest", "mean", "spread", "units"),
        tuple(rows),
    )


def _rows(
    variables: Sequence[Channels],
    normaliser: Normaliser,
    uneven: Callable[[Tensor], Tensor],
) -> list[tuple[str, ...]]:
    """Return name, range, mean, spread and units; of logarithms a geometric mean."""
    names = [v for v in variables for _ in range(v.channels)]
    if not names:
        return []
    limits = torch.stack([normaliser.low, normaliser.high, normaliser.mean])
    low, high, mean = uneven(limits).tolist()
    spread = normaliser.std.tolist()
    return [
        (
            v.name,
            number(low[k]),
            number(high[k]),
            number(mean[k]),
            number(spread[k]) + (" in its logarithm" if v.scale == "log" else ""),
            v.units,
        )
        for k, v in enumerate(names)
    ]


def _inside(subject: Subject) -> int:
    """Count samples all of whose values lie in the range seen in training."""
    inside = 0
    for index in range(subject.count):
        inside += _is_inside(subject, subject.one(index)[0])
    return inside


def _is_inside(subject: Subject, batch: Inputs) -> bool:
    model = subject.surrogate.model
    pairs = [(batch.fields, model.inputs), (batch.parameters, model.numbers)]
    pairs.append((batch.series, model.series))
    within = torch.ones(batch.batch, dtype=torch.bool)
    for x, normaliser in pairs:
        if x is None or normaliser is None or not x.numel():
            continue
        even = normaliser.even(x)
        shape = (-1, *(1,) * (x.ndim - 2))
        low, high = normaliser.low.view(shape), normaliser.high.view(shape)
        within &= ((even >= low) & (even <= high)).flatten(1).all(1)
    return bool(within.all())


def _bounds(subject: Subject) -> list[Table]:
    """Hold the promised bounds against the errors of the test samples."""
    calibration = subject.surrogate.calibration
    if calibration is None or subject.rollout or subject.mesh is not None:
        return []
    if subject.config.boundary:
        return []
    count = min(subject.count, CHECKED)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", UserWarning)
        if subject.ragged:
            some = [subject.one(k) for k in range(count)]
            verdicts = [subject.surrogate.checker.judge(x, p) for x, _, p in some]
        else:
            chosen = slice(CHECKED)
            x, prediction = subject.batch.rows(chosen), subject.predicted[chosen]
            verdicts = [subject.surrogate.checker.judge(x, prediction)]
    scale = np.concatenate([verdict.scale for verdict in verdicts])
    rows = []
    for coverage in COVERAGES:
        bound = calibration.error_bound(scale, coverage, 1)[:, 0]
        share = float(np.mean(subject.errors[:count] <= bound))
        rows.append(
            (f"{coverage:.0%}", f"{share:.0%}", number(float(np.median(bound))))
        )
    similar = sum(int(verdict.resembles_training().sum()) for verdict in verdicts)
    return [
        Table(
            f"Error bounds of single predictions on {count} {subject.split} samples, "
            f"of which {similar} resemble the training inputs",
            ("promised", "found", "median bound"),
            tuple(rows),
        )
    ]
