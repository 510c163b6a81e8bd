"""The worst predictions, and an ordinary one, as pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opkit.datasets.header import closed
from opkit.figures import plots
from opkit.figures.run import numbers_of
from opkit.report.content import Picture, Row, Section
from opkit.report.pictures import chart, fields
from opkit.report.subject import Subject
from opkit.surrogate.bundle.outputs import by_name
from opkit.surrogate.bundle.record import BundleConfig, Channels

WORST = 3


def section(subject: Subject) -> Section:
    """Draw the samples with the largest errors, and the median one."""
    order = np.argsort(subject.errors)
    worst = [int(i) for i in order[::-1][:WORST]]
    chosen = {f"Worst {k}": i for k, i in enumerate(worst, 1)}
    chosen["Median"] = int(order[len(order) // 2])
    packed = subject.config.shape.packing is not None
    draw = _row_of_kinds if packed else _row
    rows = tuple(draw(subject, name, i) for name, i in chosen.items())
    if packed:
        text = (
            f"Of {len(subject.errors)} {subject.split} samples; the error is the mean "
            "over outputs, each relative to its size.",
        )
        numbers = _numbers(subject)
        return Section("samples", "Worst cases", text, rows=(*numbers, *rows))
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
    points = None if subject.ragged else plots.last_plane(subject.points(index))
    own = subject.drawn_on(index) if subject.ragged else None
    batch, truth, guess = subject.one(index)

    def shown(field: Tensor) -> NDArray[Any]:
        flat = plane(field)
        axes = config.axes[-flat.ndim :]
        return flat if points is None else closed(flat, subject.header, axes)

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


def _row_of_kinds(subject: Subject, name: str, index: int) -> Row:
    """Pictures of one sample: lines of what has one axis, fields, numbers in words."""
    config = subject.config
    pictures: list[Picture] = []
    words: list[str] = []
    extent, alt = config.shape.extent, f"{name} sample"
    batch, truth, guess = subject.one(index)
    points = None if subject.ragged else plots.last_plane(subject.points(index))
    own = subject.drawn_on(index) if subject.ragged else None
    mesh = subject.mesh if own is None else (own.points, own.cells)
    flat = mesh is None or mesh[0].shape[1] == 2  # others are not drawn
    for channel, field in enumerate(batch.fields[0] if flat else ()):
        names = [v.name for v in config.inputs for _ in range(v.channels)]
        title = _numbered(names, channel)
        panel = plots.Panel(title, plane(field), "input", points, own)
        pictures += fields([panel], extent, alt, subject.mesh)
    if batch.series is not None:
        for k, v in enumerate(config.series):
            values = batch.series[0, k].tolist()
            line = {v.name: (config.times_of(len(values)), values)}
            label = (_axis("time", config), _units(v))
            pictures.append(chart(line, label, f"{alt}: {v.name}", v.name))
    both = by_name(truth, config), by_name(guess, config)
    for v in config.outputs:
        data, answer = (each[v.name][0] for each in both)
        if v.kind == "numbers":
            pairs = zip(answer.reshape(-1), data.reshape(-1), strict=True)
            said = ", ".join(f"{float(p):.4g} (data {float(t):.4g})" for p, t in pairs)
            words.append(f"{v.name} {said}")
            continue
        if v.kind == "field" and v.channels > 1:
            data, answer = data[0], answer[0]
        if v.kind == "field" and (data.ndim > 1 or mesh is not None):
            if flat:
                row = (plane(data), plane(answer), v.name, points, own)
                panels = plots.prediction_row({}, *row)
                pictures += fields(panels, extent, alt, subject.mesh)
            continue
        x = list(config.times)
        axis = "time"
        if v.kind == "field":
            axis = config.axes[-1]
            x = np.linspace(0.0, extent[-1], len(data)).tolist()
        lines = {"data": (x, data.tolist()), "surrogate": (x, answer.tolist())}
        labels = (_axis(axis, config), _units(v))
        pictures.append(chart(lines, labels, f"{alt}: {v.name}", v.name))
    sample = int(subject.header.splits[subject.split][index])
    heading = f"{name}: sample {sample} of the file, error {subject.errors[index]:.3g}"
    return Row("; ".join([heading, *words]), tuple(pictures))


def _numbers(subject: Subject) -> tuple[Row, ...]:
    """Numbers of all samples, predictions against data."""
    targets, predicted = subject.targets, subject.predicted
    packing = subject.config.shape.packing
    if packing is not None and packing.ragged:
        each = [subject.one(i)[1:] for i in range(subject.count)]
        targets, predicted = (
            torch.cat([packing.shorten(pair[k]) for pair in each]) for k in (0, 1)
        )
    pairs = numbers_of(subject.config, targets, predicted)
    pictures = tuple(
        chart(
            {"samples": (data.tolist(), predicted.tolist())},
            (f"{name}: data", f"{name}: surrogate"),
            f"{name} of {len(data)} samples, predicted against data",
            name,
            points=True,
            diagonal=True,
        )
        for name, (data, predicted) in pairs.items()
    )
    return (Row("Numbers of all samples", pictures),) if pictures else ()


def _axis(name: str, config: BundleConfig) -> str:
    units = config.axis_units.get(name, "1")
    return name if units == "1" else f"{name} ({units})"


def _units(variable: Channels) -> str:
    units = variable.units
    return variable.name if units == "1" else f"{variable.name} ({units})"


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
