"""A folder of .npy files: one array a file, or one sample of an array a file.

``a.npy`` is the array ``a``. Numbered files ``a_0001.npy``, ``a_0002.npy``, ..., or the
files of a folder ``a/``, are the samples of ``a`` in the order of their numbers or
names, along a first axis. Arrays of such a folder have the same numbers or names.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opkit.datasets.importers.source import (
    LazyArray,
    Source,
    fault_of,
    in_memory,
    unreadable,
)
from opkit.errors import DataError

_NUMBERED = re.compile(r"(?P<name>.*?)[_.-]?(?P<number>\d+)\Z")


def is_folder_of_arrays(path: Path) -> bool:
    """Whether a folder holds .npy files, or folders of them."""
    inside = list(path.iterdir())
    deeper = (p for folder in inside if folder.is_dir() for p in folder.iterdir())
    return any(p.suffix.lower() == ".npy" for p in (*inside, *deeper))


def in_order(path: Path) -> list[tuple[int, int, str]]:
    """Sort names with numbers by these: ``run9`` before ``run10``."""
    words = re.split(r"(\d+)", str(path))
    return [(1, int(w), "") if w.isdigit() else (0, 0, w) for w in words]


def open_source(path: Path) -> Source:
    """Open a folder.

    Raises:
        DataError: files of one array differ in shape or type; arrays have different
            samples.
    """
    arrays: dict[str, dict[str, NDArray[Any]]] = {}
    whole: dict[str, NDArray[Any]] = {}
    for file in sorted(path.iterdir(), key=in_order):
        if file.is_dir():
            inside = sorted(file.glob("*.npy"), key=in_order)
            if inside:
                arrays[file.name] = {f.stem: _load(f) for f in inside}
        elif file.suffix.lower() == ".npy":
            match = _NUMBERED.match(file.stem)
            if match is None:
                whole[file.stem] = _load(file)
            else:
                name = match["name"] or "array"
                arrays.setdefault(name, {})[match["number"]] = _load(file)
    reference = next(iter(arrays), "")
    for name, parts in arrays.items():
        if list(parts) != list(arrays[reference]):
            odd = sorted(parts.keys() ^ arrays[reference].keys())
            raise DataError(
                f"{path}: samples of {name} are not those of {reference}: "
                f"{', '.join(odd[:3])} is missing in one of them"
            )
    by_name = {name: _stacked(path, name, parts) for name, parts in arrays.items()}
    refused = {name: r for name, a in whole.items() if (r := fault_of(a.dtype))}
    by_name |= {name: in_memory(a) for name, a in whole.items() if name not in refused}
    return Source(by_name, refused=refused)


def _load(file: Path) -> NDArray[Any]:
    try:
        loaded: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise unreadable(file, error) from error
    return loaded


def _stacked(path: Path, name: str, parts: dict[str, NDArray[Any]]) -> LazyArray:
    items = list(parts.values())
    first = items[0]
    for stem, item in parts.items():
        if reason := fault_of(item.dtype):
            raise DataError(f"{path}: {name} {stem} {reason}")
        if item.shape != first.shape:
            raise DataError(
                f"{path}: {name} {stem} has shape {item.shape}, the first {first.shape}"
            )

    def read(index: tuple[slice, ...]) -> NDArray[Any]:
        chosen = [np.asarray(item[index[1:]]) for item in items[index[0]]]
        return np.stack(chosen) if chosen else np.empty((0, *first.shape), first.dtype)

    return LazyArray((len(items), *first.shape), first.dtype, read)
