"""Time-dependent cases: error per step, spectrum, invariants."""

from __future__ import annotations

import numpy as np

from opkit.evaluate import rollouts as rollout_scores
from opkit.metrics import functional
from opkit.report.content import Picture, Row, Section, Table, number
from opkit.report.pictures import chart
from opkit.report.subject import Subject

USEFUL = 0.2
"""Relative L2 error up to which a frame counts as useful."""
SHOWN = 8
"""Most rows of the table of steps."""


def section(subject: Subject) -> Section | None:
    """Follow the test trajectories step by step; None where there are none."""
    if not subject.rollout:
        return None
    target, predicted = subject.targets, subject.predicted
    axis = subject.header.coordinates["time"]
    scores = rollout_scores.compare(
        predicted, target, subject.inputs, subject.times, USEFUL
    )
    error, still = scores.relative_l2, scores.persistence
    steps = target.shape[1]
    number_of = list(range(1, steps + 1))
    pictures = [
        chart(
            {
                "surrogate": (number_of, error),
                "persistence": (number_of, still),
            },
            ("step", "relative L2 error"),
            f"relative L2 error of every step: surrogate {error[0]:.3g} at the first, "
            f"{error[-1]:.3g} at the last; persistence {still[0]:.3g} and "
            f"{still[-1]:.3g}",
            "Error per step, beside that of persistence (the last given frame).",
            log="y",
        )
    ]
    if target.ndim > 4:
        pictures.append(_spectrum(subject))
    pictures += _invariants(subject)
    shown = sorted({round(k * (steps - 1) / (SHOWN - 1)) for k in range(SHOWN)})
    table = Table(
        f"Means over {len(target)} {subject.split} trajectories of relative L2 errors, "
        "and of the distance of the energy spectra in decades",
        ("step", "surrogate", "persistence", "spectral error"),
        tuple(
            (
                str(k + 1),
                number(error[k]),
                number(still[k]),
                number(scores.spectral_error[k]),
            )
            for k in (shown if steps > SHOWN else range(steps))
        ),
    )
    units = "" if axis.units == "1" else f" {axis.units}"
    after = [k + 1 for k in range(steps) if error[k] >= still[k]]
    text = (
        f"From step {after[0]} on the surrogate is no better than persistence."
        if after
        else "The surrogate beats persistence at every step.",
        f"The median trajectory stays below a relative L2 error of {USEFUL:g} "
        + (
            "to the end of the data."
            if np.isinf(scores.horizon)
            else f"until time {scores.horizon:g}{units}."
        ),
    )
    rows = (Row("", tuple(pictures)),)
    return Section("rollout", "Rollouts", text, tables=(table,), rows=rows)


def _spectrum(subject: Subject) -> Picture:
    lines = {}
    for name, field in (("data", subject.targets), ("surrogate", subject.predicted)):
        energy = functional.energy_spectrum(field[:, -1, :1]).mean((0, 1))
        lines[name] = (list(range(1, len(energy) + 1)), energy.tolist())
    distance = functional.spectral_error(
        subject.predicted[:, -1], subject.targets[:, -1]
    )
    return chart(
        lines,
        ("wavenumber k", "E(k)"),
        "energy spectra of data and surrogate at the last step; mean distance "
        f"{float(distance.mean()):.2g} decades",
        f"Spectrum of {subject.config.outputs[0].name} at the last step; mean distance "
        f"{float(distance.mean()):.2g} decades.",
        log="xy",
    )


def _invariants(subject: Subject) -> list[Picture]:
    name = subject.config.outputs[0].name
    steps = list(range(1, subject.targets.shape[1] + 1))
    charts = []
    for words, power in (("mean", 1), ("mean square", 2)):
        lines = {}
        for who, field in (
            ("data", subject.targets),
            ("surrogate", subject.predicted),
        ):
            values = field[:, :, 0].double().pow(power).flatten(2).mean(2)
            if power == 2:  # of each trajectory relative to its last given frame
                start = subject.inputs[:, 0].double().square().flatten(1).mean(1)
                values = values / start[:, None].clamp_min(1e-300)
            lines[who] = (steps, values.mean(0).tolist())
        drift = max(
            abs(a - b)
            for a, b in zip(lines["data"][1], lines["surrogate"][1], strict=True)
        )
        relative = ", relative to the last given frame" if power == 2 else ""
        charts.append(
            chart(
                lines,
                ("step", f"{words} of {name}"),
                f"{words} of {name} over the steps{relative}; surrogate and data "
                f"differ by at most {drift:.2g}",
                f"{words.capitalize()} of {name} over the domain{relative}; largest "
                f"difference {drift:.2g}.",
            )
        )
    return charts
