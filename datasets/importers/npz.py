"""NumPy's .npz and .npy, without pickled objects."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from opkit.datasets.importers.source import (
    Source,
    check_expansion,
    sorted_out,
    unreadable,
)
from opkit.errors import DataError


def open_source(path: Path) -> Source:
    """Open a .npz (its arrays under their names) or a .npy (as ``array``).

    Raises:
        DataError: not such a file, pickled objects, or a decompression bomb.
    """
    arrays: dict[str, NDArray[Any]] = {}
    refused: dict[str, str] = {}
    try:
        if path.suffix == ".npy":
            arrays["array"] = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    name = entry.filename.removesuffix(".npy")
                    if name == entry.filename:
                        continue
                    found = _read(path, archive, entry)
                    if isinstance(found, str):
                        refused[name] = found
                    else:
                        arrays[name] = found
    except DataError:
        raise
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise unreadable(path, error) from error
    sound, others = sorted_out(arrays)
    return Source(sound, refused=refused | others)


def _read(
    path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo
) -> NDArray[Any] | str:
    """Return the array, or why it is refused."""
    check_expansion(path, entry.filename, entry.compress_size, entry.file_size)
    with archive.open(entry) as file:
        version = npy.read_magic(file)
        header = (
            npy.read_array_header_1_0
            if version == (1, 0)
            else (npy.read_array_header_2_0)
        )
        shape, _, dtype = header(file)
    if dtype.hasobject:
        return "holds pickled objects: refused; store arrays of numbers"
    if int(np.prod(shape, dtype=object)) * dtype.itemsize > entry.file_size:
        raise DataError(f"{path}: {entry.filename} declares more than it holds")
    with archive.open(entry) as file:
        return npy.read_array(file, allow_pickle=False)
