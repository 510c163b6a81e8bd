"""Meshes of other codes: .vtu, .vtk and .msh, one sample a file, by meshio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opkit.base.mesh_groups import MeshGroups
from opkit.datasets.header import Mesh
from opkit.datasets.importers.source import LazyArray, Source, in_memory
from opkit.errors import DataError, require

LARGEST_FILE = 512 << 20
DIMENSION = {
    "vertex": 0,
    "line": 1,
    "triangle": 2,
    "quad": 2,
    "tetra": 3,
    "hexahedron": 3,
}


def open_source(path: Path) -> Source:
    """Open a file; components of a vector are called ``name_x``, ``name_y`` and so on.

    Raises:
        DataError: cannot be read, or cells of several kinds.
        MissingExtraError: meshio is not installed.
    """
    if path.stat().st_size > LARGEST_FILE:
        raise DataError(f"{path}: larger than {LARGEST_FILE >> 20} MiB")
    meshio: Any = require("meshio", "fem")
    try:
        return _converted(meshio.read(path))
    except (Exception, SystemExit) as error:  # readers end in many ways
        lines = str(error).strip().splitlines() or [type(error).__name__]
        ended = isinstance(error, SystemExit)  # with a number that says nothing
        reason = "damaged, or another format" if ended else lines[-1][:200]
        raise DataError(f"{path}: cannot be read as a mesh ({reason})") from None


def _converted(mesh: Any) -> Source:
    """Return what a meshio mesh holds.

    Raises:
        DataError: cells of several or of other kinds.
    """
    points = np.asarray(mesh.points, np.float64)
    unknown = sorted({b.type for b in mesh.cells} - DIMENSION.keys())
    if unknown:
        raise DataError(
            f"cells of type {unknown[0]}: write linear {', '.join(list(DIMENSION)[2:])}"
        )
    most = max((DIMENSION[b.type] for b in mesh.cells), default=0)
    chosen = [k for k, b in enumerate(mesh.cells) if DIMENSION[b.type] == most]
    kinds = sorted({mesh.cells[k].type for k in chosen})
    if most == 1 or len(kinds) > 1:
        raise DataError(
            f"cells of the kinds {', '.join(kinds) or 'none'}: write one kind, such as "
            "triangles"
        )
    if points.shape[1] == 3 and most == 2:
        flat = np.ptp(points[:, 2]) <= 1e-9 * np.ptp(points, axis=0).max()
        if not flat:
            raise DataError("a surface in space: only flat meshes and solids are read")
        points = points[:, :2]
    if most == 0:  # a cloud
        if not np.ptp(points[:, -1]):
            points = points[:, :2]
        cells = np.zeros((0, 0), np.int64)
    else:
        blocks = [np.asarray(mesh.cells[k].data, np.int64) for k in chosen]
        cells = np.concatenate(blocks)
    fields = {name: (np.asarray(v), "node") for name, v in mesh.point_data.items()}
    for name, values in mesh.cell_data.items() if most else ():
        if name in fields:
            raise DataError(f"{name} is a field of points and one of cells: rename one")
        joined = np.concatenate([np.asarray(values[k]) for k in chosen])
        fields[name] = (joined, "cell")
    single: dict[str, tuple[NDArray[Any], str]] = {}
    for name, (values, place) in fields.items():
        if values.dtype.kind not in "iuf":
            continue
        if values.ndim == 1 or values.shape[1:] == (1,):
            single[name] = (values.reshape(-1), place)
        elif values.ndim == 2 and values.shape[1] <= 3:
            for k, letter in enumerate("xyz"[: values.shape[1]]):
                single[f"{name}_{letter}"] = (values[:, k], place)
    arrays: dict[str, LazyArray] = {
        name: in_memory(values, (place,)) for name, (values, place) in single.items()
    }
    return Source(arrays, mesh=Mesh(points, cells, _groups(mesh, most, len(cells))))


def _groups(mesh: Any, most: int, cells: int) -> MeshGroups | None:
    """Return the named parts of the boundary; None where the file names none."""
    tags = mesh.cell_data.get("gmsh:physical")
    names = {
        int(tag): name
        for name, (tag, dimension) in mesh.field_data.items()
        if dimension == most - 1
    }
    blocks = [k for k, b in enumerate(mesh.cells) if DIMENSION[b.type] == most - 1]
    kinds = {mesh.cells[k].type for k in blocks}
    if tags is None or not names or len(kinds) != 1 or kinds == {"quad"}:
        return None
    facets = np.concatenate([np.asarray(mesh.cells[k].data, np.int64) for k in blocks])
    numbers = np.concatenate([np.asarray(tags[k], np.int64) for k in blocks])
    named = np.isin(numbers, list(names))
    order = sorted(names)
    return MeshGroups(
        subdomains=np.zeros(cells, np.int64),
        facets=facets[named],
        parts=np.searchsorted(order, numbers[named]),
        names=tuple(names[tag] for tag in order),
    )
