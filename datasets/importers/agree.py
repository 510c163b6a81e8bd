"""Files of one import agree about names, shapes, units and axes, or are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from opkit.datasets.agreement import same_units
from opkit.datasets.header import Axis, Mesh, VariableSpec
from opkit.datasets.importers.fieldmap import Selection
from opkit.datasets.importers.source import Coordinate, Source
from opkit.errors import DataError


@dataclass(frozen=True)
class Part:
    """One file of an import.

    Args:
        path: of the file.
        source: what it holds.
        selections: the field maps applied to it.
        samples: how many it holds.
        points: the arrays that say where the nodes of each sample lie.
    """

    path: Path
    source: Source
    selections: tuple[Selection, ...]
    samples: int
    points: tuple[Selection, ...] = ()


@dataclass(frozen=True)
class AxisOptions:
    """What the user says of axes.

    Args:
        ends: dimension to (low, high) or to all values.
        units: dimension or variable to units.
        periodic: dimensions whose end is their beginning.
    """

    ends: Mapping[str, Sequence[float] | NDArray[Any]]
    units: Mapping[str, str]
    periodic: frozenset[str] = frozenset()


def variables(
    parts: Sequence[Part], dtype: Literal["float32", "float64"], options: AxisOptions
) -> tuple[VariableSpec, ...]:
    """Return the variables of all files.

    Raises:
        DataError: the files disagree about dims, shape or units of one.
    """
    specs = []
    for column in zip(*(part.selections for part in parts), strict=True):
        first = column[0]
        name = first.field.name
        for other in column[1:]:
            if (other.target, other.shape) != (first.target, first.shape):
                raise DataError(
                    f"{name}: the files disagree about its shape: {_shaped(first)} in "
                    f"{first.path}, {_shaped(other)} in {other.path}"
                )
        override = options.units.get(name, first.field.units)
        units = _units(name, override, [(str(t.path), t.array.units) for t in column])
        field = first.field
        number = set(first.target) <= {"component"}
        kind: Literal["float32", "float64"] = "float64" if number else dtype
        specs.append(
            VariableSpec(
                name, field.role, first.target, first.shape, kind, units,
                field.long_name,
            )
        )  # fmt: skip
    return tuple(specs)


def _shaped(selection: Selection) -> str:
    return f"{','.join(selection.target)} {'x'.join(map(str, selection.shape))}"


def _units(name: str, override: str, by_file: Sequence[tuple[str, str]]) -> str:
    """Units that the user and all files agree about."""
    if override:
        for where, units in by_file:
            if units and not same_units(units, override):
                raise DataError(
                    f"{where}: {name} is in {units!r} there, not in {override!r}: "
                    "convert it, or leave the units to the file"
                )
        return override
    where, units = by_file[0]
    for other, others in by_file[1:]:
        if not same_units(units, others):
            raise DataError(
                f"{other}: {name} is in {others or '1'!r} there and in "
                f"{units or '1'!r} in {where}: convert one of them, or, where a file "
                f"does not say, give --units {name.split()[-1]}=UNITS"
            )
    return units or "1"


def axes(parts: Sequence[Part], options: AxisOptions) -> dict[str, Axis]:
    """Return the axes of all variables in all files.

    Raises:
        DataError: they disagree, or the user contradicts them.
    """
    users_by_dim: dict[str, list[tuple[str, Selection]]] = {}
    for part in parts:
        for selection in (*part.selections, *part.points):
            for dim in selection.target:
                where = f"{part.path}: {selection.field.source}"
                users_by_dim.setdefault(dim, []).append((where, selection))
    for dim in (*options.ends, *sorted(options.periodic)):
        if dim not in users_by_dim:
            names = ", ".join(users_by_dim) or "none"
            raise DataError(f"axis {dim}: the variables have the axes {names}")
    result = {}
    for dim, users in users_by_dim.items():
        if dim in ("node", "cell", "component"):
            continue
        where, first = users[0]
        values, coordinate = _values(dim, where, first, options)
        for other, selection in users[1:]:
            theirs, its = _values(dim, other, selection, options)
            if len(theirs) == len(values):
                _check_equal(dim, (where, values), (other, theirs), first, selection)
            here, there = (c.calendar or "standard" for c in (coordinate, its))
            if here != there:
                raise DataError(
                    f"{other}: axis {dim} is in the calendar {there} there and in "
                    f"{here} in {where}"
                )
        by_file = [(w, t.axes[dim].units if dim in t.axes else "") for w, t in users]
        units = _units(f"axis {dim}", options.units.get(dim, ""), by_file)
        _check_dates(where, dim, values, units, coordinate.calendar)
        says = [dim in t.axes and t.axes[dim].periodic for _, t in users]
        closed = dim in options.periodic or all(says)
        if any(says) and not closed:
            raise DataError(
                f"{users[says.index(False)][0]}: axis {dim} is not periodic there, and "
                f"it is in {users[says.index(True)][0]}: give --periodic {dim}, or "
                "leave files out"
            )
        if closed:
            _check_even(dim, values)
        result[dim] = Axis(
            values, units, coordinate.long_name or dim, coordinate.calendar, closed
        )
    return result


def _values(
    dim: str, where: str, selection: Selection, options: AxisOptions
) -> tuple[NDArray[np.float64], Coordinate]:
    """Values of an axis of a variable, and what the file says of it."""
    n = selection.lengths[dim]
    coordinate = selection.axes.get(dim, Coordinate(np.empty(0)))
    theirs = coordinate.values
    if coordinate.fault and dim not in options.ends:
        raise DataError(f"{where}: axis {dim} {coordinate.fault}")
    if theirs is not None and len(theirs) not in (0, n):
        raise DataError(
            f"{where}: axis {dim} has {len(theirs)} values there and {n} in the data"
        )
    if dim in options.ends:
        explicit = np.asarray(options.ends[dim], np.float64)
        length = len(selection.axis_values(dim, np.arange(float(n))))
        if len(explicit) == length != n and len(explicit) > 2:
            return explicit, coordinate
        if len(explicit) == 2 and n != 2:
            low, high = explicit
            explicit = np.linspace(low, high, n, endpoint=dim not in options.periodic)
        if len(explicit) != n:
            raise DataError(
                f"--axis {dim}: {len(explicit)} values for {n} points of {where}: give "
                "the two ends, or all values"
            )
        if theirs is not None and len(theirs) and not _counts(coordinate):
            ordered = np.sort(theirs)
            if not _close(explicit, ordered):
                raise DataError(
                    f"{where}: axis {dim} is from {ordered[0]:g} to {ordered[-1]:g} "
                    f"there and from {explicit[0]:g} to {explicit[-1]:g} in --axis: "
                    "leave --axis out, or mend the file"
                )
        # The user's ends are of the increasing axis.
        values = explicit[::-1] if dim in selection.turned else explicit
        return selection.axis_values(dim, values), coordinate
    if theirs is None:
        raise DataError(
            f"{where}: axis {dim} holds labels, not numbers: say --axis {dim}=LOW,HIGH"
        )
    if not len(theirs):
        theirs = np.linspace(0.0, 1.0, n, endpoint=dim not in options.periodic)
    return selection.axis_values(dim, theirs), coordinate


def _counts(coordinate: Coordinate) -> bool:
    """Whether an axis only counts points, so that a user may say where they are."""
    values = coordinate.values
    assert values is not None
    counted = np.arange(len(values)) + values[0]
    plain = values[0] in (0.0, 1.0) and np.array_equal(values, counted)
    return bool(plain and same_units(coordinate.units, ""))


def _close(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Whether two axes are the same to a small part of their finest step.

    Axes are often stored in float32, whose rounding counts by the largest value.
    """
    step = np.diff(other).min() if len(other) > 1 else 0.0
    largest = np.abs(other).max()
    slack = min(1e-3 * step, 1e-4 * largest) + 1e-7 * largest
    return bool(np.all(np.abs(one - other) <= slack))


