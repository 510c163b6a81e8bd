"""Values in a sound file that look like those of a writer or reader that went wrong."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from opkit.datasets.header import VariableSpec
from opkit.datasets.read import DataFile
from opkit.errors import DataError

FILLS = (9.969209968386869e36, 1e20, -1e20, -32767.0, -32768.0, -9999.0, -999.0)
"""What others put where a value is missing: netCDF's own, CF's custom, tables'."""
APART = 10.0
"""Distance of a fill value from all others, over their spread."""


def suspicions(file: DataFile) -> Iterator[str]:
    """Yield what is hardly meant: fill values, outputs of zeros, of one value alone.

    A damaged sample is left out; checksums tell.

    Args:
        file: of which every sample is read once.
    """
    for v in file.header.variables:
        fills = np.array(FILLS, v.dtype).astype(np.float64)
        counts = np.zeros(len(fills), np.int64)
        low, high, blank = np.inf, -np.inf, []
        for row in range(len(file)):
            values = _read(file, v, row)
            for k in np.flatnonzero(np.isin(fills, values)):
                counts[k] += int((values == fills[k]).sum())
            rest = values[~np.isin(values, fills) & np.isfinite(values)]
            low, high = (
                min(low, rest.min(initial=low)),
                max(high, rest.max(initial=high)),
            )
            if values.size and not values.any():
                blank.append(row)
        spread = high - low
        for fill, count in zip(fills, counts, strict=True):
            if count and max(low - fill, fill - high) > APART * spread >= 0:
                yield (
                    f"{v.name} holds {fill:g} {count} times, far from its other values "
                    f"({low:g} to {high:g}): a missing value that was not decoded"
                )
        if v.role != "output" or len(file) < 2:
            continue
        if spread == 0 and not counts.any():
            yield (
                f"{v.name} is {low:g} at every point of every sample: its variation "
                "was lost in rounding, or never written"
            )
        elif 0 < len(blank) < len(file) and any(_has_inputs(file, r) for r in blank):
            yield (
                f"{v.name} is zero throughout in {len(blank)} of {len(file)} samples, "
                f"the first {blank[0]}: its writer did not finish"
            )


def _read(file: DataFile, v: VariableSpec, row: int) -> NDArray[np.float64]:
    try:
        return np.asarray(file.read(v.name, row), np.float64).ravel()
    except DataError:
        return np.empty(0)


def _has_inputs(file: DataFile, row: int) -> bool:
    return any(_read(file, v, row).any() for v in file.header.inputs)
