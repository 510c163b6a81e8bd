"""PDEBench's layouts: ``nu`` and ``tensor`` for a static pair, else one array a field.

Axes are (sample, time, x, y); an input that is the initial state of an output becomes
its first frame, as there.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from opkit.datasets.disk import written
from opkit.datasets.header import VariableSpec
from opkit.datasets.read import DataFile
from opkit.errors import DataError

SPACE = ("x", "y", "z")


def write(file: DataFile, split: str, path: Path) -> None:
    """Write one split into one HDF5 file.

    Raises:
        DataError: a mesh or layers, for which PDEBench has no place.
    """
    header = file.header
    if header.mesh is not None or "layer" in header.sizes:
        raise DataError(f"{file.path}: PDEBench's layouts have no meshes and no layers")
    rows = file.indices(split)
    axes = [a for a in SPACE if a in header.sizes]
    timed = [v for v in header.outputs if "time" in v.dims]
    with written(path, libver="earliest") as out:
        for axis in axes:
            out[f"{axis}-coordinate"] = header.coordinates[axis].values
        if not timed:
            if len(header.inputs) != 1 or len(header.outputs) != 1:
                raise DataError(f"{file.path}: PDEBench's static layout is one pair")
            _copy(out, "nu", file, header.inputs[0], rows, axes)
            _copy(out, "tensor", file, header.outputs[0], rows, axes, channel=True)
            return
        known = {v.name: v for v in header.inputs}
        for v in header.outputs:
            start = known.get(f"initial_{v.name}")
            name = "tensor" if len(header.outputs) == 1 else v.name
            _copy(out, name, file, v, rows, axes, start=start)
        starts = [f"initial_{v.name}" in known for v in header.outputs]
        times = header.coordinates["time"].values
        if all(starts):
            times = np.concatenate([[2 * times[0] - times[1]], times])
        out["t-coordinate"] = times


def _copy(
    out: h5py.File,
    name: str,
    file: DataFile,
    variable: VariableSpec,
    rows: np.ndarray,
    axes: list[str],
    channel: bool = False,
    start: VariableSpec | None = None,
) -> None:
    """Write a variable sample by sample, axes turned, perhaps after its first frame."""
    timed = "time" in variable.dims
    dims = [*(["time"] if timed else []), *axes]
    order = [variable.dims.index(d) for d in dims]
    shape = [variable.shape[k] for k in order]
    if start is not None:
        shape[0] += 1
    whole = (len(rows), *([1] if channel else []), *shape)
    dataset = out.create_dataset(name, whole, variable.dtype, chunks=(1, *whole[1:]))
    for k, row in enumerate(rows):
        values = file.read(variable.name, int(row)).transpose(order)
        if start is not None:
            first = file.read(start.name, int(row))
            first = first.transpose([start.dims.index(d) for d in axes])
            values = np.concatenate([first[None], values])
        dataset[k] = values[None] if channel else values
