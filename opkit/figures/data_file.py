"""A picture of a data file: a few samples, each variable, its first and last frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from opkit.datasets.header import VariableSpec
from opkit.datasets.read import DataFile
from opkit.errors import DataError
from opkit.figures import plots

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
            on triangles.
        MissingExtraError: matplotlib is not installed.
    """
    with DataFile(data) as file:
        header = file.header
        mesh = None
        if header.mesh is not None and header.mesh.points.shape[1] == 2:
            mesh = plots.Triangles(header.mesh.points, header.mesh.cells)
        space = [axis for axis in SPACE if axis in header.coordinates][-2:]
        if not space and mesh is None:
            raise DataError(f"{data}: only fields on grids and triangles can be drawn")
        count = min(samples, len(file))
        rows = [
            [
                panel
                for variable in header.variables
                if not variable.is_number and variable.role != "points"
                for panel in _panels(variable, file.read(variable.name, row))
            ]
            for row in range(count)
        ]
        ends = [header.coordinates[axis].values[[0, -1]] for axis in reversed(space)]
        x, y = [*ends, np.array([0.0, 1.0]), np.array([0.0, 1.0])][:2]
        name = str(header.case.get("title", data.name))
    labels = [f"sample {row}" for row in range(count)]
    return plots.rows_of_fields(picture, rows, (*x, *y), name, labels, mesh)


def _panels(variable: VariableSpec, values: np.ndarray) -> Iterator[plots.Panel]:
    name = variable.long_name or variable.name
    dims = list(variable.dims)
    role: Literal["input", "output"] = "input" if variable.role == "input" else "output"
    for dim in ("layer", "z"):
        if dim in dims:
            values = values.take(0, dims.index(dim))
            dims.remove(dim)
    if "time" in dims:
        last = values.shape[0] - 1
        for frame in sorted({0, last}):
            yield plots.Panel(f"{name}, frame {frame}", values[frame], role)
    else:
        yield plots.Panel(name, values, role)
