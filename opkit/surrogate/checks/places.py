"""Where the nodes of fields lie: a grid, a grid whose nodes are moved, or a mesh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from opkit.base.arrays import Array
from opkit.base.mesh_groups import MeshGroups
from opkit.datasets.header import SIDES
from opkit.elements.assembly import mass
from opkit.elements.surfaces import Facets, Surface
from opkit.elements.weights import NodeWeights, of_grid
from opkit.errors import OpkitInputError, nearest


class Boundary(Protocol):
    """A side or part of a boundary, at whose points fields and slopes are known."""

    def values(self, u: Array) -> Array:
        """Values (batch, *points) of a field (batch, *space)."""
        ...

    def gradient(self, u: Array) -> Array:
        """Gradients (batch, *points, d) along x, y(, z) of a field (batch, *space)."""
        ...

    def integral(self, values: Array) -> Array:
        """∫ of values (batch, *points), (batch,)."""
        ...

    def flux(self, vectors: Array) -> Array:
        """∫ v·n, n out of the domain, of vectors (batch, *points, d), (batch,)."""
        ...

    @property
    def size(self) -> float:
        """Length or area."""
        ...


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
        parts: named parts of the boundary of a mesh.
        subdomains: (cell,) number of each cell's subdomain; None where not known.
        shares: (node,) weights of the nodes of one sample that has a mesh or cloud of
            its own, whose cells are not known here; None elsewhere.
    """

    axes: tuple[str, ...]
    coordinates: tuple[Array, ...] = ()
    periodic: tuple[bool, ...] = ()
    lengths: tuple[float, ...] = ()
    mesh: tuple[Array, NDArray[np.int64]] | None = None
    points: Array | None = None
    parts: Mapping[str, Facets] = field(default_factory=dict)
    subdomains: NDArray[np.int64] | None = None
    shares: Array | None = None

    @property
    def nodes(self) -> Array:
        """Nodes (node, d) of a mesh, or of a grid whose nodes are moved."""
        if self.points is not None:
            return self.points
        assert self.mesh is not None
        return self.mesh[0]

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
        if self.shares is not None:
            return self.shares
        if self.mesh is not None:
            return _mesh_weights(self.nodes, self.mesh[1])
        if self.points is None:
            return _product(self.trapezoids())
        return of_grid(self.points, len(self.axes), self.periodic)

    def weights_of_subdomain(self, number: int) -> Array:
        """Weights of ∫ u over the cells of a subdomain, (node,).

        Raises:
            OpkitInputError: there is no such subdomain.
        """
        known = [] if self.subdomains is None else sorted(set(self.subdomains.tolist()))
        if self.mesh is None or self.subdomains is None or number not in known:
            there = ", ".join(map(str, known)) or "none"
            raise OpkitInputError(f"there is no subdomain {number} here, only {there}")
        return _mesh_weights(self.nodes, self.mesh[1][self.subdomains == number])

    def boundary(self, side: str | None, part: str | None) -> Boundary:
        """Return a side of a grid, or a named part of the boundary of a mesh.

        Raises:
            OpkitInputError: there is none of that name.
        """
        if part is None:
            assert side is not None
            return GridSide(self, side)
        if part not in self.parts:
            known = ", ".join(self.parts) or "none"
            raise OpkitInputError(
                f"there is no part {part!r} of the boundary here."
                f"{nearest(part, self.parts)} Its parts: {known}"
            )
        surface: Surface = self.parts[part].on(self.nodes)
        return surface

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
            remedy = f" Name a part of the mesh: {', '.join(self.parts)}"
            raise OpkitInputError(
                f"there is no side {name!r} here."
                f"{nearest(name, sides)}{remedy if self.parts else ''}"
            )
        end = 0 if SIDES[axis].index(name) == 0 else -1
        index = tuple(end if j == k else slice(None) for j in range(len(self.axes)))
        if self.points is None:
            others = [w for j, w in enumerate(self.trapezoids()) if j != k]
            return index, _product(others) if others else np.ones(())
        if self.points.ndim != 3:
            raise OpkitInputError("integrals along moved sides are for two dimensions")
        return index, _along(self.points[index], self.periodic[1 - k])

    def trapezoids(self) -> list[Array]:
        """Weights of the trapezoidal rule along each axis of a grid at rest."""
        return [
            np.full(len(values), length / len(values)) if closed else _ends(values)
            for values, closed, length in zip(
                self.coordinates, self.periodic, self.lengths, strict=True
            )
        ]


