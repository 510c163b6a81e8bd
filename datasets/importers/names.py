"""A file is named once, and each of its dimensions has one name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from opkit.base.files import real
from opkit.datasets.importers.fieldmap import SINGLE, Selection
from opkit.errors import DataError

_NAMELESS = re.compile(r"(phony_)?dim_\d+\Z")  # libraries' names of axes without one


def check_once(split: str, paths: Sequence[Path]) -> None:
    """Refuse a file that is named twice in a split.

    Raises:
        DataError: its samples would count twice.
    """
    seen: set[Path] = set()
    for path in paths:
        whole = real(path)
        if whole in seen:
            raise DataError(f"{path}: is named twice for {split}: name it once")
        seen.add(whole)


def check_same_names(path: Path, selections: Sequence[Selection]) -> None:
    """Refuse two names for one dimension of a file.

    Raises:
        DataError: an axis of one array is called otherwise in another array.
    """
    called: dict[str, tuple[str, str]] = {}
    for selection in selections:
        for theirs, ours in zip(
            selection.array.dims or (), selection.dims, strict=False
        ):
            if ours == SINGLE or _NAMELESS.match(theirs):
                continue
            array, name = called.setdefault(theirs, (selection.field.source, ours))
            if name != ours:
                raise DataError(
                    f"{path}: dimension {theirs} is called {name} in {array} and "
                    f"{ours} in {selection.field.source}: name the axes of each in the "
                    "order of the file"
                )
