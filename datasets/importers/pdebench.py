"""PDEBench's HDF5 files: one array with time, Darcy's pair, or one array a field.

Axes are (sample, time, x, y) there; ``t-coordinate`` may have one value more than there
are frames.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from opkit.datasets.importers.hdf5 import audited, lazy
from opkit.datasets.importers.source import Source
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
        coordinates: dict[str, NDArray[np.float64]] = {
            axis: np.asarray(file[name][:], np.float64)
            for axis, name in AXES.items()
            if name in file
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
                times = item.shape[1] if "time" in dims else times
        if "t-coordinate" in file and times:
            coordinates["time"] = np.asarray(file["t-coordinate"][:times], np.float64)
        attributes = {name: _plain(value) for name, value in file.attrs.items()}
    if not arrays:
        raise DataError(
            f"{path}: not a PDEBench layout that is known: use the format hdf5 and "
            "name the dims"
        )
    return Source(arrays, coordinates, {"attributes": attributes})


def _dims(item: h5py.Dataset, space: tuple[str, ...]) -> tuple[str, ...] | None:
    """Name the axes by their number: Darcy's second axis has length 1."""
    extra = item.ndim - 1 - len(space)
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
