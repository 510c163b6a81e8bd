"""Charts as SVG and fields as PNG, in ``data:`` addresses.

Charts follow the reader's light or dark colours. Text out of files is drawn as it is:
never read as mathematics, never as markup.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opkit.base.children import require_aside
from opkit.figures.plots import ACCENT, GREY, Panel, Triangles, colours, image_of
from opkit.report.content import Picture

Array = NDArray[Any]
COLOURS = (ACCENT, GREY, "#3f7cac", "#6b8e4e", "#a07db0")
INK = "#000000"  # replaced by the colour of the page's text
STYLE = (
    "<style>svg{color:#1d2025}text{fill:currentColor}"
    "@media(prefers-color-scheme:dark){svg{color:#dfe3ea}}</style>"
)


def chart(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    labels: tuple[str, str],
    alt: str,
    caption: str,
    log: str = "",
    points: bool = False,
    diagonal: bool = False,
) -> Picture:
    """Draw lines, or points, as SVG.

    Args:
        lines: name to x and y.
        labels: of the axes.
        alt: text for readers who do not see the chart.
        caption: below it.
        log: axes with a logarithmic scale, out of ``"x"``, ``"y"``, ``"xy"``.
        points: draw dots without lines.
        diagonal: draw the line of equal x and y.
    """
    with _figure((4.3, 2.9)) as (plt, figure):
        axis = figure.subplots()
        for index, (name, (x, y)) in enumerate(lines.items()):
            style = {"ls": "none", "marker": "o", "ms": 3.5} if points else {"lw": 1.8}
            if len(x) < 25 and not points:
                style |= {"marker": "o", "ms": 3.5}
            colour = COLOURS[index % len(COLOURS)]
            axis.plot(x, y, color=colour, label=name, **style)
        if diagonal:
            axis.axline((0, 0), slope=1, color=GREY, lw=1, zorder=0)
        axis.set(xlabel=labels[0], ylabel=labels[1])
        for direction, values in (("x", 0), ("y", 1)):
            positive = all(np.min(line[values]) > 0 for line in lines.values())
            if direction in log and positive:
                _logarithmic(axis, direction)
        axis.spines[["top", "right"]].set_visible(False)
        if len(lines) > 1:
            axis.legend(frameon=False, fontsize=9)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
        plt.close(figure)
    text = buffer.getvalue().replace(INK, "currentColor")
    head, _, rest = text.partition("<svg")
    tag, _, body = rest.partition(">")
    image = f"{head}<svg{tag}>{STYLE}{body}".encode()
    return Picture(_uri("image/svg+xml", image), alt, caption, wide=True)


def _logarithmic(axis: Any, direction: str) -> None:
    """Set a logarithmic scale with labels that are plain text."""
    base: Any = require_aside("matplotlib.ticker", "plots").LogFormatter

    class Plain(base):  # type: ignore[misc]
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    axis.set(**{f"{direction}scale": "log"})
    line = axis.xaxis if direction == "x" else axis.yaxis
    line.set_major_formatter(Plain())
    line.set_minor_formatter(Plain(minor_thresholds=(1.2, 0.5)))
    line.set_tick_params(which="minor", labelsize=8)


def fields(
    row: Sequence[Panel],
    extent: tuple[float, ...],
    alt: str,
    mesh: tuple[Array, Array] | None = None,
) -> tuple[Picture, ...]:
    """Draw the fields of one sample, each with its colour bar.

    Args:
        row: fields (y, x), or values at the nodes or cells of a mesh; those of kind
            ``field`` share their scale.
        extent: lengths along (y, x); lengths in a chart of one dimension.
        alt: what they show; the panel's title and range are added.
        mesh: points (node, 2) and cells (cell, 3 or more).
    """
    shared = [p.values for p in row if p.kind == "field"]
    low = min((float(np.min(v)) for v in shared), default=0.0)
    high = max((float(np.max(v)) for v in shared), default=1.0)
    pictures = []
    for panel in row:
        values = np.asarray(panel.values)
        span = f"values from {values.min():.3g} to {values.max():.3g}"
        words = f"{alt}: {panel.title}, {span}"
        if values.ndim == 1 and mesh is None and panel.mesh is None:
            x = np.linspace(0.0, extent[-1], len(values))
            line = {panel.title: (x.tolist(), values.tolist())}
            pictures.append(chart(line, ("x", panel.title), words, panel.title))
            continue
        limits = {
            "field": (low, high),
            "error": (0.0, float(values.max())),
        }.get(panel.kind, (float(values.min()), float(values.max())))
        image = _field(panel, limits, extent, mesh)
        pictures.append(Picture(_uri("image/png", image), words, panel.title))
    return tuple(pictures)


def _field(
    panel: Panel,
    limits: tuple[float, float],
    extent: tuple[float, ...],
    mesh: tuple[Array, Array] | None,
) -> bytes:
    style = {"vmin": limits[0], "vmax": limits[1], "cmap": colours(panel.kind)}
    with _figure((2.6, 2.2)) as (plt, figure):
        axis = figure.subplots()
        box = (0.0, extent[-1], 0.0, extent[-2] if len(extent) > 1 else 1.0)
        triangles = None if mesh is None else Triangles(mesh[0][:, :2], mesh[1])
        image = image_of(axis, panel, box, triangles, style)
        axis.set(xticks=[], yticks=[])
        bar = figure.colorbar(image, ax=axis, shrink=0.9)
        bar.ax.tick_params(labelsize=8)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        plt.close(figure)
    return buffer.getvalue()


@contextmanager
def _figure(size: tuple[float, float]) -> Iterator[tuple[Any, Any]]:
    require_aside("matplotlib", "plots").use("Agg")
    plt = require_aside("matplotlib.pyplot", "plots")
    settings = {
        "text.parse_math": False,
        "svg.fonttype": "none",
        "svg.hashsalt": "opkit",
        "axes.edgecolor": INK,
        "font.family": "sans-serif",
    }
    with plt.rc_context(settings):
        yield plt, plt.figure(figsize=size, layout="constrained")


def _uri(kind: str, image: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(image).decode()}"
