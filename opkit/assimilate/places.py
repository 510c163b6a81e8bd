"""Where states and observations lie, and how far an observation reaches.

    ρ(r) = 1 − 5/3 r² + 5/8 r³ + 1/2 r⁴ − 1/4 r⁵                  0 ≤ r ≤ 1
    ρ(r) = 4 − 5 r + 5/3 r² + 5/8 r³ − 1/2 r⁴ + 1/12 r⁵ − 2/(3r)   1 ≤ r ≤ 2
    ρ(r) = 0                                                       2 ≤ r

Source: Gaspari and Cohn, Q. J. R. Meteorol. Soc. 125 (1999), equation 4.10.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opkit.base.arrays import Array, Indices
from opkit.case.record import Case
from opkit.errors import OpkitInputError
from opkit.solvers.interface import Solver


def gaspari_cohn(distance: ArrayLike, radius: float) -> Array:
    """Return the weight ρ(distance / radius), zero from twice the radius on.

    Args:
        distance: any shape.
        radius: in the same unit; the weight there is 5/24.
    """
    r = np.asarray(distance, np.float64) / radius
    near = np.minimum(r, 1)
    far = np.clip(r, 1, 2)
    inner = 1 + near**2 * (-5 / 3 + near * (5 / 8 + near * (1 / 2 - near / 4)))
    outer = (
        4
        - 2 / (3 * far)
        + far * (-5 + far * (5 / 3 + far * (5 / 8 + far * (-1 / 2 + far / 12))))
    )
    weight: Array = np.where(r <= 1, inner, np.where(r < 2, np.maximum(outer, 0), 0.0))
    return weight


@dataclass(frozen=True)
class Grid:
    """Points of a state on one or more axes.

    Args:
        axes: coordinates along each axis, in array order, such as (y, x).
        periods: length after which each axis closes; None for one that does not.
    """

    axes: tuple[Array, ...]
    periods: tuple[float | None, ...] = ()

    def __post_init__(self) -> None:
        axes = tuple(np.asarray(axis, np.float64) for axis in self.axes)
        periods = self.periods or (None,) * len(axes)
        if not axes or len(periods) != len(axes):
            raise OpkitInputError(
                f"{len(axes)} axes and {len(periods)} periods: give one for each axis"
            )
        for axis, period in zip(axes, periods, strict=True):
            if axis.ndim != 1 or len(axis) == 0 or not (np.diff(axis) > 0).all():
                raise OpkitInputError("an axis has to be a line of growing coordinates")
            if period is not None and not period >= np.ptp(axis):
                raise OpkitInputError(
                    f"an axis of length {np.ptp(axis):g} closes after {period:g}: give "
                    "the length of the domain"
                )
        object.__setattr__(self, "axes", axes)
        object.__setattr__(self, "periods", tuple(periods))

    @property
    def shape(self) -> tuple[int, ...]:
        """Points along each axis."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def size(self) -> int:
        """Number of points."""
        return math.prod(self.shape)

    @property
    def points(self) -> Array:
        """Coordinates (point, axis), the last axis of the grid fastest."""
        meshed = np.meshgrid(*self.axes, indexing="ij")
        return np.stack([component.ravel() for component in meshed], axis=1)

    def check_inside(self, places: Array) -> None:
        """Refuse places outside of the domain.

        Args:
            places: (place, axis).

        Raises:
            OpkitInputError: the message names the first of them.
        """
        for a, (axis, period) in enumerate(zip(self.axes, self.periods, strict=True)):
            low = axis[0]
            high = axis[-1] if period is None else low + period
            bad = ~((places[:, a] >= low) & (places[:, a] <= high))
            if bad.any():
                where = int(bad.argmax())
                raise OpkitInputError(
                    f"observation {where} lies at {places[where, a]:g}, outside of "
                    f"the domain from {low:g} to {high:g}: correct its place"
                )

    def distances(self, places: Array, points: Indices | None = None) -> Array:
        """Return the distances (point, place), around periodic axes the shorter way.

        Args:
            places: (place, axis).
            points: numbers of grid points; all where None.
        """
        own = self.points if points is None else self.points[points]
        square = np.zeros((len(own), len(places)))
        for a, period in enumerate(self.periods):
            apart = np.abs(own[:, None, a] - places[None, :, a])
            if period is not None:
                apart = np.minimum(apart % period, -apart % period)
            square += apart**2
        root: Array = np.sqrt(square)
        return root

    def corners(self, places: Array) -> tuple[NDArray[np.int64], Array]:
        """Return grid points and weights (place, corner) of linear interpolation.

        Args:
            places: (place, axis), inside the domain.
        """
        index = np.zeros((len(places), 1), np.int64)
        weight = np.ones((len(places), 1))
        for a, (axis, period) in enumerate(zip(self.axes, self.periods, strict=True)):
            n, x = len(axis), places[:, a]
            low = np.clip(np.searchsorted(axis, x, side="right") - 1, 0, n - 1)
            ends = axis if period is None else np.append(axis, axis[0] + period)
            low = np.minimum(low, max(len(ends) - 2, 0))
            above = np.minimum(low + 1, len(ends) - 1)
            width = np.where(above > low, ends[above] - ends[low], 1.0)
            share = (x - ends[low]) / width
            index = np.concatenate(
                [index * n + low[:, None], index * n + (above % n)[:, None]], axis=1
            )
            weight = np.concatenate(
                [weight * (1 - share)[:, None], weight * share[:, None]], axis=1
            )
        return index, weight


def grid_of(case: Case, solver: Solver) -> Grid:
    """Return the points of a case's fields, with the axes that close.

    Args:
        case: on a grid.
        solver: of the case, as it was built.
    """
    coordinates, periodic = solver.coordinates(), case.periodic
    axes = tuple(np.asarray(coordinates[axis].values) for axis in case.space)
    extent = {str(axis): ends for axis, ends in case.geometry.extent.items()}
    periods = tuple(
        extent[axis][1] - extent[axis][0] if periodic[axis] else None
        for axis in case.space
    )
    return Grid(axes, periods)
