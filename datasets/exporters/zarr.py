"""Zarr version 3: a group with the same variables, dims and attributes; splits kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from opkit.datasets.header import SPLITS, canonical
from opkit.datasets.read import DataFile
from opkit.errors import require


def write(file: DataFile, path: Path) -> None:
    """Write all splits into one Zarr store, one sample a chunk.

    Raises:
        MissingExtraError: zarr is not installed.
    """
    zarr = require("zarr", "zarr")
    header = file.header
    shutil.rmtree(path, ignore_errors=True)
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.attrs["opkit_header"] = canonical(header.describe())
    group.attrs["content_hash"] = file.stored_hash()

    def lay(name: str, data: np.ndarray, *dims: str) -> None:
        array = group.create_array(
            name, shape=data.shape, dtype=data.dtype, dimension_names=dims
        )
        array[...] = data

    lay("sample", file.index, "sample")
    lay("split", header.split_codes, "sample")
    group["split"].attrs["flag_meanings"] = " ".join(SPLITS)
    for name, values in file.diagnostics().items():
        lay(f"solver_{name}", values, "sample")
    for name, axis in header.coordinates.items():
        lay(name, axis.values, name)
        group[name].attrs.update(units=axis.units, long_name=axis.long_name)
    if header.mesh is not None:
        lay("points", header.mesh.points, "node", "axis")
        lay("cells", header.mesh.cells, "cell", "corner")
    for v in header.variables:
        array = group.create_array(
            v.name,
            shape=(len(file), *v.shape),
            chunks=(1, *v.shape),
            dtype=v.dtype,
            dimension_names=("sample", *v.stored_dims),
        )
        array.attrs.update(units=v.units, long_name=v.long_name, role=v.role)
        for row in range(len(file)):
            array[row] = file.read(v.name, row)
