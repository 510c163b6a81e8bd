"""What an HDF5 file may contain, checked from its metadata before any data is read.

A file can point at other files, declare more data than exists, or hide a bomb in a
compressed chunk. Nothing here reads the data of a data set.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import h5py
import numpy as np
from h5py import h5g, h5o, h5r, h5t, h5z

from opkit.errors import DataError

FILTERS = {h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32}
PACKERS = {h5z.FILTER_DEFLATE, h5z.FILTER_LZF}
FOREIGN_FILTERS = FILTERS | {h5z.FILTER_LZF}  # h5py's own; PDEBench uses it
MAX_OBJECTS = 10_000
MAX_FOREIGN_OBJECTS = 100_000  # PDEBench has six a sample
MAX_DEPTH = 8
MAX_RANK = 7
MAX_ATTRIBUTES = 256
MAX_ATTRIBUTE_BYTES = 4 << 20
MAX_CHUNK_BYTES = 1 << 30
MAX_RATIO = 1100  # deflate reaches at most 1032
SCALES, USERS, LABELS = "DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS"


def audit(file: h5py.File, flat: bool = True) -> None:
    """Refuse what no data file needs.

    Args:
        file: open for reading.
        flat: whether groups are refused (opkit's own format has none).

    Raises:
        DataError: links out of the file, virtual or external storage, foreign filters,
            references, variable-length data, or sizes that the file does not hold.
    """
    seen: set[int] = set()
    for name, item in _walk(
        file, file.filename, seen, 0, MAX_OBJECTS if flat else MAX_FOREIGN_OBJECTS
    ):
        where = f"{file.filename}: {name}"
        if isinstance(item, h5py.Dataset):
            if not flat and (item.dtype.kind not in "iufbcS" or item.dtype.hasobject):
                continue  # texts, structs and cells beside the numbers: never read
            _check_dataset(item, where, file, FILTERS if flat else FOREIGN_FILTERS)
        elif flat:
            raise DataError(f"{where}: groups are not part of the format")
        _check_attributes(item, where, flat)
    _check_attributes(file, file.filename, flat)
    _check_scales(file, seen)


def _walk(
    group: h5py.Group, origin: str, seen: set[int], depth: int, most: int
) -> Iterator[tuple[str, Any]]:
    if depth > MAX_DEPTH:
        raise DataError(f"{origin}: groups nested deeper than {MAX_DEPTH}")
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise DataError(f"{origin}: {name!r} links elsewhere: links are refused")
        item = group[name]
        address = h5o.get_info(item.id).addr
        if address in seen:
            raise DataError(f"{origin}: {name!r} is linked twice: links are refused")
        seen.add(address)
        if len(seen) > most:
            raise DataError(f"{origin}: more than {most} objects")
        if not isinstance(item, h5py.Dataset | h5py.Group):
            raise DataError(f"{origin}: {name!r} is neither data nor a group")
        yield item.name, item
        if isinstance(item, h5py.Group):
            yield from _walk(item, origin, seen, depth + 1, most)


def _check_dataset(
    item: h5py.Dataset, where: str, file: h5py.File, allowed: set[int]
) -> None:
    creation = item.id.get_create_plist()
    if item.is_virtual or creation.get_external_count():
        raise DataError(f"{where}: its data lie in other files: refused")
    listed = [creation.get_filter(k)[0] for k in range(creation.get_nfilters())]
    filters = set(listed)
    if len(listed) > len(filters) or filters >= PACKERS:
        raise DataError(f"{where}: is compressed more than once: refused")
    if filters - allowed:
        raise DataError(
            f"{where}: needs a filter other than gzip, shuffle and fletcher32: "
            "write it again with one of these"
        )
    if item.dtype.kind not in "iufbcS" or item.dtype.hasobject:
        raise DataError(f"{where}: data of type {item.dtype} are refused")
    if item.shape is None or len(item.shape) > MAX_RANK:
        raise DataError(f"{where}: has no shape, or more than {MAX_RANK} dimensions")
    if item.dtype.itemsize > 1 << 16:
        raise DataError(f"{where}: elements of {item.dtype.itemsize} bytes are refused")
    declared = int(np.prod(item.shape, dtype=object)) * item.dtype.itemsize
    stored = item.id.get_storage_size()
    if stored > file.id.get_filesize():
        raise DataError(f"{where}: claims more bytes than the file has: damaged")
    ratio = MAX_RATIO if filters & PACKERS else 1
    if declared > ratio * stored + (1 << 16):
        raise DataError(
            f"{where}: declares {declared} bytes and stores {stored}: "
            "incomplete or hostile"
        )
    if item.chunks is not None:
        chunk = int(np.prod(item.chunks, dtype=object)) * item.dtype.itemsize
        if chunk > MAX_CHUNK_BYTES:
            raise DataError(f"{where}: chunks of {chunk} bytes are refused")


def _check_attributes(item: Any, where: str, flat: bool) -> None:
    if len(item.attrs) > MAX_ATTRIBUTES:
        raise DataError(f"{where}: more than {MAX_ATTRIBUTES} attributes")
    for name in item.attrs:
        if name in (SCALES, USERS, LABELS):
            _check_kind(item, name, where)
            continue
        identifier = item.attrs.get_id(name)
        size = int(np.prod(identifier.shape, dtype=object)) * identifier.dtype.itemsize
        if size > MAX_ATTRIBUTE_BYTES:
            raise DataError(f"{where}: attribute {name!r} is too large")
        if not flat:
            _try_to_read(item, name)
            continue
        text = h5py.check_string_dtype(identifier.dtype)
        if text is not None and text.length is not None:
            continue
        if text is not None:
            raise DataError(
                f"{where}: attribute {name!r} is text of variable length, which no "
                "data file has: another program wrote the file; opkit import reads it"
            )
        if identifier.dtype.kind not in "iufSb" or identifier.dtype.hasobject:
            raise DataError(f"{where}: attribute {name!r} is of a refused type")


def _try_to_read(item: Any, name: str) -> None:
    """Read a foreign attribute: the child process does so before its parent."""
    with suppress(TypeError, ValueError, UnicodeDecodeError):
        item.attrs[name]


def _check_kind(item: Any, name: str, where: str) -> None:
    """Refuse a netCDF attribute that HDF5's dimension scales would misread."""
    refusal = DataError(f"{where}: attribute {name!r} is not as netCDF has it: damaged")
    if not isinstance(item, h5py.Dataset):
        raise refusal
    attribute = item.attrs.get_id(name)
    kind, shape = attribute.get_type(), attribute.shape
    if name == USERS:
        if len(shape) != 1 or shape[0] > MAX_FOREIGN_OBJECTS:
            raise refusal
        if not isinstance(kind, h5t.TypeCompoundID) or kind.get_nmembers() != 2:
            raise refusal
        if not kind.get_member_type(0).equal(h5t.STD_REF_OBJ):
            raise refusal
        if not isinstance(kind.get_member_type(1), h5t.TypeIntegerID):
            raise refusal
        return
    if shape != (item.ndim,):
        raise refusal
    if name == LABELS:
        if not (isinstance(kind, h5t.TypeStringID) and kind.is_variable_str()):
            raise refusal
        return
    if not isinstance(kind, h5t.TypeVlenID):
        raise refusal
    if not kind.get_super().equal(h5t.STD_REF_OBJ):
        raise refusal


def _check_scales(file: h5py.File, seen: set[int]) -> None:
    """Refuse dimension scales that are not data sets of the file.

    HDF5 follows these references without looking, and crashes over some.
    """

    def look(item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or SCALES not in item.attrs:
            return
        for axis, references in enumerate(item.attrs[SCALES]):
            for reference in references:
                if not _is_axis(file, reference, seen):
                    raise DataError(
                        f"{file.filename}: {item.name}: its axis {axis} refers to "
                        "something that is no axis of the file: damaged or hostile"
                    )

    file.visititems(lambda _, item: look(item))


def _is_axis(file: h5py.File, reference: Any, seen: set[int]) -> bool:
    if not isinstance(reference, h5py.Reference) or not reference:
        return False
    if isinstance(reference, h5py.RegionReference):
        return False
    try:
        if h5r.get_obj_type(reference, file.id) != h5g.DATASET:
            return False
        scale = h5py.Dataset(h5r.dereference(reference, file.id))
        address = h5o.get_info(scale.id).addr
    except (RuntimeError, ValueError, TypeError, OSError, KeyError):
        return False
    return address in seen and scale.ndim > 0
