"""HDF5 and netCDF files of any layout, read lazily after an audit of their metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from opkit.datasets.audit import audit
from opkit.datasets.header import DIMENSIONS
from opkit.datasets.importers.source import LazyArray, Source, in_memory, unreadable
from opkit.datasets.inflate import check_chunks
from opkit.datasets.read import explained, open_hdf5


def open_source(path: Path) -> Source:
    """Open a file; arrays in groups are called ``group/name``.

    Dims come from netCDF dimension scales where there are any.

    Raises:
        DataError: not such a file, or one with links or sizes it should not have.
    """
    with path.open("rb") as head:
        if head.read(3) == b"CDF":
            return _classic(path)
    file = audited(path)
    arrays: dict[str, LazyArray] = {}
    coordinates: dict[str, NDArray[np.float64]] = {}

    def visit(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "iufb":
            return
        arrays[name] = lazy(item, dims_of(item))
        last = name.rsplit("/", 1)[-1]
        if item.ndim == 1 and last in DIMENSIONS:
            coordinates[last] = values(item)

    with explained(path):
        file.visititems(visit)
    return Source(arrays, coordinates)


def audited(path: Path) -> h5py.File:
    """Open a foreign HDF5 file and refuse what no data file needs."""
    file = open_hdf5(path)
    with explained(path):
        audit(file, flat=False)
    return file


def lazy(item: h5py.Dataset, dims: tuple[str, ...] | None = None) -> LazyArray:
    """Wrap a data set."""
    sound = False

    def read(index: tuple[slice, ...]) -> NDArray[Any]:
        nonlocal sound
        with explained(Path(item.file.filename)):
            if not sound:
                check_chunks(item)
                sound = True
            return np.asarray(item[index])

    units = item.attrs.get("units", "1")
    if isinstance(units, bytes):
        units = units.decode("utf-8", "replace")
    return LazyArray(item.shape, item.dtype, read, dims, str(units))


def values(item: h5py.Dataset) -> NDArray[np.float64]:
    """Read an axis."""
    check_chunks(item)
    return np.asarray(item[...], np.float64)


def dims_of(item: h5py.Dataset) -> tuple[str, ...] | None:
    """Names of the dimension scales of each axis, or None where one has none."""
    names = []
    for dim in item.dims:
        if not len(dim):
            return None
        names.append(str(dim[0].name).rsplit("/", 1)[-1])
    return tuple(names)


def _classic(path: Path) -> Source:
    from scipy.io import netcdf_file

    try:
        file = netcdf_file(path, "r", mmap=False)
    except Exception as error:  # scipy's reader raises what it stumbles over
        raise unreadable(path, error) from error
    arrays, coordinates = {}, {}
    for name, variable in file.variables.items():
        data = np.asarray(variable.data)
        array = in_memory(data.astype(data.dtype.newbyteorder("=")))
        arrays[name] = LazyArray(
            array.shape, array.dtype, array.read, tuple(variable.dimensions)
        )
        if data.ndim == 1 and name in DIMENSIONS:
            coordinates[name] = np.asarray(data, np.float64)
    return Source(arrays, coordinates)
