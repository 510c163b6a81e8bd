"""Numbers of interest of fields: means, integrals, maxima, values, fluxes, forces.

Integrals are those of the piecewise (bi)linear field through the nodal values: the
trapezoidal rule on even grids, bilinear cells on grids whose nodes are moved, the mass
matrix on meshes. On a side they are taken along its nodes, on a named part of a mesh by
quadrature on its facets. Slopes on a boundary are differences of order 2 on grids, and
those of the elements inside on meshes (`opkit.elements.surfaces`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.interpolate import LinearNDInterpolator, RegularGridInterpolator

from opkit.base.arrays import Array
from opkit.case.quantities import (
    Box,
    Difference,
    Flux,
    Force,
    GradientFlux,
    Integral,
    Maximum,
    Mean,
    Quantity,
    Value,
)
from opkit.errors import CaseError, OpkitInputError, nearest
from opkit.surrogate.checks.places import Boundary, Place


def evaluate(
    quantity: Quantity,
    fields: Mapping[str, Array],
    place: Place,
    numbers: Mapping[str, Array] | None = None,
) -> Array:
    """Return a quantity of fields (batch, *space), (batch,), float64.

    Args:
        quantity: what is wanted.
        fields: outputs by name; all samples on the nodes of ``place``.
        place: where the nodes lie.
        numbers: per sample (batch,), by name, where the quantity depends on one.

    Raises:
        CaseError: there is no such output.
        OpkitInputError: a side, part, box or point outside the domain.
    """
    used = [np.asarray(_field(fields, n), np.float64) for n in quantity.outputs]
    u = used[0]
    if isinstance(quantity, Value):
        return _value(u, quantity.at, place)
    if isinstance(quantity, Difference):
        if quantity.sides is not None:
            pair = [place.boundary(side, None) for side in quantity.sides]
        else:
            assert quantity.parts is not None
            pair = [place.boundary(None, part) for part in quantity.parts]
        first, second = (_mean(u, boundary) for boundary in pair)
        return first - second
    if isinstance(quantity, Flux | GradientFlux | Force):
        boundary = place.boundary(quantity.side, quantity.part)
        if isinstance(quantity, Flux):
            _refuse_dimension(len(used), place)
            return boundary.flux(np.stack([boundary.values(f) for f in used], -1))
        if isinstance(quantity, GradientFlux):
            return quantity.coefficient * boundary.flux(boundary.gradient(u))
        return _force(quantity, used, boundary, place, numbers or {})
    if isinstance(quantity, Maximum):
        return _maximum(quantity, u, place)
    assert isinstance(quantity, Mean | Integral)
    if quantity.side is not None or quantity.part is not None:
        boundary = place.boundary(quantity.side, quantity.part)
        total, size = boundary.integral(boundary.values(u)), boundary.size
    else:
        weights = _weights(quantity, place)
        total = u.reshape(len(u), weights.size) @ weights
        size = float(weights.sum())
    return total / size if isinstance(quantity, Mean) else total


def _weights(quantity: Mean | Integral | Maximum, place: Place) -> Array:
    """Weights of the nodes of a region that is no boundary, (node,)."""
    if quantity.subdomain is not None:
        return place.weights_of_subdomain(quantity.subdomain).reshape(-1)
    inside = _inside(quantity.inside, place)
    if not inside.any():
        raise OpkitInputError(
            f"no node lies inside {quantity.inside}: give a larger box"
        )
    return np.where(inside, place.weights(), 0.0).reshape(-1)


def _maximum(quantity: Maximum, u: Array, place: Place) -> Array:
    u = np.abs(u) if quantity.absolute else u
    if quantity.side is not None:
        index, weights = place.side(quantity.side)
        u = u[(slice(None), *index)].reshape(len(u), weights.size)
    elif quantity.part is not None:
        # the largest value at its nodes, those on middles of edges among them
        place.boundary(None, quantity.part)
        u = u[:, place.parts[quantity.part].on_it]
    elif quantity.subdomain is not None:
        place.weights_of_subdomain(quantity.subdomain)
        assert place.mesh is not None and place.subdomains is not None
        cells = place.mesh[1][place.subdomains == quantity.subdomain]
        u = u[:, np.unique(cells)]
    else:
        inside = _inside(quantity.inside, place)
        if not inside.any():
            raise OpkitInputError(
                f"no node lies inside {quantity.inside}: give a larger box"
            )
        u = u[:, inside]
    largest: Array = u.max(1)
    return largest


def _field(fields: Mapping[str, Array], name: str) -> Array:
    if name not in fields:
        raise CaseError(
            f"quantity of {name!r}: there is no such output."
            f"{nearest(name, fields)} There are {', '.join(fields)}"
        )
    return fields[name]


def _mean(u: Array, boundary: Boundary) -> Array:
    return boundary.integral(boundary.values(u)) / boundary.size


def _refuse_dimension(components: int, place: Place) -> None:
    if components != len(place.where()):
        raise OpkitInputError(
            f"{components} components of a vector in {len(place.where())} dimensions: "
            "give one for each axis"
        )


def _force(
    quantity: Force,
    used: Sequence[Array],
    boundary: Boundary,
    place: Place,
    numbers: Mapping[str, Array],
) -> Array:
    """∫ w·n with w = p d - ν (∇u + ∇uᵀ) d, which is (p n - ν (∇u + ∇uᵀ) n)·d."""
    _refuse_dimension(len(quantity.direction), place)
    d = np.array(quantity.direction) / np.linalg.norm(quantity.direction)
    w = boundary.values(used[0])[..., None] * d
    if quantity.velocity:
        number = numbers.get(quantity.number, np.zeros(len(w)))
        viscosity = np.array([quantity.viscosity_of(float(v)) for v in number])
        slopes = np.stack([boundary.gradient(u) for u in used[1:]], -2)  # ∂_b u_a
        stress = (slopes + slopes.swapaxes(-1, -2)) @ d
        w = w - viscosity.reshape(-1, *(1,) * (w.ndim - 1)) * stress
    return quantity.factor * boundary.flux(w)


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
        values = u.reshape(len(u), len(nodes)).T
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
