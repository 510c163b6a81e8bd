"""A picture of a data file: a few samples, each variable, its first and last frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from opkit.datasets.header import VariableSpec, closed
from opkit.datasets.read import DataFile
from opkit.errors import DataError
from opkit.figures import kinds, plots

SPACE = ("z", "y", "x")


def draw(data: Path, picture: Path, samples: int = 3) -> Path:
    """Draw the first samples of a data file on a grid or a mesh in the plane.

    Planes of the lowest layer and the lowest z are shown.

    Args:
        data: data file.
        picture: PNG file to write.
        samples: rows of the picture.

    Raises:
        DataError: the file cannot be read, or its variables are neither on a grid nor
            on meshes or clouds in the plane.
        MissingExtraError: matplotlib is not installed.
    """
    with DataFile(data) as file:
        header = file.header
        mesh = None
        if header.shapes is not None and header.shapes.dimension != 2:
            raise DataError(
                f"{data}: only meshes in the plane can be drawn: `opkit export-data "
                f"{data} FOLDER --to vtu` writes them for ParaView"
            )
        if header.mesh is not None and header.mesh.points.shape[1] == 2:
            mesh = plots.Triangles(header.mesh.points, header.mesh.cells)
        if any(v.is_series for v in header.variables) and mesh is None:
            return _with_series(file, picture, samples)
        space = [axis for axis in SPACE if axis in header.coordinates][-2:]
        if not space and mesh is None and not header.ragged:
            raise DataError(f"{data}: only fields on grids and triangles can be drawn")
        count = min(samples, len(file))
        rows = [
            [
                panel
                for variable in header.variables
                if variable.is_field
                for panel in _panels(file, variable, row)
            ]
            for row in range(count)
        ]
        if not (rows and rows[0]):
            raise DataError(f"{data}: only fields on grids and triangles can be drawn")
        ends = [header.coordinates[axis].values[[0, -1]] for axis in reversed(space)]
        x, y = [*ends, np.array([0.0, 1.0]), np.array([0.0, 1.0])][:2]
        name = str(header.case.get("title", data.name))
    labels = [f"sample {row}" for row in range(count)]
    return plots.rows_of_fields(picture, rows, (*x, *y), name, labels, mesh)


def _with_series(file: DataFile, picture: Path, samples: int) -> Path:
    """Draw series as lines, beside the fields on a grid where there are any."""
    header = file.header
    times = header.coordinates["time"].values
    rows: list[list[plots.Panel | kinds.Curves]] = []
    ends = [header.coordinates[a].values[[0, -1]] for a in "xy" if a in header.sizes]
    for row in range(min(samples, len(file))):
        line: list[plots.Panel | kinds.Curves] = []
        for v in header.variables:
            if v.is_series:
                name = v.long_name or v.name
                line.append(kinds.Curves(name, times, {name: file.read(v.name, row)}))
            elif v.is_field:
                panels = _panels(file, v, row)
                line += [_line(p, ends) if _is_line(p) else p for p in panels]
        rows.append(line)
    x, y = [*ends, np.array([0.0, 1.0]), np.array([0.0, 1.0])][:2]
    labels = [f"sample {row}" for row in range(len(rows))]
    title = str(header.case.get("title", file.path))
    return kinds.rows_of_kinds(picture, rows, labels, (*x, *y), title)


def _is_line(panel: plots.Panel) -> bool:
    return panel.values.ndim == 1 and panel.mesh is None


def _line(panel: plots.Panel, ends: list[np.ndarray]) -> kinds.Curves:
    first, last = (float(end) for end in ends[0])
    x = np.linspace(first, last, len(panel.values))
    return kinds.Curves(panel.title, x, {panel.title: panel.values})


def _panels(file: DataFile, variable: VariableSpec, row: int) -> Iterator[plots.Panel]:
    values = file.read(variable.name, row)
    name = variable.long_name or variable.name
    dims = list(variable.dims)
    role: Literal["input", "output"] = "input" if variable.role == "input" else "output"
    for dim in ("layer", "z"):
        if dim in dims:
            values = values.take(0, dims.index(dim))
            dims.remove(dim)
    frames: list[tuple[str, np.ndarray]] = [(name, values)]
    if "time" in dims:
        dims.remove("time")
        chosen = sorted({0, values.shape[0] - 1})
        frames = [(f"{name}, frame {frame}", values[frame]) for frame in chosen]
    points = _points(file, dims, row)
    own = None
    if file.header.ragged:
        sample = file.mesh(row)
        own = plots.Triangles(sample.points, sample.cells)
    for title, field in frames:
        if points is not None and "cell" not in dims:
            field = closed(field, file.header, dims)
        yield plots.Panel(title, field, role, points, own)


def _points(file: DataFile, dims: list[str], row: int) -> np.ndarray | None:
    """Return where the nodes of a sample lie, None if all samples are alike."""
    header = file.header
    moved = [v for v in header.variables if v.role == "points"]
    if not moved or (header.mesh is None and list(moved[0].dims[:-1]) != dims):
        return None
    points = file.read(moved[0].name, row)
    return closed(points, header, moved[0].dims[:-1])
