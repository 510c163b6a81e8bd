"""Fields on a mesh as .vtu and .xdmf, for ParaView, meshio and dolfinx users."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opkit.base.files import appearing
from opkit.errors import DataError, require

Array = NDArray[Any]
SUFFIXES = (".vtu", ".xdmf")
KINDS = {(2, 3): "triangle", (2, 6): "triangle6", (3, 4): "tetra", (3, 10): "tetra10"}


def write(
    target: Path,
    points: Array,
    cells: Array,
    fields: Mapping[str, Array],
    replace: bool = True,
) -> None:
    """Write samples of fields on one mesh to one file, whole or not at all.

    A .vtu holds the samples as ``name`` or, where there are several, ``name_0``,
    ``name_1``, …; an .xdmf holds them as a series of times 0, 1, … with its numbers as
    text inside. Components of vectors are padded to three.

    Args:
        target: .vtu or .xdmf.
        points: (node, d).
        cells: (cell, corner), edge middles in VTK's order.
        fields: name to (sample, node), (sample, cell) or (sample, component, node or
            cell).
        replace: whether a file of that name may be there.

    Raises:
        DataError: another kind of file, or fields that are neither on nodes nor cells.
        MissingExtraError: meshio is not installed.
    """
    if target.suffix not in SUFFIXES:
        raise DataError(f"{target}: write fields on a mesh to {' or '.join(SUFFIXES)}")
    meshio = require("meshio", "fem")
    kind = KINDS[points.shape[1], cells.shape[1]]
    corners = np.zeros((len(points), 3))
    corners[:, : points.shape[1]] = points
    on_nodes = {k: f for k, f in fields.items() if f.shape[-1] == len(points)}
    on_cells = {k: f for k, f in fields.items() if f.shape[-1] == len(cells)}
    for name in fields:
        if name not in on_nodes and name not in on_cells:
            raise DataError(
                f"{name} has {fields[name].shape[-1]} values, the mesh has "
                f"{len(points)} nodes and {len(cells)} cells"
            )
    samples = len(next(iter(fields.values())))
    blocks = [(kind, np.asarray(cells))]
    with appearing(target, replace=replace) as temporary:
        if target.suffix == ".vtu":
            data = [
                {
                    f"{name}_{i}" if samples > 1 else name: vector(field[i])
                    for name, field in group.items()
                    for i in range(samples)
                }
                for group in (on_nodes, on_cells)
            ]
            whole = meshio.Mesh(
                corners, blocks, data[0], {k: [v] for k, v in data[1].items()}
            )
            meshio.write(temporary, whole, file_format="vtu")
            return
        with meshio.xdmf.TimeSeriesWriter(temporary, data_format="XML") as series:
            series.write_points_cells(corners, blocks)
            for i in range(samples):
                series.write_data(
                    float(i),
                    {k: vector(f[i]) for k, f in on_nodes.items()},
                    {k: [vector(f[i])] for k, f in on_cells.items()},
                )


def vector(field: Array) -> Array:
    """(node,) as it is, (component, node) as (node, 3)."""
    if field.ndim == 1:
        return np.ascontiguousarray(field)
    padded = np.zeros((field.shape[1], 3), field.dtype)
    padded[:, : len(field)] = field.T
    return padded
