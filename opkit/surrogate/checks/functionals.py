"""Numbers of interest of fields: means, integrals, maxima, values, fluxes.

Integrals are those of the piecewise (bi)linear field through the nodal values: the
trapezoidal rule on even grids, bilinear cells on grids whose nodes are moved, the mass
matrix on meshes. On a side they are taken along its nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import LinearNDInterpolator, RegularGridInterpolator

from opkit.base.arrays import Array
from opkit.case.quantities import (
    Box,
    Difference,
    Flux,
    Integral,
    Maximum,
    Mean,
    Quantity,
    Value,
)
from opkit.datasets.header import SIDES
from opkit.elements.assembly import mass
from opkit.elements.weights import of_grid
from opkit.errors import CaseError, OpkitInputError, nearest


@dataclass(frozen=True)
class Place:
    """Where the nodes of fields lie.

    Args:
        axes: names of the axes of space, such as ``("y", "x")``; ``("node",)``.
        coordinates: values of each axis of a grid; empty on a mesh.
        periodic: whether each axis of a grid closes.
        lengths: length of each axis of a grid, the closing step included.
        mesh: (points, cells); None on a grid.
        points: (*space, d) of one sample, where its nodes are moved; None elsewhere.
    """

    axes: tuple[str, ...]
    coordinates: tuple[Array, ...] = ()
    periodic: tuple[bool, ...] = ()
    lengths: tuple[float, ...] = ()
    mesh: tuple[Array, NDArray[np.int64]] | None = None
    points: Array | None = None

    def where(self) -> dict[str, Array]:
        """Coordinates x, y(, z) of every node, (*space)."""
        if self.points is not None:
            return dict(zip("xyz", np.moveaxis(self.points, -1, 0), strict=False))
        if self.mesh is not None:
            return dict(zip("xyz", self.mesh[0].T, strict=False))
        grids = np.meshgrid(*self.coordinates, indexing="ij")
        return dict(zip(self.axes, grids, strict=True))

    def weights(self) -> Array:
        """Weights w of ∫ u ≈ Σ w u, (*space)."""
        if self.mesh is not None:
            points = self.mesh[0] if self.points is None else self.points
            weights: Array = mass(points, self.mesh[1]) @ np.ones(len(points))
            return weights
        if self.points is None:
            return _product(self._trapezoids())
        return of_grid(self.points, len(self.axes), self.periodic)

    def side(self, name: str) -> tuple[tuple[int | slice, ...], Array]:
        """Index of a side's nodes, and weights (node,) of integrals along it.

        Raises:
            OpkitInputError: there is no such side.
        """
        for k, axis in enumerate(self.axes):
            if name in SIDES.get(axis, ()) and not self.periodic[k]:
                break
        else:
            sides = [s for a in self.axes for s in SIDES.get(a, ())]
            raise OpkitInputError(
                f"there is no side {name!r} here."
                f"{nearest(name, sides)} Integrals over named parts of a mesh are not "
                "supported"
            )
        end = 0 if SIDES[axis].index(name) == 0 else -1
        index = tuple(end if j == k else slice(None) for j in range(len(self.axes)))
        if self.points is None:
            others = [w for j, w in enumerate(self._trapezoids()) if j != k]
            return index, _product(others) if others else np.ones(())
        if self.points.ndim != 3:
            raise OpkitInputError("integrals along moved sides are for two dimensions")
        return index, _along(self.points[index], self.periodic[1 - k])

    def _trapezoids(self) -> list[Array]:
        return [
            np.full(len(values), length / len(values)) if closed else _ends(values)
            for values, closed, length in zip(
                self.coordinates, self.periodic, self.lengths, strict=True
            )
        ]


def evaluate(quantity: Quantity, fields: Mapping[str, Array], place: Place) -> Array:
    """Return a quantity of fields (batch, *space), (batch,), float64.

    Args:
        quantity: what is wanted.
        fields: outputs by name; all samples on the nodes of ``place``.
        place: where the nodes lie.

    Raises:
        CaseError: there is no such output.
        OpkitInputError: a side, box or point outside the domain.
    """
    u = np.asarray(_field(fields, quantity.of), np.float64)
    batch = len(u)
    if isinstance(quantity, Value):
        return _value(u, quantity.at, place)
    if isinstance(quantity, Difference):
        first, second = (_side_mean(u, place, side) for side in quantity.sides)
        return first - second
    if isinstance(quantity, Flux):
        v = np.asarray(_field(fields, quantity.and_of), np.float64)
        return _flux(u, v, place, quantity.side)
    if quantity.side is not None:
        index, weights = place.side(quantity.side)
        u = u[(slice(None), *index)]
    else:
        weights = place.weights()
        weights = np.where(_inside(quantity.inside, place), weights, 0.0)
        if not (weights > 0).any():
            raise OpkitInputError(
                f"no node lies inside {quantity.inside}: give a larger box"
            )
    u, weights = u.reshape(batch, -1), weights.reshape(-1)
    if isinstance(quantity, Maximum):
        u = np.abs(u) if quantity.absolute else u
        largest: Array = u[:, weights > 0].max(1)
        return largest
    total: Array = u @ weights
    if isinstance(quantity, Mean):
        return total / weights.sum()
    assert isinstance(quantity, Integral)
    return total


def _field(fields: Mapping[str, Array], name: str) -> Array:
    if name not in fields:
        raise CaseError(
            f"quantity of {name!r}: there is no such output."
            f"{nearest(name, fields)} There are {', '.join(fields)}"
        )
    return fields[name]


def _side_mean(u: Array, place: Place, side: str) -> Array:
    index, weights = place.side(side)
    along = u[(slice(None), *index)].reshape(len(u), -1)
    mean: Array = along @ weights.reshape(-1) / weights.sum()
    return mean


def _flux(u: Array, v: Array, place: Place, side: str) -> Array:
    """∫ (u, v)·n over a side of a grid in the plane."""
    index, weights = place.side(side)
    along_u, along_v = (f[(slice(None), *index)] for f in (u, v))
    if place.points is None:
        outward = -1.0 if side in ("left", "bottom") else 1.0
        normal = along_u if side in ("left", "right") else along_v
        total: Array = outward * (normal @ weights)
        return total
    line = place.points[index]
    (along,) = (k for k, part in enumerate(index) if isinstance(part, slice))
    if place.periodic[along]:
        line = np.concatenate([line, line[:1]])
        along_u, along_v = (
            np.concatenate([f, f[:, :1]], 1) for f in (along_u, along_v)
        )
    steps = np.diff(line, axis=0)
    # (-dy, dx) points out of the left and top sides, unless the grid is mirrored
    turn = -1.0 if side in ("right", "bottom") else 1.0
    normals = turn * np.stack([-steps[:, 1], steps[:, 0]], -1)
    if _mirrored(place.points):
        normals = -normals
    middle = [(f[:, 1:] + f[:, :-1]) / 2 for f in (along_u, along_v)]
    total = middle[0] @ normals[:, 0] + middle[1] @ normals[:, 1]
    return total


def _mirrored(points: Array) -> bool:
    """Whether the axes y, x of a moved grid are turned over, as a hand is another."""
    up = points[1, 0] - points[0, 0]
    right = points[0, 1] - points[0, 0]
    return bool(right[0] * up[1] - right[1] * up[0] < 0)


def _value(u: Array, at: Sequence[float], place: Place) -> Array:
    where = place.where()
    if len(at) != len(where):
        raise OpkitInputError(
            f"at {list(at)}: give {len(where)} coordinates, {', '.join(sorted(where))}"
        )
    point = dict(zip("xyz", at, strict=False))
    if place.points is None and place.mesh is None:
        grid = list(place.coordinates)
        values = np.moveaxis(u, 0, -1)
        for k, closes in enumerate(place.periodic):
            if closes:
                end = grid[k][:1] + place.lengths[k]
                grid[k] = np.concatenate([grid[k], end])
                first = np.take(values, [0], k)
                values = np.concatenate([values, first], k)
        target = [point[axis] for axis in place.axes]
        outside = any(not g[0] <= t <= g[-1] for g, t in zip(grid, target, strict=True))
        value = None if outside else RegularGridInterpolator(grid, values)(target)[0]
    else:
        nodes = np.stack([where[a].reshape(-1) for a in sorted(where)], -1)
        target = [point[a] for a in sorted(where)]
        values = u.reshape(len(u), -1).T
        value = LinearNDInterpolator(nodes, values)(np.array([target]))[0]
        value = value if np.isfinite(value).all() else None
    if value is None:
        raise OpkitInputError(f"at {list(at)}: the point lies outside the domain")
    return np.asarray(value, np.float64)


def _inside(box: Box, place: Place) -> Array:
    where = place.where()
    inside = np.ones(next(iter(where.values())).shape, bool)
    for axis, (low, high) in box.items():
        if axis not in where:
            raise OpkitInputError(f"inside: the domain has no axis {axis}")
        inside &= (where[axis] >= low) & (where[axis] <= high)
    return inside


def _ends(values: Array) -> Array:
    """Trapezoidal weights of the points of an open axis."""
    if len(values) == 1:
        return np.ones(1)
    return _halves(np.diff(values))


def _halves(steps: Array) -> Array:
    """Half the steps on both sides of each point of an open line."""
    weights: Array = (np.append(steps, 0.0) + np.append(0.0, steps)) / 2
    return weights


def _along(line: Array, closes: bool) -> Array:
    """Trapezoidal weights along a curve of points (n, 2)."""
    points = np.concatenate([line, line[:1]]) if closes else line
    steps = np.linalg.norm(np.diff(points, axis=0), axis=-1)
    weights: Array = (steps + np.roll(steps, 1)) / 2 if closes else _halves(steps)
    return weights


def _product(axes: Sequence[Array]) -> Array:
    weights = np.ones(())
    for axis in axes:
        weights = np.multiply.outer(weights, axis)
    return weights