def _check_equal(
    dim: str,
    one: tuple[str, NDArray[np.float64]],
    other: tuple[str, NDArray[np.float64]],
    first: Selection,
    second: Selection,
) -> None:
    (here, values), (there, theirs) = one, other
    if _close(theirs, values):
        return
    if first.path == second.path and dim == "time":
        raise DataError(
            f"{first.path}: {first.field.name} and {second.field.name} have different "
            f"times ({values[0]:g} to {values[-1]:g}, {theirs[0]:g} to {theirs[-1]:g}) "
            "and a file has one axis time: take single frames as inputs, such as @0"
        )
    raise DataError(
        f"{there}: axis {dim} is from {theirs[0]:g} to {theirs[-1]:g} there and from "
        f"{values[0]:g} to {values[-1]:g} in {here}"
        + ("" if theirs[0] != values[0] or theirs[-1] != values[-1] else ", spaced "
           "otherwise")
        + ": bring them on one axis"
    )  # fmt: skip


def _check_dates(
    where: str, dim: str, values: NDArray[np.float64], units: str, calendar: str
) -> None:
    """Refuse times since a date that no reader can turn into dates."""
    if " since " not in units:
        return
    attributes = {"units": units, **({"calendar": calendar} if calendar else {})}
    raw = xr.Variable((dim,), values[[0, -1]], attributes)
    try:
        xr.conventions.decode_cf_variable(dim, raw)
    except (ValueError, OverflowError) as error:
        in_calendar = f" in the calendar {calendar!r}" if calendar else ""
        raise DataError(
            f"{where}: axis {dim} counts {units!r}{in_calendar}, which gives no dates: "
            "count seconds, minutes, hours or days since a date of a CF calendar"
        ) from error


