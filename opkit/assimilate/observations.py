"""Observations of a state, y = H(u) + e, with errors e of a known covariance R."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opkit.assimilate.places import Grid
from opkit.base.arrays import Array
from opkit.errors import OpkitInputError


@dataclass(frozen=True)
class Observation:
    """What is observed of a state.

    Args:
        of: H, maps states (member, *space) to (member, observation).
        places: (observation, axis), where each belongs, for localisation; None where
            observations have no place.
        grid: of the states' last axes.
        name: for messages and files.
    """

    of: Callable[[Array], Array]
    places: Array | None
    grid: Grid
    name: str

    def __call__(self, states: Array) -> Array:
        """Observe states (member, *space).

        Raises:
            OpkitInputError: the operator returns another shape than (member,
                observation).
        """
        seen = np.asarray(self.of(states), np.float64)
        if seen.ndim != 2 or len(seen) != len(states):
            raise OpkitInputError(
                f"observation operator {self.name} returns shape {seen.shape} for "
                f"{len(states)} members: give (member, observation)"
            )
        return seen


def every(n: int | Sequence[int], grid: Grid) -> Observation:
    """Observe every n-th grid point, of every layer.

    Args:
        n: stride, or one for each axis of the grid.
        grid: of the states.

    Raises:
        OpkitInputError: a stride below 1, or not one for each axis.
    """
    strides = (n,) * len(grid.axes) if isinstance(n, int) else tuple(n)
    if len(strides) != len(grid.axes) or min(strides) < 1:
        raise OpkitInputError(
            f"every {n}: give a stride of 1 or more, or one for each of the "
            f"{len(grid.axes)} axes"
        )
    chosen = tuple(slice(None, None, stride) for stride in strides)
    inside: Any = (..., *chosen)
    points = grid.points.reshape(*grid.shape, -1)[chosen].reshape(-1, len(grid.axes))
    return _of_layers(lambda states: states[inside], points, grid, f"every {n} points")


def at_points(places: ArrayLike, grid: Grid) -> Observation:
    """Observe at points, by linear interpolation between grid points.

    Args:
        places: (observation, axis), or (observation,) on one axis.
        grid: of the states.

    Raises:
        OpkitInputError: a place outside of the domain, or of other dimension.
    """
    where = np.asarray(places, np.float64)
    if where.ndim == 1 and len(grid.axes) == 1:
        where = where[:, None]
    if where.ndim != 2 or where.shape[1] != len(grid.axes) or not len(where):
        raise OpkitInputError(
            f"places have shape {where.shape}: give (observation, {len(grid.axes)})"
        )
    grid.check_inside(where)
    index, weight = grid.corners(where)

    def read(states: Array) -> Array:
        flat = states.reshape(*states.shape[: -len(grid.axes)], -1)
        seen: Array = (flat[..., index] * weight).sum(-1)
        return seen

    return _of_layers(read, where, grid, f"{len(where)} points")


def linear(
    matrix: ArrayLike, grid: Grid, places: ArrayLike | None = None
) -> Observation:
    """Observe by a matrix (observation, number of the state).

    Args:
        matrix: H, against states as one line of numbers.
        grid: of the states.
        places: (observation, axis), for localisation.

    Raises:
        OpkitInputError: no matrix of finite numbers, or wrong places.
    """
    h = np.asarray(matrix, np.float64)
    if h.ndim != 2 or not np.isfinite(h).all() or h.shape[1] % grid.size:
        raise OpkitInputError(
            f"observation matrix of shape {h.shape}: give finite numbers, "
            f"(observation, {grid.size}) or a multiple of that for layers"
        )
    where = _checked(places, len(h), grid)

    def read(states: Array) -> Array:
        flat = states.reshape(len(states), -1)
        if flat.shape[1] != h.shape[1]:
            raise OpkitInputError(
                f"observation matrix of shape {h.shape} for states of "
                f"{flat.shape[1]} numbers"
            )
        return flat @ h.T

    return Observation(read, where, grid, "a matrix")


def observe_with(
    function: Callable[[Array], Array], grid: Grid, places: ArrayLike | None = None
) -> Observation:
    """Observe by any function of states (member, *space) to (member, observation).

    Args:
        function: H, which need not be linear.
        grid: of the states.
        places: (observation, axis), for localisation.

    Raises:
        OpkitInputError: wrong places.
    """
    where = None
    if places is not None:
        where = _checked(places, len(np.asarray(places)), grid)
    return Observation(function, where, grid, "a function")


class ErrorCovariance:
    """R, positive definite; observations are made white by it.

    Args:
        covariance: one variance, (observation,) variances, or the matrix.
        count: number of observations.

    Raises:
        OpkitInputError: not positive, or of another size.
    """

    def __init__(self, covariance: ArrayLike, count: int) -> None:
        matrix = np.asarray(covariance, np.float64)
        if matrix.ndim == 0:
            matrix = np.full(count, float(matrix))
        if matrix.shape not in ((count,), (count, count)):
            raise OpkitInputError(
                f"error covariance of shape {matrix.shape} for {count} observations: "
                "give one variance, one for each, or the matrix"
            )
        bad = "error covariance {}: give one that is positive definite"
        self.diagonal = matrix.ndim == 1
        if self.diagonal:
            if not (np.isfinite(matrix).all() and (matrix > 0).all()):
                raise OpkitInputError(bad.format(f"with variance {matrix.min():g}"))
            self.variances = matrix
            self._root = np.sqrt(matrix)
            return
        if not np.allclose(matrix, matrix.T, rtol=1e-10, atol=0):
            raise OpkitInputError(bad.format("that is not symmetric"))
        try:
            self._root = np.linalg.cholesky(matrix)
        except np.linalg.LinAlgError:
            least = np.linalg.eigvalsh(matrix)[0]
            text = f"with eigenvalue {least:.3g}"
            raise OpkitInputError(bad.format(text)) from None
        self.variances = np.diag(matrix).copy()

    def whiten(self, values: Array) -> Array:
        """Return R^(−1/2) of values (..., observation)."""
        if self.diagonal:
            return values / self._root
        from scipy.linalg import solve_triangular

        flat = values.reshape(-1, values.shape[-1])
        white: Array = solve_triangular(self._root, flat.T, lower=True).T
        return white.reshape(values.shape)

    def part(self, seen: NDArray[np.bool_]) -> ErrorCovariance:
        """Return the covariance of some of the observations."""
        if seen.all():
            return self
        if self.diagonal:
            return ErrorCovariance(self.variances[seen], int(seen.sum()))
        whole = self._root @ self._root.T
        return ErrorCovariance(whole[np.ix_(seen, seen)], int(seen.sum()))


def _of_layers(
    read: Callable[[Array], Array], places: Array, grid: Grid, name: str
) -> Observation:
    """An operator on the last axes, of whatever layers stand before them."""

    def flat(states: Array) -> Array:
        return read(states).reshape(len(states), -1)

    return Observation(flat, places, grid, name)


def _checked(places: ArrayLike | None, count: int, grid: Grid) -> Array | None:
    if places is None:
        return None
    where = np.asarray(places, np.float64)
    if where.ndim == 1 and len(grid.axes) == 1:
        where = where[:, None]
    if where.shape != (count, len(grid.axes)):
        raise OpkitInputError(
            f"places have shape {where.shape}: give ({count}, {len(grid.axes)})"
        )
    grid.check_inside(where)
    return where
