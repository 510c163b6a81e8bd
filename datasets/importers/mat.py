"""MATLAB files: version 5 and 7 through scipy, version 7.3 through h5py.

The published FNO data have the sample first and time last: ``a`` (sample, y, x) and
``u`` (sample, y, x, time).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from opkit.datasets.importers.hdf5 import (
    audited,
    check_before_reading,
    fault_of_item,
    unwritten,
)
from opkit.datasets.importers.source import (
    LazyArray,
    Source,
    check_expansion,
    sorted_out,
    unreadable,
)
from opkit.datasets.read import explained
from opkit.errors import DataError

NUMBERS = {
    "double": 8, "single": 4, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2,
    "int32": 4, "uint32": 4, "int64": 8, "uint64": 8, "logical": 1,
}  # fmt: skip
EMPTY = "is an empty array: save one with values"
OTHER = "is a {}, not an array of numbers: save what it holds as arrays of their own"


def open_source(path: Path) -> Source:
    """Open a .mat of any version; only numeric arrays are read.

    Raises:
        DataError: not such a file, or a decompression bomb.
    """
    if h5py.is_hdf5(path):
        file = audited(path)
        arrays: dict[str, LazyArray] = {}
        refused: dict[str, str] = {}
        for name, item in file.items():
            if not isinstance(item, h5py.Dataset):
                refused[name] = OTHER.format("struct")
            elif item.dtype.kind == "O":
                refused[name] = OTHER.format("cell array")
            elif reason := _fault(path, item) or unwritten(item):
                refused[name] = reason
            else:
                arrays[name] = _reversed(path, item)
        return Source(arrays, refused=refused, close=file.close)
    return _old(path)


def _fault(path: Path, item: h5py.Dataset) -> str:
    """Why a data set is no array of numbers; empty where it is one.

    MATLAB stores texts, dates, handles and empty arrays as numbers, and says in
    attributes what they are.
    """
    with explained(path):
        kind = item.attrs.get("MATLAB_class", b"double")
        if "MATLAB_empty" in item.attrs:
            return EMPTY
    kind = kind.decode("utf-8", "replace") if isinstance(kind, bytes) else str(kind)
    if kind not in NUMBERS:
        return OTHER.format(kind[:40])
    return fault_of_item(item) or ("" if item.size else EMPTY)


def _old(path: Path) -> Source:
    from scipy.io import loadmat, whosmat

    try:
        names, refused, total = [], {}, 0
        for name, shape, kind in whosmat(path):
            if kind in NUMBERS:
                size = int(np.prod(shape, dtype=object)) * NUMBERS[kind]
                total += size
                check_expansion(path, name, path.stat().st_size, total)
                if size:
                    names.append(name)
                else:
                    refused[name] = EMPTY
            else:
                refused[name] = OTHER.format(kind)
        content = loadmat(path, variable_names=names) if names else {}
    except DataError:
        raise
    except Exception as error:  # scipy's reader raises what it stumbles over
        raise unreadable(path, error) from error
    arrays, others = sorted_out({name: np.asarray(content[name]) for name in names})
    return Source(arrays, refused=refused | others)


def _reversed(path: Path, item: h5py.Dataset) -> LazyArray:
    """Undo the order of axes: MATLAB writes arrays column by column."""

    def read(index: tuple[slice, ...]) -> NDArray[Any]:
        with explained(path):
            check_before_reading(path, item)
            return np.asarray(item[index[::-1]]).T

    return LazyArray(item.shape[::-1], item.dtype, read)
