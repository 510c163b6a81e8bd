"""Arrays that say where the nodes of each sample lie: mapped grids, clouds of points.

Geo-FNO's data are such: X, Y (sample, i, j) of a mapped grid beside its fields, or XY
(point, 2, sample) of clouds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from opkit.datasets.disk import hdf5_appearing
from opkit.datasets.header import POINTS, Header, Mesh, VariableSpec, check_header
from opkit.datasets.importers.agree import AxisOptions, Part, axes, variables
from opkit.datasets.importers.scrutiny import Scrutiny
from opkit.datasets.ragged_write import RaggedWriter
from opkit.datasets.shapes import Shapes
from opkit.errors import DataError

Dtype = Literal["float32", "float64"]
BLOCK_BYTES = 32 << 20
NONE = np.zeros((0, 0), np.int64)


def read(part: Part, rows: slice) -> NDArray[Any]:
    """Return the coordinates of samples, (row, *space, d)."""
    arrays = [selection.read(rows) for selection in part.points]
    return arrays[0] if _joined(part) else np.stack(arrays, -1)


def _joined(part: Part) -> bool:
    """Whether one array holds all coordinates."""
    return "component" in part.points[0].target


def _space(part: Part) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Dims and shape (*space, d) of the coordinates of a sample.

    Raises:
        DataError: the arrays do not fit together, or say no place in 2 or 3 dimensions.
    """
    first = part.points[0]
    names = ", ".join(s.field.source for s in part.points)
    if any((s.target, s.shape) != (first.target, first.shape) for s in part.points):
        raise DataError(f"{part.path}: {names} do not have one shape")
    joined = _joined(part)
    dims, shape = first.target, first.shape
    if not joined:
        dims, shape = (*dims, "component"), (*shape, len(part.points))
    if (joined and len(part.points) > 1) or shape[-1] not in (2, 3) or len(dims) < 2:
        raise DataError(
            f"{part.path}: --points {names}: give one array for each of x, y, (z), or "
            "one with an axis component of length 2 or 3"
        )
    return dims, shape


def are_clouds(parts: Sequence[Part]) -> bool:
    """Whether the samples are clouds of points without cells."""
    one = parts[0]
    return bool(one.points) and _space(one)[0][0] == "node" and one.source.mesh is None


def points_of(
    parts: Sequence[Part], specs: Sequence[VariableSpec], dtype: Dtype
) -> tuple[VariableSpec, ...]:
    """Return the variable that holds the coordinates; none where there are none.

    Raises:
        DataError: they are on other axes than the fields.
    """
    if not parts[0].points:
        return ()
    dims, shape = _space(parts[0])
    for part in parts[1:]:
        if _space(part) != (dims, shape):
            raise DataError(f"{part.path}: its points have another shape than before")
    for spec in specs:
        space = tuple(d for d in spec.dims if d not in ("time", "layer", "component"))
        if not spec.is_whole and space != dims[:-1]:
            raise DataError(
                f"{spec.name} is on {', '.join(space)}, the points on "
                f"{', '.join(dims[:-1])}: name the axes alike"
            )
    return (VariableSpec(POINTS, "points", dims, shape, dtype),)


def refuse_folds(
    header: Header, values: Mapping[str, NDArray[Any]], places: Sequence[str]
) -> None:
    """Refuse mapped grids and moved meshes with a cell that is turned over.

    Args:
        header: of the data.
        values: by variable, (row, ...), as read.
        places: where each row comes from, for messages.

    Raises:
        DataError: naming sample and cell.
    """
    points = values.get(POINTS)
    if points is None:
        return
    from opkit.elements.weights import (  # its package loads torch
        fold_of_grid,
        turned_over,
    )

    dims = header.variable(POINTS).dims[:-1]
    mesh = header.mesh if dims == ("node",) else None
    if mesh is None and len(dims) != points.shape[-1]:
        return
    periodic = [] if mesh else [header.coordinates[dim].periodic for dim in dims]
    for place, own in zip(places, points.astype(np.float64), strict=True):
        if mesh is None:
            fold = fold_of_grid(own, dims, periodic)
        else:
            turned = turned_over(own, mesh.points, mesh.cells)
            words = f"cell {turned} is inverted: correct its points"
            fold = "" if turned is None else words
        if fold:
            raise DataError(f"{place}: {fold}")


def copy(
    parts: Sequence[Part],
    target: Path,
    splits: Mapping[str, NDArray[np.int64]],
    provenance: Mapping[str, Any],
    options: AxisOptions,
    dtype: Dtype,
    force: bool,
) -> Path:
    """Copy clouds of points into a ragged file.

    Raises:
        DataError: fields that are not on the points, repeated points, missing values.
    """
    specs = []
    for v in variables(parts, dtype, options):
        if not v.is_whole and v.dims != ("node",):
            raise DataError(f"{v.name} is on {', '.join(v.dims)}, the points on node")
        shape = v.shape if v.is_whole else (0,)
        specs.append(
            VariableSpec(v.name, v.role, v.dims, shape, v.dtype, v.units, v.long_name)
        )
    header = Header(
        case={},
        variables=tuple(specs),
        coordinates=axes(parts, options),
        splits=splits,
        provenance=provenance,
        shapes=Shapes(_space(parts[0])[1][-1], weights="equal"),
    )
    check_header(header, str(target))
    scrutiny = Scrutiny(header)
    with hdf5_appearing(target, replace=force) as file:
        writer, row = RaggedWriter(file, header), 0
        for part in parts:
            nodes = _space(part)[1][0]
            block = max(BLOCK_BYTES // (8 * nodes * (len(specs) + 3)), 1)
            for start in range(0, part.samples, block):
                rows = slice(start, min(start + block, part.samples))
                clouds = read(part, rows).astype(np.float64)
                fields = {s.field.name: s.read(rows) for s in part.selections}
                for k, cloud in enumerate(clouds):
                    one = {name: values[k : k + 1] for name, values in fields.items()}
                    place = f"{part.path}: sample {start + k}"
                    values = scrutiny.look([place], row, one, cloud.tobytes())
                    own = {name: array[0] for name, array in values.items()}
                    writer.put(row, Mesh(cloud, NONE), own, place=place)
                    row += 1
        scrutiny.finish()
        writer.finish()
    return target