class GridSide:
    """A side of a grid, by the trapezoidal rule; slopes by differences of order 2.

    Args:
        place: of the grid.
        name: of the side.

    Raises:
        OpkitInputError: there is no such side.
    """

    def __init__(self, place: Place, name: str) -> None:
        self._place, self._name = place, name
        self._index, self._weights = place.side(name)
        self._axis = next(k for k, p in enumerate(self._index) if isinstance(p, int))

    @property
    def size(self) -> float:
        """Length or area."""
        return float(self._weights.sum())

    def values(self, u: Array) -> Array:
        """Values (batch, *side)."""
        along: Array = u[(slice(None), *self._index)]
        return along

    def integral(self, values: Array) -> Array:
        """∫ of values (batch, *side), (batch,)."""
        total: Array = values.reshape(
            len(values), self._weights.size
        ) @ self._weights.reshape(-1)
        return total

    def gradient(self, u: Array) -> Array:
        """Gradients (batch, *side, d), along x, y(, z)."""
        place, axes = self._place, range(len(self._place.axes))
        closed = place.periodic
        slopes = np.stack([_slope(u, k + 1, closed[k]) for k in axes], -1)
        slopes = slopes[(slice(None), *self._index)]
        if place.points is None:
            steps = [
                np.full(len(c), length / len(c)) if shut else _slope(c, 0, False)
                for c, shut, length in zip(
                    place.coordinates, closed, place.lengths, strict=True
                )
            ]
            grids = np.meshgrid(*steps, indexing="ij")
            each = np.stack([g[self._index] for g in grids], -1)
            turned: Array = (slopes / each)[..., ::-1]
            return turned
        points = place.points
        jacobian = np.stack([_slope(points, k, closed[k]) for k in axes], -2)
        inverse = np.linalg.inv(jacobian[self._index])  # (*side, d, axis)
        gradient: Array = np.einsum("...dk,b...k->b...d", inverse, slopes)
        return gradient

    def flux(self, vectors: Array) -> Array:
        """∫ v·n of vectors (batch, *side, d), (batch,)."""
        place, first = self._place, self._name in ("left", "bottom", "back")
        if place.points is None:
            normal = vectors[..., len(place.axes) - 1 - self._axis]
            return (-1.0 if first else 1.0) * self.integral(normal)
        line, along = place.points[self._index], vectors
        if place.periodic[1 - self._axis]:
            line = np.concatenate([line, line[:1]])
            along = np.concatenate([along, along[:, :1]], 1)
        steps = np.diff(line, axis=0)
        # (-dy, dx) points out of the left and top sides, unless the grid is mirrored
        turn = -1.0 if self._name in ("right", "bottom") else 1.0
        normals = turn * np.stack([-steps[:, 1], steps[:, 0]], -1)
        if _mirrored(place.points):
            normals = -normals
        middle = (along[:, 1:] + along[:, :-1]) / 2
        total: Array = np.einsum("bpd,pd->b", middle, normals)
        return total


def parts_of(
    cells: NDArray[np.int64], groups: MeshGroups, dimension: int
) -> dict[str, Facets]:
    """Return the named parts of the boundary of a mesh."""
    used = [k for k in range(len(groups.names)) if (groups.parts == k).any()]
    return {
        groups.names[k]: Facets(cells, groups.facets[groups.parts == k], dimension)
        for k in used
    }


def _mesh_weights(points: Array, cells: NDArray[np.int64]) -> Array:
    """∫ φ_i of the elements' own functions (node,), multilinear on other cells."""
    if cells.shape[1] in (4, 8) and cells.shape[1] != points.shape[1] + 1:
        return NodeWeights(cells, *points.shape)(points)
    weights: Array = mass(points, cells) @ np.ones(len(points))
    return weights


def _slope(values: Array, axis: int, closed: bool) -> Array:
    """Change per step of the index along an axis, by differences of order 2."""
    if closed:
        change = np.roll(values, -1, axis) - np.roll(values, 1, axis)
        central: Array = change / 2
        return central
    order: Literal[1, 2] = 2 if values.shape[axis] > 2 else 1
    slope: Array = np.gradient(values, axis=axis, edge_order=order)
    return slope


def _mirrored(points: Array) -> bool:
    """Whether the axes y, x of a moved grid are turned over, as a hand is another."""
    up = points[1, 0] - points[0, 0]
    right = points[0, 1] - points[0, 0]
    return bool(right[0] * up[1] - right[1] * up[0] < 0)


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
