"""An `xarray.Dataset` as a source: values as xarray decodes them, units, axes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from opkit.datasets.importers.attributes import (
    DEGREES,
    DIRECTIONS,
    curved,
    odd_attributes,
)
from opkit.datasets.importers.source import (
    Coordinate,
    LazyArray,
    Source,
    fault_of,
    units_of,
)

NEVER_WRITTEN = {  # netCDF's own fill values of types whose every value may be data
    "f4": np.float64(np.float32(9.969209968386869e36)),
    "f8": 9.969209968386869e36, "i4": -2147483647.0, "i8": -9223372036854775806.0,
}  # fmt: skip
DECODING: dict[str, Any] = {  # times stay numbers with units and a calendar
    "decode_times": False, "decode_timedelta": False, "decode_coords": False,
}  # fmt: skip
STANDARD = ("standard", "gregorian", "proleptic_gregorian")


def from_dataset(dataset: xr.Dataset, stored: bool = True) -> Source:
    """Return what a dataset holds; nothing is read before it is asked for.

    Args:
        dataset: opened without decoding, or made in memory.
        stored: whether it lies in a file, some of which may never have been written.
    """
    arrays: dict[str, LazyArray] = {}
    refused: dict[str, str] = {}
    coordinates: dict[str, Coordinate] = {}
    odd = {n: odd_attributes(v.attrs) for n, v in dataset.variables.items()}
    sound = dataset.drop_vars([name for name, reason in odd.items() if reason])
    for name, reason in odd.items():
        if reason:
            refused[str(name)] = reason
            coordinates[str(name)] = Coordinate(None, fault=reason)
    dataset = xr.decode_cf(sound, **DECODING)
    for name, variable in dataset.variables.items():
        label, dims = str(name), tuple(map(str, variable.dims))
        if dims == (label,):
            coordinates[label] = _coordinate(variable)
        if reason := fault_of(variable.dtype):
            refused[label] = reason
            continue
        arrays[label] = LazyArray(
            variable.shape,
            variable.dtype,
            _reader(variable, stored),
            dims,
            units_of(variable.attrs.get("units", "")) or "",
        )
    for dim, reason in curved(dataset).items():
        coordinates.setdefault(dim, Coordinate(np.empty(0), fault=reason))
    about = {"attributes": _plain(dataset.attrs)}
    return Source(arrays, coordinates, about, refused, close=dataset.close)


def _reader(variable: xr.Variable, stored: bool) -> Any:
    limits = _limits(variable.attrs, variable.encoding)
    filled = _unwritten_value(variable) if stored else None

    def read(index: tuple[slice, ...]) -> NDArray[Any]:
        values = np.asarray(variable[index].values)
        if filled is not None:
            values = _without(values, values == filled)
        if limits is not None:
            values = _without(values, (values < limits[0]) | (values > limits[1]))
        return values

    return read


def decoded(values: NDArray[Any], attributes: Mapping[str, Any]) -> NDArray[Any]:
    """Return values as xarray decodes them by a variable's attributes."""
    if not attributes:
        return values
    dims = [f"axis_{k}" for k in range(values.ndim)]
    raw = xr.Variable(dims, values, dict(attributes))
    variable = xr.conventions.decode_cf_variable("values", raw, decode_times=False)
    array = np.asarray(variable.values)
    limits = _limits(variable.attrs, variable.encoding)
    if limits is None:
        return array
    return _without(array, (array < limits[0]) | (array > limits[1]))


def _without(values: NDArray[Any], missing: NDArray[np.bool_]) -> NDArray[Any]:
    if not missing.any():
        return values
    result: NDArray[Any] = np.where(missing, np.nan, values)
    return result


def _limits(
    attributes: Mapping[str, Any], encoding: Mapping[str, Any]
) -> tuple[float, float] | None:
    """Smallest and largest valid value of the decoded numbers.

    Limits of the type of the packed numbers are packed as those are (netCDF's user
    guide, appendix A), others are said of the decoded numbers.
    """
    low, high = attributes.get("valid_min"), attributes.get("valid_max")
    if "valid_range" in attributes and np.size(attributes["valid_range"]) == 2:
        low, high = np.ravel(attributes["valid_range"])
    if low is None and high is None:
        return None
    scale = float(np.ravel(encoding.get("scale_factor", 1.0))[0])
    offset = float(np.ravel(encoding.get("add_offset", 0.0))[0])
    packed = np.dtype(encoding.get("dtype", float))
    ends = []
    for end, missing in ((low, -np.inf), (high, np.inf)):
        if end is None:
            ends.append(missing)
            continue
        number = np.ravel(end)[0]
        same = np.asarray(number).dtype.kind == packed.kind and packed.kind in "iu"
        ends.append(float(number) * scale + offset if same else float(number))
    first, last = sorted(ends)
    slack = 1e-6 * abs(scale) if scale != 1 or offset else 0.0
    return first - slack, last + slack


def _unwritten_value(variable: xr.Variable) -> float | None:
    """What netCDF puts where nothing was written, if no other value is agreed on.

    Of small and packed integers every value may be data.
    """
    encoding = variable.encoding
    agreed = {"_FillValue", "missing_value", "scale_factor", "add_offset"}
    if agreed & encoding.keys():
        return None
    packed = np.dtype(encoding.get("dtype", variable.dtype))
    return NEVER_WRITTEN.get(packed.newbyteorder("=").str[1:])


def _coordinate(variable: xr.Variable) -> Coordinate:
    attributes = variable.attrs
    if variable.dtype.kind == "M" or _is_dates(variable):
        variable = xr.conventions.encode_cf_variable(variable.to_base_variable())
        attributes = variable.attrs
    if fault_of(variable.dtype):
        return Coordinate(None)
    units = units_of(attributes.get("units", "")) or ""
    letter = str(attributes.get("axis", "")).upper()
    letter = letter or DIRECTIONS.get(str(attributes.get("standard_name", "")), "")
    calendar = str(attributes.get("calendar", "")) if " since " in units else ""
    if calendar in STANDARD[: 2 + _after_1582(units)]:
        calendar = ""
    return Coordinate(
        np.asarray(variable.values, np.float64),
        units,
        str(attributes.get("long_name", "")),
        calendar,
        letter or DEGREES.get(units, ""),
    )


def _after_1582(units: str) -> bool:
    """Whether times count from a date on which two calendars agree."""
    year = re.search(r"since +(\d+)-", units)
    return year is not None and int(year[1]) > 1582


def _is_dates(variable: xr.Variable) -> bool:
    if variable.dtype.kind != "O" or not variable.size:
        return False
    return type(variable.values.flat[0]).__module__.startswith("cftime")


def _plain(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        str(k): v.tolist() if isinstance(v, np.ndarray | np.generic) else str(v)
        for k, v in attributes.items()
    }
