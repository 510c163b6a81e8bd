"""Samples of a data file as a solver is given them: one by one, and in batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from opkit.case.data import arrays_of
from opkit.datasets.read import DataFile
from opkit.solvers.interface import Fields


def sample(file: DataFile, row: int) -> Fields:
    """Return a sample (1, ...), float64, with its mesh if it has its own."""
    variables = [v for v in file.header.variables if v.role != "points"]
    arrays = {v.name: file.read(v.name, row).astype(np.float64) for v in variables}
    if file.header.ragged and file.mesh(row).groups is not None:
        arrays |= arrays_of(file.mesh(row))
    return {name: np.asarray(values)[None] for name, values in arrays.items()}


def batches(parts: Sequence[Fields], apart: bool) -> list[Fields]:
    """Join parts (batch, ...) into as few batches as a solver takes.

    Args:
        parts: fields by name.
        apart: whether they stay as they are, because each has a mesh of its own.
    """
    if apart or not parts:
        return list(parts)
    return [{k: np.concatenate([f[k] for f in parts]) for k in parts[0]}]
