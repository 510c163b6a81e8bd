"""ParaView: one .vtu a sample, in a folder a split, and the numbers in a table."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opkit.datasets.header import SPLITS, Header, Mesh
from opkit.datasets.read import DataFile
from opkit.errors import DataError, require

KINDS = {
    (2, 3): "triangle", (3, 3): "triangle", (2, 6): "triangle6", (3, 6): "triangle6",
    (2, 4): "quad", (3, 4): "tetra", (3, 8): "hexahedron", (3, 10): "tetra10",
}  # fmt: skip
TABLE = "samples.csv"


def write(file: DataFile, folder: Path) -> list[str]:
    """Write the samples; return the names of what was made, the table last.

    Raises:
        DataError: the fields are not on a mesh or cloud, or have times or layers.
        MissingExtraError: meshio is not installed.
    """
    header = file.header
    fields = [v for v in header.variables if v.is_field]
    for v in fields:
        if v.dims not in (("node",), ("cell",)):
            raise DataError(
                f"{file.path}: {v.name} is on {', '.join(v.dims)}: vtu is for fields "
                "on the nodes or cells of a mesh, one record a sample"
            )
    require("meshio", "fem")
    names, rows = [], []
    for split, row in _rows(header):
        mesh = _mesh(file, row)
        values = {v.name: file.read(v.name, row) for v in fields}
        on = {v.name: v.dims[0] for v in fields}
        nodal = {name: a for name, a in values.items() if on[name] == "node"}
        inner = {name: a for name, a in values.items() if on[name] == "cell"}
        name = f"{split}/sample_{row:06d}.vtu"
        (folder / split).mkdir(exist_ok=True)
        write_one(folder / name, mesh, nodal, inner)
        names.append(name)
        rows.append([name, *_numbers(file, row)])
    with (folder / TABLE).open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["file", *_labels(header)])
        writer.writerows(rows)
    return [*names, TABLE]


def write_one(
    path: Path,
    mesh: Mesh,
    nodal: Mapping[str, NDArray[Any]],
    inner: Mapping[str, NDArray[Any]],
) -> None:
    """Write the fields of one sample on its mesh or cloud.

    Args:
        path: file to write, of any ending.
        mesh: of the sample; a cloud has no cells.
        nodal: name to (node,) or (node, 3).
        inner: name to (cell,) or (cell, 3).

    Raises:
        MissingExtraError: meshio is not installed.
    """
    meshio: Any = require("meshio", "fem")
    corners = np.zeros((len(mesh.points), 3))
    corners[:, : mesh.points.shape[1]] = mesh.points
    cells = {name: [values] for name, values in inner.items()}
    whole = meshio.Mesh(corners, [_block(mesh)], dict(nodal), cells)
    meshio.write(path, whole, file_format="vtu")


def _rows(header: Header) -> Iterator[tuple[str, int]]:
    for split in SPLITS:
        for row in header.splits.get(split, ()):
            yield split, int(row)


def _mesh(file: DataFile, row: int) -> Mesh:
    """The mesh of a sample, where its nodes lie."""
    mesh = file.mesh(row)
    for v in file.header.variables:
        if v.role == "points":
            return Mesh(file.read(v.name, row).astype(np.float64), mesh.cells)
    return mesh


def _block(mesh: Mesh) -> tuple[str, NDArray[np.int64]]:
    if not len(mesh.cells):
        return "vertex", np.arange(len(mesh.points))[:, None]
    return KINDS[mesh.points.shape[1], mesh.cells.shape[1]], mesh.cells


def _numbers(file: DataFile, row: int) -> list[float]:
    parts = [np.ravel(file.read(v.name, row)) for v in file.header.parameters]
    return [float(number) for part in parts for number in part]


def _labels(header: Header) -> list[str]:
    return [
        v.name if not v.dims else f"{v.name}[{k}]"
        for v in header.parameters
        for k in range(v.shape[0] if v.dims else 1)
    ]
