"""One check for every door: are data in the units, on the domain and at the steps?

What a surrogate was trained on, or what a case says, is `Stated`; so is what a file, an
xarray object or a training split says. Whatever is used together is compared here:
training that goes on, predictions, evaluations, rollouts, samples picked, and imports
for a case. Where one of the two does not say, nothing is compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opkit.errors import DataError

NO_UNITS = {"", "1", "-", "none", "dimensionless", "nondimensional", "n/a"}
PART = 1e-3
"""Part of a length or step by which two may differ."""
SINGLE = 1e-7
"""Part of the largest coordinate by which axes stored in float32 are rounded."""


@dataclass(frozen=True)
class Quantity:
    """A variable.

    Args:
        name: of it.
        channels: that it becomes: one, or one per layer.
        units: None where they are not said.
    """

    name: str
    channels: int
    units: str | None


@dataclass(frozen=True)
class Span:
    """What counts of an axis at any resolution.

    Args:
        length: from the first value to the last, or the period; None where only steps
            count.
        units: None where they are not said.
        step: between two values; None where it does not count.
        periodic: whether the value after the last is the first; None where that does
            not count.
    """

    length: float | None
    units: str | None
    step: float | None = None
    periodic: bool | None = None


@dataclass(frozen=True)
class Stated:
    """What data or a record say.

    Args:
        variables: by role, in the order of their channels; roles that are missing here
            or there are not compared.
        axes: by name.
    """

    variables: Mapping[str, tuple[Quantity, ...]]
    axes: Mapping[str, Span]


def same_units(one: str, other: str) -> bool:
    """Whether two texts say the same units; no units and "1" are the same."""
    plain = [" ".join(units.split()) for units in (one, other)]
    return plain[0] == plain[1] or all(u.lower() in NO_UNITS for u in plain)


def refuse_units(what: str, units: str | None, own: str | None, whose: str) -> None:
    """Refuse other units than one's own, where both are said.

    Args:
        what: name of the variable, or ``axis NAME``.
        units: of the data.
        own: of the record.
        whose: subject and verb, such as "the surrogate was trained on".

    Raises:
        DataError: they differ.
    """
    if units is None or own is None or same_units(units, own):
        return
    raise DataError(
        f"{what} is in {units!r}, {whose} {own!r}: convert it, or correct its units"
    )


def span_of(
    axis: str, values: NDArray[np.float64], units: str | None, periodic: bool
) -> Span:
    """Return the span of an evenly spaced axis of two or more values.

    Raises:
        DataError: the axis decreases, jumps back, or is not evenly spaced.
    """
    steps = refuse_uneven(axis, values)
    length = float(values[-1] - values[0])
    if periodic:
        length *= len(values) / (len(values) - 1)
    return Span(length, units, float(steps.mean()), periodic)


def refuse_uneven(axis: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the steps of an axis of two or more values.

    Raises:
        DataError: the axis decreases, jumps back, or is not evenly spaced.
    """
    steps = np.diff(values)
    if not (steps > 0).all():
        how = "decreases" if (steps < 0).all() else "does not increase everywhere"
        raise DataError(f"axis {axis} {how}: sort it with .sortby({axis!r})")
    slack = PART * steps.mean() + 2 * SINGLE * np.abs(values).max()
    if np.ptp(steps) > slack:
        raise DataError(
            f"axis {axis} is not evenly spaced (steps from {steps.min():.6g} to "
            f"{steps.max():.6g}): interpolate to {len(values)} even points"
        )
    return steps


def refuse_other(own: Stated, given: Stated, whose: str) -> None:
    """Refuse data of other variables, units, extents or steps of time than one's own.

    Args:
        own: what a surrogate was trained on, or a case says.
        given: what the data say.
        whose: subject and verb of ``own``, such as "the surrogate was trained on".

    Raises:
        DataError: they differ; the message names variable or axis, and the remedy.
    """
    for role in own.variables.keys() & given.variables.keys():
        _refuse_variables(role, own.variables[role], given.variables[role], whose)
    for axis in own.axes.keys() & given.axes.keys():
        ours, its = own.axes[axis], given.axes[axis]
        refuse_units(f"axis {axis}", its.units, ours.units, whose)
        if {ours.periodic, its.periodic} == {True, False}:
            here = "periodic" if its.periodic else "not periodic"
            remedy = "without" if its.periodic else "with"
            raise DataError(
                f"axis {axis} is {here}, {whose} the opposite: give data on such an "
                f"axis, or import them {remedy} --periodic {axis}"
            )
        if _differ(ours.length, its.length):
            raise DataError(
                f"axis {axis} spans {its.length:.6g}, {whose} {ours.length:.6g}: "
                "another domain is another problem; give the whole one"
            )
        if _differ(ours.step, its.step):
            raise DataError(
                f"axis {axis} has steps of {its.step:.6g}, {whose} {ours.step:.6g}: "
                "give data at these steps"
            )


def _refuse_variables(
    role: str, own: tuple[Quantity, ...], given: tuple[Quantity, ...], whose: str
) -> None:
    ours, its = ([(v.name, v.channels) for v in side] for side in (own, given))
    if ours != its:
        raise DataError(
            f"{role} are {_listed(given)}, {whose} {_listed(own)}: give the same "
            "variables in the same order"
        )
    for mine, theirs in zip(own, given, strict=True):
        refuse_units(mine.name, theirs.units, mine.units, whose)


def _listed(variables: tuple[Quantity, ...]) -> str:
    return ", ".join(
        v.name if v.channels == 1 else f"{v.name} ({v.channels} layers)"
        for v in variables
    )


def _differ(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return False
    return abs(one - other) > PART * max(abs(one), abs(other))
