"""What attributes of a variable say of its values and place, and what they do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from opkit.datasets.importers.source import units_of

NUMERIC = {
    "scale_factor": 1, "add_offset": 1, "valid_min": 1, "valid_max": 1,
    "valid_range": 2, "missing_value": 0,
}  # fmt: skip
"""Attribute to how many numbers it holds, 0 for any."""
DIRECTIONS = {
    "longitude": "X", "projection_x_coordinate": "X", "grid_longitude": "X",
    "latitude": "Y", "projection_y_coordinate": "Y", "grid_latitude": "Y",
    "altitude": "Z", "height": "Z", "depth": "Z", "time": "T",
}  # fmt: skip
PLACES = {
    "x": "X", "lon": "X", "longitude": "X", "y": "Y", "lat": "Y", "latitude": "Y",
    "xc": "X", "yc": "Y", "nav_lon": "X", "nav_lat": "Y", "z": "Z", "depth": "Z",
}  # fmt: skip
DEGREES = {
    "degrees_north": "Y",
    "degree_north": "Y",
    "degrees_east": "X",
    "degree_east": "X",
}


def odd_attributes(attributes: Mapping[str, Any]) -> str:
    """Why the attributes of a variable do not tell its values; empty if they do."""
    for name, count in NUMERIC.items():
        if name not in attributes:
            continue
        numbers = np.ravel(attributes[name])
        if numbers.dtype.kind not in "iuf":
            return f"has an attribute {name} that is no number: mend or delete it"
        if count and numbers.size != count:
            return (
                f"has an attribute {name} of {numbers.size} numbers, not {count}: mend "
                "or delete it"
            )
        infinite = np.isinf(numbers).any() and not name.startswith("valid")
        if count and (infinite or np.isnan(numbers).any()):
            return f"has an attribute {name} that is not finite: mend or delete it"
        if name == "scale_factor" and not numbers[0]:
            return "has a scale_factor of zero, so its values are lost: mend it"
    if units_of(attributes.get("units", "")) is None:
        return "has units that are no text: mend or delete the attribute"
    return ""


def curved(dataset: xr.Dataset) -> dict[str, str]:
    """Dimensions whose places are given by arrays of two dims, and what is wrong."""
    named = {
        name
        for variable in dataset.variables.values()
        for name in str(variable.attrs.get("coordinates", "")).split()
    } | {str(name) for name in dataset.coords}
    curved: dict[str, list[str]] = {}
    for name in sorted(named & set(map(str, dataset.variables))):
        variable = dataset.variables[name]
        if variable.ndim < 2 or not direction(name, variable.attrs):
            continue
        for dim in map(str, variable.dims):
            if dim not in dataset.variables:
                curved.setdefault(dim, []).append(
                    f"{name} ({', '.join(map(str, variable.dims))})"
                )
    return {
        dim: f"has no values of its own but {' and '.join(places)}, a curvilinear "
        "grid: interpolate to even axes, or say --axis NAME=LOW,HIGH of what counts "
        "its points"
        for dim, places in curved.items()
    }


def direction(name: str, attributes: Mapping[str, Any]) -> str:
    """``X``, ``Y`` or ``Z`` where a coordinate's name or attributes tell."""
    letter = str(attributes.get("axis", "")).upper()
    letter = letter or DIRECTIONS.get(str(attributes.get("standard_name", "")), "")
    letter = letter or DEGREES.get(str(attributes.get("units", "")), "")
    letter = letter or PLACES.get(name.lower(), "")
    return letter if letter in ("X", "Y", "Z") else ""
