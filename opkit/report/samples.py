"""The worst predictions, and an ordinary one, as pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from opkit.datasets.header import closed
from opkit.figures import plots
from opkit.report.content import Row, Section
from opkit.report.pictures import fields
from opkit.report.subject import Subject

WORST = 3


def section(subject: Subject) -> Section:
    """Draw the samples with the largest errors, and the median one."""
    order = np.argsort(subject.errors)
    worst = [int(i) for i in order[::-1][:WORST]]
    chosen = {f"Worst {k}": i for k, i in enumerate(worst, 1)}
    chosen["Median"] = int(order[len(order) // 2])
    rows = tuple(_row(subject, name, i) for name, i in chosen.items())
    frame = " The last frame of each trajectory is drawn." if subject.rollout else ""
    drawn = subject.mesh is None or subject.mesh[0].shape[1] == 2
    if subject.header.shapes is not None:
        drawn = subject.header.shapes.dimension == 2
    text = (
        f"Of {subject.count} {subject.split} samples. Data and surrogate share "
        f"one scale; the error has its own, from 0.{frame}"
        if drawn
        else "Meshes in three dimensions are not drawn here.",
    )
    return Section("samples", "Worst cases", text, rows=rows if drawn else ())


def _row(subject: Subject, name: str, index: int) -> Row:
    config = subject.config
    names = [v.name for v in config.inputs for _ in range(v.channels)]
    points = None if subject.ragged else subject.points(index)
    own = subject.drawn_on(index) if subject.ragged else None
    batch, truth, guess = subject.one(index)

    def shown(field: Tensor) -> NDArray[Any]:
        flat = plane(field)
        return flat if points is None else closed(flat, subject.header, config.axes)

    inputs = {_numbered(names, c): shown(batch.fields[0, c]) for c in range(len(names))}
    outputs = [v.name for v in config.outputs for _ in range(v.channels)]
    last = (0, -1) if subject.rollout else (0,)
    target, prediction = shown(truth[(*last, 0)]), shown(guess[(*last, 0)])
    panels = plots.prediction_row(inputs, target, prediction, outputs[0], points, own)
    sample = int(subject.header.splits[subject.split][index])
    heading = f"{name}: sample {sample} of the file, error {subject.errors[index]:.3g}"
    alt = f"{name} sample"
    extent = config.shape.extent
    return Row(heading, fields(panels, extent, alt, subject.mesh))


def _numbered(names: list[str], channel: int) -> str:
    same = [k for k, other in enumerate(names) if other == names[channel]]
    if len(same) == 1:
        return names[channel]
    return f"{names[channel]} {same.index(channel) + 1}"


def plane(field: Tensor) -> NDArray[Any]:
    """Return the last plane of a field of three axes, others as they are."""
    while field.ndim > 2:
        field = field[-1]
    return field.numpy()