def _check_even(dim: str, values: NDArray[np.float64]) -> None:
    steps = np.diff(values)
    if len(values) < 2 or np.ptp(steps) > 1e-3 * steps.mean():
        raise DataError(
            f"axis {dim} is not evenly spaced, so its period is not known: leave "
            f"--periodic {dim} out, or interpolate"
        )


def mesh(parts: Sequence[Part], of_case: Mesh | None = None) -> Mesh | None:
    """Return the mesh of variables on ``node`` or ``cell``; None if there are none.

    Args:
        parts: the files.
        of_case: taken where the files have none.

    Raises:
        DataError: no mesh, several ones, or one of another size.
    """
    on = {
        d
        for p in parts
        for t in p.selections
        for d in t.target
        if d in ("node", "cell")
    }
    if not on:
        return None
    meshes = []
    for part in parts:
        one = part.source.mesh or _mesh_of(part.source) or of_case
        if one is None:
            raise DataError(
                f"{part.path}: variables on {', '.join(sorted(on))} need a mesh: add "
                "arrays points (node, 2 or 3) and cells (cell, corner), counted from 0"
            )
        meshes.append(one)
        first = meshes[0]
        if not (
            np.array_equal(one.cells, first.cells)
            and one.points.shape == first.points.shape
            and np.allclose(one.points, first.points, rtol=0, atol=_slack(first.points))
        ):
            raise DataError(
                f"{part.path}: has another mesh than {parts[0].path}: one import has "
                "one mesh"
            )
    return meshes[0]


def _slack(points: NDArray[np.float64]) -> float:
    return float(1e-7 * np.ptp(points, axis=0).max())


def _mesh_of(source: Source) -> Mesh | None:
    pair = [source.arrays.get(name) for name in ("points", "cells")]
    if pair[0] is None or pair[1] is None:
        return None
    points, cells = (
        np.asarray(array.read((slice(None),) * len(array.shape)))
        for array in pair
        if array is not None
    )
    if cells.dtype.kind not in "iu":
        raise DataError("the array cells holds no whole numbers: count nodes from 0")
    return Mesh(points.astype(np.float64), cells.astype(np.int64))
