"""Figures as PNG files, drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from opkit.base.children import require_aside
from opkit.base.files import appearing, make_folder
from opkit.base.show import duration

Array = NDArray[Any]
ACCENT, GREY = "#b5482a", "#8a8f98"
WIDE = 2.5
"""Width over height from which on panels are wide, with their colour bars below."""
TRIANGLES = {
    3: ((0, 1, 2),),
    4: ((0, 1, 2), (0, 2, 3)),
    6: ((0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5)),
}
"""Triangles that a cell is drawn as, by its nodes; of six the corners, then the middles
of 01, 12, 20."""


@dataclass(frozen=True)
class Triangles:
    """A mesh in the plane.

    Args:
        points: (node, 2).
        cells: (cell, 3), (cell, 4) of quadrilaterals, or (cell, 6) with the middles of
            the edges; none of a cloud, whose points are drawn.
    """

    points: Array
    cells: Array


@dataclass(frozen=True)
class Panel:
    """One field in a row of fields.

    Args:
        title: above the field.
        values: (y, x) or (x,); (node,) or (cell,) on a mesh.
        kind: ``"input"``, ``"output"``, ``"field"`` or ``"error"``; fields of one row
            share their colour scale, errors have their own that starts at 0.
        points: (y, x, 2) or (node, 2), where the values lie, where that is not where
            the grid or mesh of all rows lies. An axis that closes holds its first
            point again as its last.
        mesh: of this panel alone, where each sample has its own.
    """

    title: str
    values: Array
    kind: Literal["input", "output", "field", "error"] = "field"
    points: Array | None = None
    mesh: Triangles | None = None


def rows_of_fields(
    path: Path,
    rows: Sequence[Sequence[Panel]],
    extent: tuple[float, float, float, float] | None = None,
    title: str = "",
    labels: Sequence[str] = (),
    mesh: Triangles | None = None,
) -> Path:
    """Draw rows of fields, such as permeability, solution, prediction, error.

    Args:
        path: PNG file to write.
        rows: one row a sample.
        extent: left, right, bottom, top of the domain; unit square where not given.
        title: above the figure.
        labels: one text a row, left of it.
        mesh: where the fields are, if not on a grid.

    Returns:
        The path.
    """
    plt = pyplot()
    columns = max(len(row) for row in rows)
    wide = _width_over_height(rows[0][0], extent, mesh) > WIDE
    size = (4.6, 1.9) if wide else (3.1, 2.75)
    figure, axes = plt.subplots(
        len(rows),
        columns,
        figsize=(size[0] * columns, size[1] * len(rows) + 0.5),
        squeeze=False,
        layout="constrained",
    )
    for r, row in enumerate(rows):
        where = {"location": "bottom", "aspect": 40} if wide else {}
        _draw_row(figure, axes[r], row, extent, mesh, where)
        if labels:
            axes[r][0].set_ylabel(labels[r], fontsize=9)
    if title:
        figure.suptitle(title, fontsize=11)
    return save(plt, figure, path)


def row_and_times(
    path: Path,
    row: Sequence[Panel],
    seconds: Mapping[str, float],
    title: str,
    extent: tuple[float, float, float, float] | None = None,
    mesh: Triangles | None = None,
) -> Path:
    """Draw the fields of one sample above the time that each way to get them takes.

    Args:
        path: PNG file to write.
        row: fields, the first of them such as the solver's.
        seconds: name to seconds per query, as bars on a logarithmic scale.
        title: above the figure.
        extent: left, right, bottom, top of the domain; unit square where not given.
        mesh: where the fields are, if not on a grid.
    """
    plt = pyplot()
    wide = _width_over_height(row[0], extent, mesh) > WIDE
    shape = (len(row), 1) if wide else (1, len(row))
    width, height = (9.0, 1.25 * len(row)) if wide else (3.1 * len(row), 2.75)
    bars = 0.38 * len(seconds) + 0.75
    figure = plt.figure(
        figsize=(max(width, 8), height + bars + 0.5), layout="constrained"
    )
    above, below = figure.subfigures(2, 1, height_ratios=(height, bars))
    axes = above.subplots(*shape, squeeze=False).flatten()
    _draw_row(above, axes, row, extent, mesh)
    axis = below.subplots()
    names, values = list(seconds)[::-1], list(seconds.values())[::-1]
    colours_of = [ACCENT if name.startswith("surrogate") else GREY for name in names]
    axis.barh(names, values, color=colours_of, height=0.6)
    axis.set(xscale="log", xlabel="seconds per query, one at a time")
    axis.set_xlim(min(values) / 3, max(values) * 6)
    for place, value in enumerate(values):
        axis.text(value * 1.1, place, duration(value), va="center", fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=11)
    return save(plt, figure, path)


def prediction(
    path: Path,
    inputs: Mapping[str, Array],
    target: Array,
    predicted: Array,
    name: str = "solution",
    extent: tuple[float, float, float, float] | None = None,
    title: str = "",
) -> Path:
    """Draw inputs, solution, prediction and absolute error of one sample side by side.

    Args:
        path: PNG file to write.
        inputs: name to (y, x).
        target: (y, x), the solver's solution.
        predicted: (y, x), the surrogate's.
        name: of the output.
        extent: left, right, bottom, top of the domain.
        title: above the figure; the relative L2 error is added.
    """
    error = _relative(target, predicted)
    row = prediction_row(inputs, target, predicted, name)
    heading = f"{title}: " if title else ""
    return rows_of_fields(
        path, [row], extent, f"{heading}relative L2 error {error:.3g}"
    )


def prediction_row(
    inputs: Mapping[str, Array],
    target: Array,
    predicted: Array,
    name: str,
    points: Array | None = None,
    mesh: Triangles | None = None,
) -> list[Panel]:
    """Return the panels of one sample: inputs, solution, prediction, absolute error."""
    return [
        *(Panel(key, values, "input", points, mesh) for key, values in inputs.items()),
        Panel(f"{name}: data", target, "field", points, mesh),
        Panel(f"{name}: surrogate", predicted, "field", points, mesh),
        Panel("absolute error", np.abs(predicted - target), "error", points, mesh),
    ]


ERRORS = {
    "relative_l2": "relative L2",
    "relative_h1": "relative H1",
    "mse": "mean square",
    "nrmse": "NRMSE",
    "vrmse": "VRMSE",
}
"""Names of errors as figures write them."""


def curves(
    path: Path,
    rows: Sequence[Mapping[str, float]],
    loss: str = "relative_l2",
    metric: str = "relative_l2",
) -> Path:
    """Draw training loss and validation error over epochs, and the learning rate.

    Args:
        path: PNG file to write.
        rows: lines of ``metrics.csv``.
        loss: what the training loss is, such as ``"relative_h1"``.
        metric: what the validation error is; named on the axis beside the loss where
            the two are different errors.
    """
    lost, measured = ERRORS.get(loss, loss), ERRORS.get(metric, metric)
    plt = pyplot()
    figure, (axis, lower) = plt.subplots(
        2,
        1,
        figsize=(6.4, 4.6),
        sharex=True,
        height_ratios=(3, 1),
        layout="constrained",
    )
    epochs = [row["epoch"] for row in rows]
    axis.semilogy(
        epochs,
        [row["train_loss"] for row in rows],
        color=GREY,
        label=f"training loss ({lost})",
    )
    validation = [row["validation"] for row in rows]
    label = f"validation ({measured})"
    axis.semilogy(epochs, validation, color=ACCENT, label=label)
    best = int(np.argmin(validation))
    label = f"best {validation[best]:.3g}, epoch {epochs[best]:.0f}"
    axis.plot(epochs[best], validation[best], "o", color=ACCENT, label=label)
    same = f"{measured} error"
    both = f"{lost} (training), {measured} (validation)"
    axis.set_ylabel(same if lost == measured else both)
    axis.legend(frameon=False)
    rates = [row["learning_rate"] for row in rows]
    draw = lower.semilogy if any(rates) else lower.plot  # 0 where nothing is stepped
    draw(epochs, rates, color=GREY)
    lower.set(xlabel="epoch", ylabel="learning rate")
    lower.xaxis.get_major_locator().set_params(integer=True)
    return save(plt, figure, path)


def errors_by_resolution(
    path: Path, errors: Mapping[str, Mapping[int, float]], trained_at: int
) -> Path:
    """Draw relative L2 errors of predictors against grid points along the last axis.

    Args:
        path: PNG file to write.
        errors: predictor to points to error.
        trained_at: points of the training grid, marked by a line.
    """
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(6.4, 4), layout="constrained")
    colours = [ACCENT, GREY, "#33658a", "#6b8e4e", "#a07db0"]
    for (name, values), colour in zip(errors.items(), colours * 3, strict=False):
        points = sorted(values)
        line = [values[n] for n in points]
        axis.loglog(points, line, "o-", color=colour, label=name)
    axis.axvline(trained_at, color="black", lw=0.7, ls=":")
    axis.text(trained_at, axis.get_ylim()[1], " training grid", va="top", fontsize=8)
    axis.set(xlabel="points along x", ylabel="relative L2 error")
    axis.legend(frameon=False)
    return save(plt, figure, path)


def spectra(path: Path, energies: Mapping[str, Array]) -> Path:
    """Draw energy spectra E(k) over integer wavenumbers k = 1, 2, ….

    Args:
        path: PNG file to write.
        energies: who to E (k,).
    """
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(6.4, 4), layout="constrained")
    for (name, energy), colour in zip(energies.items(), [GREY, ACCENT], strict=False):
        axis.loglog(np.arange(1, len(energy) + 1), energy, color=colour, label=name)
    axis.set(xlabel="wavenumber k", ylabel="E(k)")
    axis.legend(frameon=False)
    return save(plt, figure, path)


def rollout(path: Path, errors: Sequence[float], mean: Sequence[float] = ()) -> Path:
    """Draw the relative L2 error of every step of a rollout.

    Args:
        path: PNG file to write.
        errors: the surrogate's.
        mean: the mean predictor's.
    """
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(6.4, 4), layout="constrained")
    steps = np.arange(1, len(errors) + 1)
    axis.plot(steps, errors, "o-", color=ACCENT, ms=3, label="surrogate")
    if len(mean):
        axis.plot(steps, mean, color=GREY, label="mean predictor")
    axis.set(xlabel="step", ylabel="relative L2 error", yscale="log")
    axis.legend(frameon=False)
    return save(plt, figure, path)


def _draw_row(
    figure: Any,
    axes: Sequence[Any],
    row: Sequence[Panel],
    extent: tuple[float, float, float, float] | None,
    mesh: Triangles | None,
    bars: Mapping[str, Any] | None = None,
) -> None:
    """Draw the panels of one sample, with colour bars placed as ``bars`` says."""
    shared = [p.values for p in row if p.kind == "field"]
    low = min((float(np.min(v)) for v in shared), default=0.0)
    high = max((float(np.max(v)) for v in shared), default=1.0)
    for axis in axes[len(row) :]:
        axis.axis("off")
    for axis, panel in zip(axes, row, strict=False):
        image = _draw(axis, panel, (low, high), extent or (0, 1, 0, 1), mesh)
        if image is not None:
            bar = figure.colorbar(image, ax=axis, shrink=0.85, **(bars or {}))
            bar.ax.tick_params(labelsize=7)


def _width_over_height(
    panel: Panel,
    extent: tuple[float, float, float, float] | None,
    mesh: Triangles | None,
) -> float:
    mesh = panel.mesh or mesh
    points = mesh.points if mesh is not None else panel.points
    if panel.points is not None:
        points = panel.points
    if points is not None:
        width, height = np.ptp(np.asarray(points).reshape(-1, 2), axis=0)
    else:
        left, right, bottom, top = extent or (0, 1, 0, 1)
        width, height = right - left, top - bottom
    return float(width / height) if height > 0 else 1.0


def _draw(
    axis: Any,
    panel: Panel,
    shared: tuple[float, float],
    extent: tuple[float, float, float, float],
    mesh: Triangles | None = None,
) -> Any:
    axis.set_title(panel.title, fontsize=9)
    values = np.asarray(panel.values)
    if values.ndim == 1 and mesh is None and panel.mesh is None:
        axis.plot(np.linspace(extent[0], extent[1], len(values)), values, color=ACCENT)
        return None
    low, high = shared
    if panel.kind in ("input", "output"):
        low, high = float(values.min()), float(values.max())
    elif panel.kind == "error":
        low, high = 0.0, float(values.max())
    scale = {"vmin": low, "vmax": high, "cmap": colours(panel.kind)}
    image = image_of(axis, panel, extent, mesh, scale)
    axis.set(xticks=[], yticks=[])
    return image


def image_of(
    axis: Any,
    panel: Panel,
    extent: tuple[float, float, float, float],
    mesh: Triangles | None,
    scale: Mapping[str, Any],
) -> Any:
    """Draw the values of a panel in colours; return what a colour bar is made from.

    Args:
        axis: of matplotlib.
        panel: values, and where they lie if not on ``mesh`` or an even grid.
        extent: left, right, bottom, top of an even grid.
        mesh: where values on nodes or cells lie.
        scale: ``vmin``, ``vmax``, ``cmap``.
    """
    values = np.asarray(panel.values)
    mesh = panel.mesh or mesh
    if mesh is not None:
        here = mesh if panel.points is None else Triangles(panel.points, mesh.cells)
        return _on_mesh(axis, values, here, scale)
    if panel.points is not None:
        axis.set_aspect("equal")
        x, y = np.moveaxis(panel.points, -1, 0)
        _look_where_the_nodes_are(axis, x, y)
        return axis.pcolormesh(x, y, values, shading="gouraud", **scale)
    return axis.imshow(
        values, origin="lower", extent=extent, interpolation="nearest", **scale
    )


def last_plane(points: Array | None) -> Array | None:
    """Return x and y of points on the last plane of three axes; others as they are.

    Args:
        points: (*space, d); None where there are none.
    """
    if points is None or points.ndim < 3:
        return points
    while points.ndim > 3:
        points = points[-1]
    return points[..., :2]


def _look_where_the_nodes_are(axis: Any, x: Array, y: Array) -> None:
    """Leave a far field out of sight: twice the middle half of nodes is shown.

    Only where a grid reaches ten times as far: around an airfoil, to 40 chords.
    """
    for values, limit in ((x, axis.set_xlim), (y, axis.set_ylim)):
        low, high = np.quantile(values, [0.25, 0.75])
        if np.ptp(values) > 10 * (high - low):
            limit(low - (high - low) / 2, high + (high - low) / 2)


def _on_mesh(
    axis: Any, values: Array, mesh: Triangles, scale: Mapping[str, Any]
) -> Any:
    cells = np.asarray(mesh.cells)
    axis.set_aspect("equal")
    if not len(cells):
        size = np.clip(4e3 / len(values), 1, 30)
        return axis.scatter(*mesh.points.T, size, values, linewidths=0, **scale)
    parts = [cells[:, list(corners)] for corners in TRIANGLES[cells.shape[1]]]
    corners = (*mesh.points.T, np.concatenate(parts))
    if len(values) == len(mesh.points):
        return axis.tripcolor(*corners, values, shading="gouraud", **scale)
    return axis.tripcolor(*corners, facecolors=np.tile(values, len(parts)), **scale)


def colours(kind: str) -> Any:
    """Return the colour map of a kind of panel."""
    try:
        maps = require_aside("cmocean", "plots").cm
    except ImportError:
        return {"input": "Greys", "error": "magma"}.get(kind, "viridis")
    return {"input": maps.gray_r, "error": maps.amp}.get(kind, maps.deep)


def _relative(target: Array, predicted: Array) -> float:
    return float(np.linalg.norm(predicted - target) / np.linalg.norm(target))


def pyplot() -> Any:
    """Return matplotlib's pyplot, which draws into files."""
    require_aside("matplotlib", "plots").use("Agg")
    return require_aside("matplotlib.pyplot", "plots")


def save(plt: Any, figure: Any, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all."""
    make_folder(path.parent)
    with appearing(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
    plt.close(figure)
    return path
