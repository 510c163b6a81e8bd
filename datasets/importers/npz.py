"""NumPy's .npz and .npy, without pickled objects."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from opkit.datasets.importers.source import (
    LazyArray,
    Source,
    check_expansion,
    fault_of,
    sorted_out,
    unreadable,
)
from opkit.errors import DataError

WRONG = (OSError, ValueError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile)


def open_source(path: Path) -> Source:
    """Open a .npz (its arrays under their names) or a .npy (as ``array``).

    Of a .npz the heads of the members are read, and a member when it is asked for.

    Raises:
        DataError: not such a file, pickled objects, or a decompression bomb.
    """
    try:
        if path.suffix.lower() == ".npy":
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            sound, refused = sorted_out({"array": array})
            return Source(sound, refused=refused)
        archive = zipfile.ZipFile(path)
        return _members(path, archive)
    except DataError:
        raise
    except WRONG as error:
        raise unreadable(path, error) from error


def _members(path: Path, archive: zipfile.ZipFile) -> Source:
    arrays: dict[str, LazyArray] = {}
    refused: dict[str, str] = {}
    for entry in archive.infolist():
        name = entry.filename.removesuffix(".npy")
        if name == entry.filename:
            continue
        if name in arrays or name in refused:
            raise DataError(f"{path}: holds {entry.filename} twice")
        shape, dtype, head = _head(archive, entry)
        if dtype.hasobject:
            refused[name] = "holds pickled objects: refused; store arrays of numbers"
            continue
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if min(shape, default=0) < 0 or size > entry.file_size - head:
            raise DataError(f"{path}: {entry.filename} declares more than it holds")
        check_expansion(path, entry.filename, entry.compress_size, entry.file_size)
        if reason := fault_of(dtype):
            refused[name] = reason
        else:
            arrays[name] = _lazy(path, archive, entry, shape, dtype)
    return Source(arrays, refused=refused, close=archive.close)


def _head(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo
) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape, type and length of the head of a member."""
    with archive.open(entry) as file:
        first = npy.read_magic(file) == (1, 0)
        read = npy.read_array_header_1_0 if first else npy.read_array_header_2_0
        shape, _, dtype = read(file)
        return shape, dtype, file.tell()


def _lazy(
    path: Path,
    archive: zipfile.ZipFile,
    entry: zipfile.ZipInfo,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
) -> LazyArray:
    loaded: list[NDArray[Any]] = []

    def read(index: tuple[slice, ...]) -> NDArray[Any]:
        if not loaded:
            try:
                with archive.open(entry) as file:
                    array = npy.read_array(file, allow_pickle=False)
                    file.read(1)  # compares the checksum, which stands at the end
            except WRONG as error:
                raise unreadable(path, error) from error
            loaded.append(array)
        return loaded[0][index]

    return LazyArray(shape, dtype, read)
