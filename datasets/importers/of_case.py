"""Imported data that are said to be of a case: both agree, or the import is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from opkit.datasets.agreement import refuse_units
from opkit.datasets.header import Header, Mesh, VariableSpec
from opkit.datasets.importers.agree import AxisOptions, Part
from opkit.errors import DataError, instead

SIDES = {"x": ("left", "right"), "y": ("bottom", "top"), "z": ("back", "front")}


def fitted(
    header: Header, like: Header, parts: Sequence[Part], options: AxisOptions
) -> Header:
    """Return the header with the case of another one, if both agree.

    Args:
        header: of the data.
        like: of the case.
        parts: the files, which may say units and axes.
        options: what the user says of them.

    Raises:
        DataError: variables, units, axes, periodicity or mesh of the case are others.
    """
    name = f"case {like.case.get('name', '')}".strip()
    _check_variables(name, header, like)
    _check_units(name, header, like, parts, options)
    _check_axes(name, header, like, parts, options)
    for dim in sorted(options.periodic):
        ends = [like.case.get("boundary", {}).get(s, {}) for s in SIDES.get(dim, ())]
        if not ends or any(end.get("kind") != "periodic" for end in ends):
            raise DataError(f"{name}: its axis {dim} is not periodic")
    if header.mesh is not None and like.mesh is not None:
        _check_mesh(name, header.mesh, like.mesh)
    return replace(
        header,
        case=like.case,
        variables=like.variables,
        coordinates=like.coordinates,
        mesh=like.mesh,
        files=like.files,
    )


def _check_variables(name: str, header: Header, like: Header) -> None:
    ours = {v.name: v for v in header.variables}
    theirs = {v.name: v for v in like.variables}
    lacks = sorted(theirs.keys() - ours.keys())
    if lacks:
        more = sorted(ours.keys() - theirs.keys())
        raise DataError(
            f"{name}: its {theirs[lacks[0]].role} {lacks[0]} is missing: name it by "
            f"--{theirs[lacks[0]].role} {lacks[0]}=ARRAY.{instead(lacks, more)}"
        )
    for variable in sorted(ours.keys() | theirs.keys()):
        here, there = _described(ours.get(variable)), _described(theirs.get(variable))
        if here != there:
            raise DataError(
                f"{name}: {variable} is {there} there and {here} here: name the "
                "variables as in the case, and set its resolution"
            )


def _described(variable: VariableSpec | None) -> str:
    if variable is None:
        return "missing"
    if not variable.dims:
        return f"{variable.role}, a number per sample"
    shape = "x".join(map(str, variable.shape))
    return f"{variable.role} {','.join(variable.dims)} {shape}"


def _check_units(
    name: str, header: Header, like: Header, parts: Sequence[Part], options: AxisOptions
) -> None:
    stated = {t.field.name for p in parts for t in p.selections if t.array.units}
    for v in header.variables:
        theirs = like.variable(v.name).units
        if v.name in stated | options.units.keys():
            refuse_units(v.name, v.units, theirs, f"{name} says")


def _check_axes(
    name: str, header: Header, like: Header, parts: Sequence[Part], options: AxisOptions
) -> None:
    coordinates = [
        (d, a) for p in parts for t in p.selections for d, a in t.axes.items()
    ]
    with_values = {d for d, a in coordinates if a.values is not None and len(a.values)}
    with_units = {d for d, a in coordinates if a.units}
    for dim in like.coordinates.keys() & header.coordinates.keys():
        here, there = header.coordinates[dim], like.coordinates[dim]
        ours, its = here.values, there.values
        close = np.allclose(ours, its, rtol=1e-5, atol=1e-6 * np.ptp(its))
        if dim in with_values | options.ends.keys() and not close:
            raise DataError(
                f"{name}: axis {dim} is from {its[0]:g} to {its[-1]:g} there and from "
                f"{ours[0]:g} to {ours[-1]:g} here"
            )
        known = dim in with_units | options.units.keys()
        if known:
            refuse_units(f"axis {dim}", here.units, there.units, f"{name} says")


def _check_mesh(name: str, ours: Mesh, its: Mesh) -> None:
    same = ours.points.shape == its.points.shape and np.array_equal(
        ours.cells, its.cells
    )
    if not same or not np.allclose(ours.points, its.points, rtol=1e-6, atol=1e-12):
        raise DataError(
            f"{name}: its mesh is another one than that of the data: give the case "
            "the file of this mesh (--set solver.parameters.domain=...)"
        )
