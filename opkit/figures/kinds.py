"""Figures of samples whose outputs are of several kinds: fields, series and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opkit.figures.plots import ACCENT, GREY, Panel, colours, image_of, pyplot, save

Array = NDArray[Any]


@dataclass(frozen=True)
class Curves:
    """Functions of time of one sample.

    Args:
        title: above them.
        times: of the values.
        lines: name to values; the first is drawn thick and grey.
    """

    title: str
    times: Array
    lines: Mapping[str, Array]


def rows_of_kinds(
    path: Path,
    rows: Sequence[Sequence[Panel | Curves]],
    labels: Sequence[str],
    extent: tuple[float, float, float, float],
    title: str,
) -> Path:
    """Draw one row a sample: fields as pictures or lines, series as lines.

    Args:
        path: PNG file to write.
        rows: one row a sample.
        labels: one text a row, left of it.
        extent: left, right, bottom, top of the fields.
        title: above the figure.

    Returns:
        The path.
    """
    plt = pyplot()
    columns = max(len(row) for row in rows)
    figure, axes = plt.subplots(
        len(rows),
        columns,
        figsize=(3.1 * columns, 2.5 * len(rows) + 0.5),
        squeeze=False,
        layout="constrained",
    )
    for line, row, label in zip(axes, rows, labels, strict=True):
        for axis, panel in zip(line, row, strict=False):
            if isinstance(panel, Curves):
                _curves(axis, panel)
                continue
            low, high = float(np.min(panel.values)), float(np.max(panel.values))
            style = {"vmin": low, "vmax": high, "cmap": colours(panel.kind)}
            image = image_of(axis, panel, extent, None, style)
            figure.colorbar(image, ax=axis, shrink=0.85)
            axis.set(xticks=[], yticks=[])
            axis.set_title(panel.title, fontsize=9)
        for axis in line[len(row) :]:
            axis.axis("off")
        line[0].set_ylabel(label, fontsize=9)
    figure.suptitle(title, fontsize=11)
    return save(plt, figure, path)


def _curves(axis: Any, panel: Curves) -> None:
    for k, (name, values) in enumerate(panel.lines.items()):
        style = {"color": GREY, "lw": 3} if k == 0 else {"color": ACCENT, "lw": 1.2}
        axis.plot(panel.times, values, label=name, **style)
    if len(panel.lines) > 1:
        axis.legend(frameon=False, fontsize=7)
    axis.set_title(panel.title, fontsize=9)
    axis.tick_params(labelsize=7)


def agreement(path: Path, pairs: Mapping[str, tuple[Array, Array]]) -> Path:
    """Draw numbers that were predicted against those of the data.

    Args:
        path: PNG file to write.
        pairs: by name data and prediction (sample,).

    Returns:
        The path.
    """
    plt = pyplot()
    figure, axes = plt.subplots(
        1,
        len(pairs),
        figsize=(3.3 * len(pairs), 3.2),
        squeeze=False,
        layout="constrained",
    )
    for axis, (name, (data, predicted)) in zip(axes[0], pairs.items(), strict=True):
        ends = [min(data.min(), predicted.min()), max(data.max(), predicted.max())]
        axis.plot(ends, ends, color=GREY, lw=1)
        axis.plot(data, predicted, "o", color=ACCENT, ms=3)
        axis.set(xlabel=f"{name}: data", ylabel=f"{name}: surrogate")
    return save(plt, figure, path)
