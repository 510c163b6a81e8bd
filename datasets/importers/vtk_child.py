"""The child process of `vtk`: meshio's reader under limits, arrays out.

    python -m opkit.datasets.importers.vtk_child FILE OUT.npz

Ends with 0 and a written OUT.npz, or with 2 and the reason on standard error.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opkit.base.sandbox import answer, limit_this_process
from opkit.datasets.importers.vtk import LIMITS
from opkit.errors import DataError

DIMENSION = {
    "vertex": 0,
    "line": 1,
    "triangle": 2,
    "quad": 2,
    "tetra": 3,
    "hexahedron": 3,
}


def convert(mesh: Any) -> dict[str, NDArray[Any]]:
    """Arrays of a meshio mesh: points, cells, names, places, field_0, ...

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
    if most < 2 or len(kinds) > 1:
        raise DataError(
            f"cells of the kinds {', '.join(kinds) or 'none'}: write one kind, such as "
            "triangles"
        )
    if points.shape[1] == 3 and most == 2:
        flat = np.ptp(points[:, 2]) <= 1e-9 * np.ptp(points, axis=0).max()
        if not flat:
            raise DataError("a surface in space: only flat meshes and solids are read")
        points = points[:, :2]
    cells = np.concatenate([np.asarray(mesh.cells[k].data, np.int64) for k in chosen])
    fields = {name: (np.asarray(v), "node") for name, v in mesh.point_data.items()}
    for name, values in mesh.cell_data.items():
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
    return {
        "points": points,
        "cells": cells,
        "names": np.array(list(single), dtype="U128"),
        "places": np.array([place for _, place in single.values()], dtype="U4"),
    } | {f"field_{k}": values for k, (values, _) in enumerate(single.values())}


def main(path: str, out: str) -> int:
    """Read under limits, convert, write."""
    limit_this_process(LIMITS)
    import meshio

    def read() -> None:
        try:
            arrays: dict[str, Any] = convert(meshio.read(path))
        except (Exception, SystemExit) as error:  # readers end in many ways
            lines = str(error).strip().splitlines() or [type(error).__name__]
            reason = lines[-1][:200]
            raise DataError(f"{path}: cannot be read as a mesh ({reason})") from None
        np.savez(out, **arrays)

    return answer(path, read)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
