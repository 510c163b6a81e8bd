"""HDF5 and netCDF files of any layout, audited, then decoded by xarray.

What a variable's attributes say of its values (scale and offset, fill and missing
values, unsigned bytes) is applied by `xarray`, so that numbers are those of
`xarray.open_dataset`; what lies outside a stated valid range counts as missing too.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from h5py import h5t
from numpy.typing import NDArray

from opkit.datasets.audit import audit
from opkit.datasets.importers.attributes import odd_attributes
from opkit.datasets.importers.dataset import decoded, from_dataset
from opkit.datasets.importers.source import (
    MAX_SUSPECT,
    Coordinate,
    LazyArray,
    Source,
    check_expansion,
    fault_of,
    units_of,
    unreadable,
)
from opkit.datasets.inflate import check_chunks
from opkit.datasets.read import explained, open_hdf5
from opkit.errors import DataError

RAW: dict[str, Any] = {"decode_cf": False, "cache": False}
PHONY = "phony_dim_"


def open_source(path: Path) -> Source:
    """Open a file; arrays in groups are called ``group/name``.

    Dims come from netCDF dimension scales where there are any.

    Raises:
        DataError: not such a file, or one with links or sizes it should not have.
    """
    with path.open("rb") as head:
        start = head.read(4)
    if start[:3] == b"CDF":
        return _classic(path, start)
    file = audited(path)
    groups: dict[str, list[str]] = {}
    refused: dict[str, str] = {}
    labels: dict[str, dict[str, Coordinate]] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Group):
            groups.setdefault(name, [])
            return
        group, _, last = name.rpartition("/")
        names = groups.setdefault(group, [])
        if reason := fault_of_item(item):
            refused[name] = reason
            names.append(last)
            if item.is_scale:
                labels.setdefault(group, {})[last] = Coordinate(None)

    with explained(path):
        groups[""] = []
        file.visititems(visit)
    arrays: dict[str, LazyArray] = {}
    scopes: dict[str, dict[str, Coordinate]] = {}
    closing = ExitStack()
    closing.callback(file.close)
    for group, dropped in groups.items():
        source = from_dataset(_opened(path, group, dropped))
        closing.callback(source.close)
        outer = scopes.get(group.rpartition("/")[0], {}) if group else {}
        scopes[group] = {**outer, **source.coordinates, **labels.get(group, {})}
        for name, array in source.arrays.items():
            full = f"{group}/{name}" if group else name
            arrays[full] = _guarded(path, file, full, array, scopes[group])
        for name, reason in source.refused.items():
            refused[f"{group}/{name}" if group else name] = reason
    return Source(arrays, refused=refused, close=closing.close)


def _opened(path: Path, group: str, dropped: list[str]) -> xr.Dataset:
    try:
        return xr.open_dataset(
            path,
            engine="h5netcdf",
            group=group or None,
            phony_dims="sort",
            drop_variables=dropped,
            **RAW,
        )
    except Exception as error:  # h5netcdf and xarray raise what they stumble over
        raise unreadable(path, error) from error


def _guarded(
    path: Path,
    file: h5py.File,
    name: str,
    array: LazyArray,
    axes: Mapping[str, Coordinate],
) -> LazyArray:
    """Look at the chunks before the first reading; leave out dims without a name."""
    sound = False

    def read(index: tuple[slice, ...]) -> NDArray[Any]:
        nonlocal sound
        with explained(path):
            if not sound:
                check_before_reading(path, file[name])
                if reason := unwritten(file[name]):
                    raise DataError(f"{path}: {name} {reason}")
                sound = True
        return array.read(index)

    dims = array.dims
    if dims is not None and any(dim.startswith(PHONY) for dim in dims):
        dims = None
    return LazyArray(array.shape, array.dtype, read, dims, array.units, axes)


def audited(path: Path) -> h5py.File:
    """Open a foreign HDF5 file and refuse what no data file needs."""
    file = open_hdf5(path)
    with explained(path):
        audit(file, flat=False)
    return file


def fault_of_item(item: h5py.Dataset) -> str:
    """Why a data set is not taken; empty where it is.

    h5py reads enumerations and bit fields as the integers that stand for them.
    """
    kind = item.id.get_type()
    names = h5py.check_enum_dtype(item.dtype)
    if names is not None and item.dtype.kind != "b":
        return (
            f"is an enumeration ({', '.join(names)[:60]}), not numbers: store its "
            "codes as integers if these are numbers"
        )
    if isinstance(kind, h5t.TypeBitfieldID):
        return "holds bits, not numbers: store them as integers"
    return fault_of(item.dtype)


def check_before_reading(path: Path, item: h5py.Dataset) -> None:
    """Refuse compressed chunks that would take far more memory than they take on disk.

    Raises:
        DataError: a chunk expands to more than its size, or is large and almost empty.
    """
    check_chunks(item)
    if item.chunks is None:
        return
    chunk = int(np.prod(item.chunks, dtype=object)) * item.dtype.itemsize
    if chunk > MAX_SUSPECT:
        least: list[int] = []
        item.id.chunk_iter(lambda chunk_info: least.append(chunk_info.size))
        check_expansion(path, f"a chunk of {item.name}", min(least, default=0), chunk)


def unwritten(item: h5py.Dataset) -> str:
    """Say which chunks of a data set were never written; empty if none."""
    total = int(np.prod(item.shape, dtype=np.int64))
    if not total:
        return ""
    if item.chunks is None:
        early = (
            item.id.get_storage_size() or item.id.get_create_plist().get_layout() == 0
        )
        return "" if early else "was never written: only its fill value would be read"
    counts = [-(-n // c) for n, c in zip(item.shape, item.chunks, strict=True)]
    count = int(np.prod(counts, dtype=np.int64))
    written: set[tuple[int, ...]] = set()
    item.id.chunk_iter(lambda chunk: written.add(chunk.chunk_offset))
    if len(written) >= count:
        return ""
    for number in np.ndindex(*counts):
        first = tuple(int(k * c) for k, c in zip(number, item.chunks, strict=True))
        if first not in written:
            break
    return (
        f"has {count - len(written)} of {count} chunks that were never written, the "
        f"first at index {first}: whoever wrote it did not finish; leave these out"
    )


def lazy(item: h5py.Dataset, dims: tuple[str, ...] | None = None) -> LazyArray:
    """Wrap a data set of a format whose layout is known, decoded by its attributes."""
    sound = False
    attributes = {name: _text(item.attrs[name]) for name in item.attrs if name in CF}
    unit = {"units": item.attrs.get("units", "")}
    if reason := fault_of_item(item) or odd_attributes(attributes | unit):
        raise DataError(f"{item.file.filename}: {item.name} {reason}")

    def read(index: tuple[slice, ...]) -> NDArray[Any]:
        nonlocal sound
        with explained(Path(item.file.filename)):
            if not sound:
                check_before_reading(Path(item.file.filename), item)
                if reason := unwritten(item):
                    raise DataError(f"{item.file.filename}: {item.name} {reason}")
                sound = True
            return decoded(np.asarray(item[index]), attributes)

    units = units_of(unit["units"]) or ""
    return LazyArray(item.shape, item.dtype, read, dims, units)


CF = {
    "scale_factor", "add_offset", "_FillValue", "missing_value", "_Unsigned",
    "valid_min", "valid_max", "valid_range",
}  # fmt: skip


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def values(item: h5py.Dataset) -> NDArray[np.float64]:
    """Read an axis."""
    check_chunks(item)
    return np.asarray(item[...], np.float64)


def axis(item: h5py.Dataset) -> Coordinate:
    """Read an axis with its units."""
    return Coordinate(values(item), units_of(item.attrs.get("units", "")) or "")


def _classic(path: Path, start: bytes) -> Source:
    if start[3:] == b"\x05":
        raise DataError(
            f"{path}: netCDF with 64-bit data (CDF-5) is not read: convert it by "
            "nccopy -k nc4"
        )
    try:
        opened = xr.open_dataset(path, engine="scipy", **RAW)
    except Exception as error:  # scipy's reader raises what it stumbles over
        raise unreadable(path, error) from error
    return from_dataset(opened)
