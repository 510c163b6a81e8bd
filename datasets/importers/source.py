"""What a reader of a foreign format hands over: named arrays, read in parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opkit.errors import DataError

MAX_EXPANSION = 200  # decompressed over compressed size, above MAX_SUSPECT bytes
MAX_SUSPECT = 256 << 20
MAX_BYTES = 1 << 40


@dataclass(frozen=True)
class LazyArray:
    """An array that is read along one axis.

    Args:
        shape: of the whole.
        dtype: of the whole.
        read: returns ``array[index]`` for a tuple of slices, one an axis.
        dims: names of the axes where the format tells them.
        units: where the format tells them.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[tuple[slice, ...]], NDArray[Any]]
    dims: tuple[str, ...] | None = None
    units: str = "1"


@dataclass(frozen=True)
class Source:
    """An open foreign file.

    Args:
        arrays: by the name they have there.
        coordinates: axis values by dimension name, where the format tells them.
        provenance: what the file says about itself.
    """

    arrays: Mapping[str, LazyArray]
    coordinates: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)


def in_memory(array: NDArray[Any], dims: tuple[str, ...] | None = None) -> LazyArray:
    """Wrap an array that is in memory (or memory-mapped)."""
    return LazyArray(array.shape, array.dtype, lambda index: array[index], dims)


def check_expansion(path: Path, name: str, stored: int, expanded: int) -> None:
    """Refuse what unpacks to far more than it takes on disk.

    Raises:
        DataError: it looks like a decompression bomb.
    """
    bomb = expanded > MAX_SUSPECT and expanded > MAX_EXPANSION * max(stored, 1)
    if bomb or expanded > MAX_BYTES:
        raise DataError(
            f"{path}: {name} would unpack {stored} bytes to {expanded}: refused; "
            "store it uncompressed if it is sound"
        )


def unreadable(path: Path, error: BaseException) -> DataError:
    """Return the one-line error for a file that its library cannot read."""
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return DataError(f"{path}: cannot be read ({reason})")
