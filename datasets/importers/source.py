"""What a reader of a foreign format hands over: named arrays, read in parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opkit.datasets.header import Mesh
from opkit.errors import DataError

MAX_EXPANSION = 200  # decompressed over compressed size, above MAX_SUSPECT bytes
MAX_SUSPECT = 256 << 20
MAX_BYTES = 1 << 40


@dataclass(frozen=True)
class Coordinate:
    """What a file says about one of its dimensions.

    Args:
        values: (n,) in the file's order; None where it holds labels, not numbers.
        units: empty where the file does not say.
        long_name: empty where the file does not say.
        calendar: of times counted since a date; empty for the standard one.
        letter: ``X``, ``Y``, ``Z`` or ``T`` where CF's attributes tell the direction.
        periodic: whether its end is its beginning, where the format tells.
        fault: why no axis can be taken from it, and the remedy; said where it is used.
    """

    values: NDArray[np.float64] | None
    units: str = ""
    long_name: str = ""
    calendar: str = ""
    letter: str = ""
    fault: str = ""
    periodic: bool = False


@dataclass(frozen=True)
class LazyArray:
    """An array that is read along one axis.

    Args:
        shape: of the whole.
        dtype: of the whole.
        read: returns ``array[index]`` for a tuple of slices, one an axis.
        dims: names of the axes where the format tells them.
        units: empty where the format does not say.
        axes: coordinates by dimension name, before those of the `Source`.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[tuple[slice, ...]], NDArray[Any]]
    dims: tuple[str, ...] | None = None
    units: str = ""
    axes: Mapping[str, Coordinate] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """An open foreign file.

    Args:
        arrays: by the name they have there.
        coordinates: by dimension name, where the format tells them.
        provenance: what the file says about itself.
        refused: arrays that cannot be taken, and why; said only if one is asked for.
        mesh: of arrays on ``node`` or ``cell``.
        close: closes the file.
    """

    arrays: Mapping[str, LazyArray]
    coordinates: Mapping[str, Coordinate] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    mesh: Mesh | None = None
    close: Callable[[], object] = lambda: None


def in_memory(array: NDArray[Any], dims: tuple[str, ...] | None = None) -> LazyArray:
    """Wrap an array that is in memory (or memory-mapped)."""
    return LazyArray(array.shape, array.dtype, lambda index: array[index], dims)


def sorted_out(
    arrays: Mapping[str, NDArray[Any]],
) -> tuple[dict[str, LazyArray], dict[str, str]]:
    """Return arrays of numbers, and why each other one is refused."""
    sound: dict[str, LazyArray] = {}
    refused: dict[str, str] = {}
    for name, array in arrays.items():
        reason = fault_of(array.dtype)
        if isinstance(array, np.ma.MaskedArray):
            reason = MASKED
        if reason:
            refused[name] = reason
        else:
            sound[name] = in_memory(array)
    return sound, refused


def units_of(value: Any) -> str | None:
    """Return units from an attribute; empty for none, None where it is no text.

    A number 1 means no units; HDF5 holds texts as bytes or arrays of one, too.
    """
    single = np.ravel(value)
    if len(single) != 1:
        return None
    text = single[0]
    if isinstance(text, bytes):
        return text.decode("utf-8", "replace")
    if isinstance(text, str):
        return str(text)
    return "" if text == 1 else None


MASKED = "is a masked array: fill it, or leave the masked samples out"


def fault_of(dtype: np.dtype[Any]) -> str:
    """Why an array of this type is not taken; empty where it is."""
    if dtype.kind == "c":
        return (
            "holds complex numbers: store real and imaginary part as two arrays of "
            "real numbers"
        )
    if dtype.names is not None or dtype.kind == "V":
        return f"is of the structured type {str(dtype)[:60]}: store each field alone"
    if dtype.kind == "O":
        return "holds objects, not numbers: refused; store arrays of numbers"
    if dtype.kind in "mM":
        return "holds dates or durations: store numbers with units"
    if dtype.kind in "SU" or dtype.kind not in "iufb":
        return "holds text, not numbers"
    return ""


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
    if "Python objects" in reason:
        reason = "it holds pickled objects, which would mean to execute code"
    return DataError(f"{path}: cannot be read ({reason})")
