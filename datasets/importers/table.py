"""Tables: CSV and Parquet, a column a variable, columns named as dimensions its axes.

A table with columns such as ``sample``, ``y`` and ``x`` holds each point of a grid in a
row of its own, in any order. A table without them holds one sample a row, with scalar
variables. Units may stand in brackets behind a name: ``pressure [Pa]``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opkit.datasets.header import DIMENSIONS
from opkit.datasets.importers.source import (
    Coordinate,
    LazyArray,
    Source,
    check_expansion,
    in_memory,
    unreadable,
)
from opkit.errors import DataError, require

LARGEST = 2 << 30
_UNITS = re.compile(r"(?P<name>.*?)\s*[\[(](?P<units>[^\])]*)[\])]\s*\Z")


def open_source(path: Path) -> Source:
    """Open a table.

    Raises:
        DataError: not a table, a point that is missing or stands twice.
        MissingExtraError: Parquet without pyarrow.
    """
    if path.stat().st_size > LARGEST:
        raise DataError(f"{path}: larger than {LARGEST >> 30} GiB: write it as netCDF")
    table = _read(path)
    columns: dict[str, NDArray[np.float64]] = {}
    units: dict[str, str] = {}
    refused: dict[str, str] = {}
    for title in table.columns:
        name, words = str(title).strip(), ""
        if match := _UNITS.match(name):
            name, words = match["name"], match["units"].strip()
        if name in columns or name in refused:
            raise DataError(f"{path}: has the column {name} twice")
        if table[title].dtype.kind in "iufb":
            columns[name] = table[title].to_numpy(np.float64)
            units[name] = words
        else:
            refused[name] = "holds text, dates or objects, not numbers"
    dims = [d for d in ("sample", *DIMENSIONS) if d in columns]
    for dim in ("sample", *DIMENSIONS):
        if dim in refused:
            raise DataError(f"{path}: the axis {dim} {refused[dim]}")
    if not dims:
        arrays = {n: in_memory(c, ("sample",)) for n, c in columns.items()}
        axes: dict[str, Coordinate] = {}
    else:
        arrays, axes = _gridded(path, dims, columns, units)
    with_units = {
        name: LazyArray(a.shape, a.dtype, a.read, a.dims, units[name])
        for name, a in arrays.items()
    }
    return Source(with_units, axes, refused=refused)


def _read(path: Path) -> pd.DataFrame:
    if path.suffix.lower() == ".parquet":
        parquet: Any = require("pyarrow.parquet", "parquet")
        try:
            held = parquet.ParquetFile(path).metadata
            size = 8 * held.num_rows * held.num_columns
            check_expansion(path, "the table", path.stat().st_size, size)
            return pd.read_parquet(path, engine="pyarrow")
        except DataError:
            raise
        except Exception as error:  # pyarrow raises what it stumbles over
            raise unreadable(path, error) from error
    try:
        with path.open(encoding="utf-8-sig") as file:
            titles = next(
                pd.read_csv(file, header=None, nrows=1, dtype=str).itertuples()
            )
        repeated = {str(t) for t in titles[1:] if titles[1:].count(t) > 1}
        if repeated:
            raise DataError(f"{path}: has the column {sorted(repeated)[0]} twice")
        return pd.read_csv(path, encoding="utf-8-sig", skipinitialspace=True)
    except DataError:
        raise
    except (ValueError, OSError, StopIteration) as error:
        raise unreadable(path, error) from error


def _gridded(
    path: Path,
    dims: list[str],
    columns: dict[str, NDArray[np.float64]],
    units: dict[str, str],
) -> tuple[dict[str, LazyArray], dict[str, Coordinate]]:
    values, where = {}, []
    for dim in dims:
        if not np.isfinite(columns[dim]).all():
            row = int(np.argmin(np.isfinite(columns[dim])))
            raise DataError(f"{path}: axis {dim} has no number in row {row + 1}")
        values[dim], place = np.unique(columns[dim], return_inverse=True)
        where.append(place)
    shape = tuple(len(v) for v in values.values())
    total = int(np.prod(shape, dtype=object))
    rows = len(where[0])
    flat = np.ravel_multi_index(where, shape) if total <= 2**62 else np.empty(0)
    if total != rows or len(np.unique(flat)) != rows:
        grid = " x ".join(f"{len(v)} {d}" for d, v in values.items())
        raise DataError(
            f"{path}: {rows} rows for a grid of {grid} = {total} points: each point "
            f"needs one row; rename {', '.join(values)} if they are no axes"
        )
    order = np.argsort(flat)
    arrays = {
        name: in_memory(column[order].reshape(shape), tuple(dims))
        for name, column in columns.items()
        if name not in dims
    }
    axes = {d: Coordinate(values[d], units[d]) for d in dims if d != "sample"}
    return arrays, axes
