"""PDEBench's HDF5 files, in each of its layouts.

- One array ``tensor`` with time, Darcy's pair ``tensor`` and ``nu``, or one array a
  field, with axes (sample, time, x, y) and ``x-coordinate`` and so on;
  ``t-coordinate`` may have one value more than there are frames.
- Diffusion-reaction, diffusion-sorption and shallow water: a group a sample (``0000``,
  ``0001``, ...) with ``data`` (time, x, y, component) and ``grid/x``, ``grid/y``,
  ``grid/t``. Components are called ``data_0``, ``data_1``; a single one ``data``.
- Incompressible flow: ``velocity`` and ``particles`` (sample, time, x, y, component),
  ``force`` (sample, x, y, component) and ``t`` (sample, time); components are called
  ``velocity_x``, ``velocity_y``, and a single one ``particles``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from opkit.datasets.importers.hdf5 import audited, axis, lazy, values
from opkit.datasets.importers.source import Coordinate, LazyArray, Source
from opkit.datasets.read import explained
from opkit.errors import DataError

AXES = {"x": "x-coordinate", "y": "y-coordinate", "z": "z-coordinate"}
SPACE = ("x", "y", "z")


def open_source(path: Path) -> Source:
    """Open a file.

    Raises:
        DataError: it has none of these layouts.
    """
    file = audited(path)
    with explained(path):
        if layout(file) == "groups":
            return _groups(path, file)
        if layout(file) == "flow":
            return _flow(file)
        coordinates = {
            dim: axis(file[name]) for dim, name in AXES.items() if name in file
        }
        space = SPACE[: len(coordinates)]
        arrays = {}
        times = 0
        for name, item in file.items():
            if not isinstance(item, h5py.Dataset) or name.endswith("-coordinate"):
                continue
            dims = _dims(item, space)
            if dims is not None:
                arrays[name] = lazy(item, dims)
                times = item.shape[dims.index("time")] if "time" in dims else times
        if "t-coordinate" in file and times:
            times_axis = axis(file["t-coordinate"])
            coordinates["time"] = replace(
                times_axis, values=values(file["t-coordinate"])[:times]
            )
        attributes = {name: _plain(value) for name, value in file.attrs.items()}
    if not arrays:
        raise DataError(
            f"{path}: not a PDEBench layout that is known: give --format hdf5 and "
            "name the axes, as in u=tensor:sample,time,x"
        )
    return Source(arrays, coordinates, {"attributes": attributes}, close=file.close)


def layout(file: h5py.File) -> str | None:
    """Tell PDEBench's layouts apart: ``arrays``, ``groups``, ``flow``; None if none."""
    if "x-coordinate" in file:
        return "arrays"
    if "velocity" in file and "particles" in file and "t" in file:
        return "flow"
    first = next(iter(file.values()), None)
    if isinstance(first, h5py.Group) and "data" in first and "grid" in first:
        return "groups"
    return None


def _groups(path: Path, file: h5py.File) -> Source:
    names = sorted(file)
    items = [lazy(file[name]["data"]) for name in names]
    grid = file[names[0]]["grid"]
    space = tuple(dim for dim in SPACE if dim in grid)
    shape, dtype = items[0].shape, items[0].dtype
    if len(shape) != 2 + len(space):
        raise DataError(f"{path}: data of shape {shape} do not fit axes {space}")
    axes = {dim: values(grid[dim]) for dim in ("t", *space)}
    for name, item in zip(names, items, strict=True):
        if item.shape != shape or item.dtype != dtype:
            raise DataError(
                f"{path}: sample {name} has shape {item.shape}, not {shape}"
            )
        for dim in ("t", *space):
            if not np.array_equal(values(file[name]["grid"][dim]), axes[dim]):
                raise DataError(f"{path}: sample {name} has another axis {dim}")

    def component(k: int) -> LazyArray:
        def read(index: tuple[slice, ...]) -> NDArray[Any]:
            with explained(path):
                part = (*index[1:], slice(k, k + 1))
                chosen = [item.read(part)[..., 0] for item in items[index[0]]]
            empty = np.empty((0, *shape[:-1]), dtype)[(slice(None), *index[1:])]
            return np.stack(chosen) if chosen else empty

        dims = ("sample", "time", *space)
        return LazyArray((len(items), *shape[:-1]), dtype, read, dims)

    count = shape[-1]
    arrays = {
        ("data" if count == 1 else f"data_{k}"): component(k) for k in range(count)
    }
    coordinates = {dim: Coordinate(axes[dim]) for dim in space}
    coordinates["time"] = Coordinate(axes["t"])
    first = file[names[0]].attrs
    about = {name: _plain(value) for name, value in first.items()}
    return Source(arrays, coordinates, {"attributes": about}, close=file.close)


def _flow(file: h5py.File) -> Source:
    space = SPACE[: file["velocity"].ndim - 3]
    arrays = {}
    for name, dims in (
        ("velocity", ("sample", "time", *space)),
        ("particles", ("sample", "time", *space)),
        ("force", ("sample", *space)),
    ):
        if name not in file or file[name].ndim != len(dims) + 1:
            continue
        whole = lazy(file[name], (*dims, "component"))
        count = whole.shape[-1]
        for k in range(count):
            called = name if count == 1 else f"{name}_{SPACE[k]}"
            arrays[called] = _component(whole, k, dims)
    times = values(file["t"])
    same = times.ndim == 2 and len(times) and np.all(times == times[0])
    about = {name: _plain(value) for name, value in file.attrs.items()}
    coordinates = {"time": Coordinate(times[0])} if same else {}
    return Source(arrays, coordinates, {"attributes": about}, close=file.close)


def _component(whole: LazyArray, k: int, dims: tuple[str, ...]) -> LazyArray:
    def read(index: tuple[slice, ...]) -> NDArray[Any]:
        return whole.read((*index, slice(k, k + 1)))[..., 0]

    return LazyArray(whole.shape[:-1], whole.dtype, read, dims, whole.units)


def _dims(item: h5py.Dataset, space: tuple[str, ...]) -> tuple[str, ...] | None:
    """Name the axes by their number: Darcy's second axis has length 1."""
    extra = item.ndim - 1 - len(space)
    if extra == 2 and item.shape[0] == 1 and space:
        return ("channel", "sample", "time", *space)
    if not space or extra not in (0, 1):
        return None
    if extra == 0:
        return ("sample", *space)
    one = item.name == "/tensor" and "nu" in item.file
    return ("sample", "channel" if one else "time", *space)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
