"""Whether a case and its solver say the same of boundary and domain.

Both stand twice: in the case, for readers and for other software, and in the solver,
which solves with them. A case that says one thing and solves another is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from opkit.case.contract import blamed, check_coordinates
from opkit.datasets.agreement import same_units
from opkit.datasets.header import SIDES
from opkit.errors import CaseError, nearest
from opkit.solvers.interface import (
    Coordinate,
    KnowsSides,
    MarksBoundary,
    MeshPerSample,
    OnMesh,
    Solver,
)

if TYPE_CHECKING:
    from opkit.case.record import Case

Extent = Mapping[str, tuple[float, float]]
PART = 1e-6
"""Part of an axis by which its ends may differ; texts round them."""


def refuse_other_problem(case: Case, solver: Solver) -> None:
    """Refuse a solver of other boundary conditions, extent or units than the case says.

    Of a solver on a mesh, whose nodes take time to make, `refuse_other_extent` compares
    the extent where they are made.

    Raises:
        CaseError: the message names the part of the boundary, or the axis.
    """
    if isinstance(solver, KnowsSides):
        _refuse_other_sides(case, sides_of(solver))
    if isinstance(solver, OnMesh):
        return
    extent = _said(case)
    for axis, coordinate in _coordinates(solver).items():
        if axis not in extent or len(coordinate.values) < 2:
            continue
        units = case.geometry.units  # nondimensional where a case does not say
        if not (same_units(units, "") or same_units(coordinate.units, units)):
            raise CaseError(
                f"case {case.name}: geometry.units is {units}, its solver's {axis} is "
                f"in {coordinate.units}: they have to agree"
            )
        values = np.asarray(coordinate.values, np.float64)
        periodic = case.periodic.get(axis, False)
        if not lies_on(extent[axis], values, periodic):
            raise _other_extent(case, axis, ends_of(values, periodic))


def refuse_other_extent(case: Case, points: NDArray[np.float64]) -> None:
    """Refuse a mesh of another extent than the case says.

    Args:
        case: says the extent.
        points: (node, d) of its solver.

    Raises:
        CaseError: the message names the axis.
    """
    lows, highs = points.min(axis=0), points.max(axis=0)
    size = float((highs - lows).max())
    extent = _said(case)
    for axis, low, high in zip("xyz", lows, highs, strict=False):
        ends = extent.get(axis)
        if ends is None or not np.allclose(ends, (low, high), 0, PART * size):
            raise _other_extent(case, axis, (low, high))


def refuse_other_parts(case: Case, solver: Solver) -> None:
    """Refuse quantities of interest of sides or parts that the domain has not.

    Raises:
        CaseError: names the quantity, and the nearest part.
    """
    sides = [side for axis in case.space for side in SIDES[axis]]
    for name, quantity in case.quantities.items():
        content = quantity.model_dump()
        parts = [content.get("part"), *(content.get("parts") or ())]
        for part in (part for part in parts if part is not None):
            known: Sequence[str] = ()
            if isinstance(solver, MarksBoundary):
                known = solver.boundary_groups().names
            elif isinstance(solver, MeshPerSample):
                known = solver.mesh_kind().parts
            if part not in known:
                raise CaseError(
                    f"quantities.{name}: there is no part {part!r} of the boundary."
                    f"{nearest(part, known)} Its parts: {', '.join(known) or 'none'}"
                )
        named = [content.get("side"), *(content.get("sides") or ())]
        for side in (side for side in named if side is not None):
            on_mesh = case.geometry.kind in ("mesh", "meshes")
            if on_mesh or side not in sides:
                there = "none" if on_mesh else ", ".join(sides)
                raise CaseError(
                    f"quantities.{name}: there is no side {side!r}, only {there}: "
                    "of a mesh name a part"
                )


def lies_on(
    extent: tuple[float, float], values: NDArray[np.float64], periodic: bool
) -> bool:
    """Whether the points of an axis may be those of a grid on an extent.

    They lie inside it, with at most one spacing to spare at either end: nodes with both
    ends or without one, as of a ring, or middles of cells.
    """
    low, high = extent
    slack = PART * (high - low)
    step = float(values[-1] - values[0]) / (len(values) - 1)
    before, behind = float(values[0]) - low, high - float(values[-1])
    if periodic and abs(before + behind - step) > slack:
        return False
    return -slack <= before <= step + slack and -slack <= behind <= step + slack


def ends_of(values: NDArray[np.float64], periodic: bool) -> tuple[float, float]:
    """Return the likeliest ends of an axis; a ring ends a step behind its points."""
    first, last = float(values[0]), float(values[-1])
    step = (last - first) / (len(values) - 1)
    return (first, last + step) if periodic else (first, last)


def extent_of(case: Case, solver: Solver) -> dict[str, list[float]]:
    """Return the case's extent, changed to that of its solver where they differ.

    Of a solver on a mesh the case's own.
    """
    extent: dict[str, list[float]] = {
        axis: list(ends) for axis, ends in case.geometry.extent.items()
    }
    if isinstance(solver, OnMesh):
        return extent
    for axis, coordinate in _coordinates(solver).items():
        if axis not in extent or len(coordinate.values) < 2:
            continue
        values = np.asarray(coordinate.values, np.float64)
        periodic = case.periodic.get(axis, False)
        low, high = extent[axis]
        if not lies_on((low, high), values, periodic):
            extent[axis] = list(ends_of(values, periodic))
    return extent


def _coordinates(solver: Solver) -> Mapping[str, Coordinate]:
    with blamed(solver, "coordinates"):
        coordinates = solver.coordinates()
    check_coordinates(solver, coordinates)
    return coordinates


def sides_of(solver: KnowsSides) -> dict[str, tuple[str, str | float]]:
    """Return kind and value of each part of a solver's boundary."""
    return {
        part: (str(side["kind"]), side.get("value", 0.0))
        for part, side in solver.sides().items()
    }


def _said(case: Case) -> dict[str, tuple[float, float]]:
    return {str(axis): ends for axis, ends in case.geometry.extent.items()}


def _refuse_other_sides(
    case: Case, solved: Mapping[str, tuple[str, str | float]]
) -> None:
    sides = {part: (side.kind, side.value) for part, side in case.boundary.items()}
    for part in sorted(sides.keys() | solved.keys()):
        if sides.get(part) == solved.get(part):
            continue
        raise CaseError(
            f"case {case.name}: boundary.{part} is {_words(sides.get(part))}, its "
            f"solver solves with {_words(solved.get(part))}: boundary only says what "
            "solver.parameters decide, so change these, or leave boundary as it is"
        )


def _words(side: tuple[str, str | float] | None) -> str:
    if side is None:
        return "no condition"
    kind, value = side
    return kind if kind == "periodic" else f"{kind} ({value})"


def _other_extent(case: Case, axis: str, ends: tuple[float, float]) -> CaseError:
    extent = _said(case).get(axis)
    words = "missing" if extent is None else f"{extent[0]:g} to {extent[1]:g}"
    return CaseError(
        f"case {case.name}: geometry.extent of {axis} is {words}, its solver's domain "
        f"is {ends[0]:g} to {ends[1]:g}: the case's extent only says what "
        "solver.parameters decide, so change these, or leave it as it is"
    )
