"""The Well's HDF5 files: ``t0_fields``, ``t1_fields``, ``scalars``, ``dimensions``.

Axes are (sample, time, x, y, component); a field that does not vary over one of them
lacks it (attributes ``sample_varying``, ``time_varying``).
"""

from __future__ import annotations

from pathlib import Path

import h5py

from opkit.datasets.importers.hdf5 import audited, axis, lazy
from opkit.datasets.importers.pdebench import _plain
from opkit.datasets.importers.source import LazyArray, Source
from opkit.datasets.read import explained
from opkit.errors import DataError

COMPONENTS = ("x", "y", "z")


def open_source(path: Path) -> Source:
    """Open a file; components of a vector field are called ``name_x``, ``name_y``.

    Raises:
        DataError: it lacks the groups of The Well.
    """
    file = audited(path)
    with explained(path):
        if "dimensions" not in file or "t0_fields" not in file:
            raise DataError(f"{path}: not in The Well's layout (no t0_fields)")
        axes = [_plain(a) for a in file["dimensions"].attrs["spatial_dims"]]
        coordinates = {
            name: axis(file["dimensions"][name])
            for name in ("time", *axes)
            if file["dimensions"][name].ndim == 1
        }
        arrays: dict[str, LazyArray] = {}
        for item in file["t0_fields"].values():
            if isinstance(item, h5py.Dataset):
                arrays[item.name.rsplit("/", 1)[-1]] = lazy(item, _dims(item, axes))
        for item in file.get("t1_fields", {}).values():
            if isinstance(item, h5py.Dataset):
                name = item.name.rsplit("/", 1)[-1]
                for k, letter in enumerate(COMPONENTS[: item.shape[-1]]):
                    arrays[f"{name}_{letter}"] = _component(item, k, _dims(item, axes))
        about = {
            name: _plain(value)
            for name, value in file.attrs.items()
            if name in ("dataset_name", "grid_type", "simulation_parameters")
        }
    return Source(arrays, coordinates, {"attributes": about}, close=file.close)


def _dims(item: h5py.Dataset, axes: list[str]) -> tuple[str, ...]:
    dims: tuple[str, ...] = tuple(axes)
    if item.attrs.get("time_varying", True):
        dims = ("time", *dims)
    if item.attrs.get("sample_varying", True):
        dims = ("sample", *dims)
    return dims


def _component(item: h5py.Dataset, k: int, dims: tuple[str, ...]) -> LazyArray:
    whole = lazy(item)
    return LazyArray(
        item.shape[:-1],
        item.dtype,
        lambda index: whole.read((*index, slice(k, k + 1)))[..., 0],
        dims,
        whole.units,
    )
