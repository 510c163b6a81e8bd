"""Data in Python, xarray's or NumPy's, into a data file in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from opkit.datasets.header import DIMENSIONS, SPLITS, Header, Mesh
from opkit.datasets.importers.agree import AxisOptions
from opkit.datasets.importers.convert import convert
from opkit.datasets.importers.dataset import from_dataset
from opkit.datasets.importers.fieldmap import FieldMap
from opkit.datasets.importers.source import MASKED, Source, fault_of
from opkit.errors import DataError

Arrays = Mapping[str, Any]


def save(
    data: xr.Dataset | Arrays | Mapping[str, xr.Dataset | Arrays],
    out: str | Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    split: Mapping[str, float] | None = None,
    seed: int = 0,
    axes: Mapping[str, Sequence[float] | NDArray[Any]] | None = None,
    units: Mapping[str, str] | None = None,
    periodic: Sequence[str] = (),
    mesh: tuple[NDArray[Any], NDArray[Any]] | None = None,
    like: Header | None = None,
    dtype: Literal["float32", "float64"] = "float32",
) -> Path:
    """Write an xarray Dataset, or arrays with named axes, as a data file.

    Args:
        data: a Dataset; or name to ``(dims, array)`` or ``(dims, array, attributes)``
            as `xarray.Dataset` takes them; or split name (``"train"``,
            ``"validation"``, ``"test"``) to either. Units are those of the attributes
            ``units``. Without an axis ``sample`` it is one sample.
        out: the file to make; it appears whole or not at all.
        inputs: variables given to a surrogate: names, or maps as on the command line,
            ``"temperature=t:sample,y,x@0"``.
        outputs: variables asked of it.
        split: split name to the share of ``train`` that goes there, drawn at random.
        seed: of that draw.
        axes: dimension to (low, high) or to all values, where ``data`` has none.
        units: variable or dimension to units, where ``data`` has none.
        periodic: dimensions whose value after the last is the first again.
        mesh: points (node, 2 or 3) and cells (cell, corner), counted from 0, of
            variables on ``node`` or ``cell``.
        like: header of the case these data belong to.
        dtype: stored type.

    Returns:
        The path of the file.

    Raises:
        DataError: as of `opkit.datasets.importers.convert.import_data`.

    Example:
        >>> opkit.save(dataset, "heat.h5", ["conductivity"], ["temperature"],
        ...            split={"validation": 0.1, "test": 0.1})  # doctest: +SKIP
    """
    splits = _by_split(data)
    record = None
    if mesh is not None:
        points, cells = (np.asarray(part) for part in mesh)
        record = Mesh(points.astype(np.float64), cells.astype(np.int64))
    sources: dict[str, list[tuple[Path, Source]]] = {}
    for name in SPLITS:
        if name in splits:
            where = Path("data" if len(splits) == 1 else name)
            source = from_dataset(_dataset(splits[name], where), stored=False)
            sources[name] = [(where, replace(source, mesh=record))]
    fields = [_field(text, "input") for text in inputs]
    fields += [_field(text, "output") for text in outputs]
    options = AxisOptions(axes or {}, units or {}, frozenset(periodic))
    return convert(sources, Path(out), fields, options, None, like, dtype, split, seed)


def _by_split(data: Any) -> dict[str, Any]:
    if not isinstance(data, xr.Dataset) and isinstance(data, Mapping):
        if not data:
            raise DataError("save: no data")
        if set(data) <= set(SPLITS) and all(
            isinstance(part, Mapping) for part in data.values()
        ):
            return dict(data)
    return {"train": data}


def _dataset(data: Any, where: Path) -> xr.Dataset:
    if not isinstance(data, xr.Dataset):
        if not isinstance(data, Mapping):
            raise DataError(
                f"{where}: a {type(data).__name__} is not taken: give an "
                "xarray.Dataset, or name to (dims, array)"
            )
        for name, value in data.items():
            array = value[1] if isinstance(value, tuple) and len(value) > 1 else value
            if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
                raise DataError(f"{where}: {name} {MASKED}")
            if isinstance(array, np.ndarray) and array.dtype.kind in "cOV":
                raise DataError(f"{where}: {name} {fault_of(array.dtype)}")
        try:
            return xr.Dataset(dict(data))
        except (ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:160]
            raise DataError(
                f"{where}: not arrays with named axes ({reason}): give name to "
                "(dims, array)"
            ) from error
    return data


def _field(text: str, role: Literal["input", "output"]) -> FieldMap:
    if "=" not in text:
        name = text.partition("@")[0].partition(":")[0]
        if name in DIMENSIONS:
            raise DataError(f"{name} is an axis: name a variable")
        text = f"{name}={text}"
    return FieldMap.parse(text, role)
