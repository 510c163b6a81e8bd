"""What the solvers on quadratic grids take and hand back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from pydantic import Field

from opkit.base.arrays import Array
from opkit.errors import OpkitInputError
from opkit.solvers.fem.newton import Start, State
from opkit.solvers.interface import Fields

Cells = Annotated[int, Field(ge=1, le=1024)]
OGridResolution = tuple[Cells, Annotated[int, Field(ge=4, le=4096, multiple_of=4)]]


@dataclass(frozen=True)
class GridSolution:
    """The solution of one sample.

    Args:
        fields: by name (node,), in the grid's order of nodes.
        points: of the nodes (node, 2).
        residual: relative, Euclidean: |F| over the |F| of a plain state.
        linear_solves: corrections; most reuse a factorisation.
        factorisations: of the tangent.
        load: the last load reached, 1 is all of it.
        start: where Newton's method started from.
        quantities: numbers, such as a force.
    """

    fields: Mapping[str, Array]
    points: Array
    residual: float
    linear_solves: int
    factorisations: int
    load: float
    start: Start
    quantities: Mapping[str, float] = field(default_factory=dict)


def grid_solution(
    state: State,
    points: Array,
    fields: Mapping[str, Array],
    quantities: Mapping[str, float],
) -> GridSolution:
    """Put together what Newton's method found and the fields made of it."""
    return GridSolution(
        fields=fields,
        points=points,
        residual=state.residual,
        linear_solves=state.count.linear_solves,
        factorisations=state.count.factorisations,
        load=state.load,
        start=state.start,
        quantities=quantities,
    )


def parameter(parameters: Fields, name: str, shape: tuple[int, ...]) -> Array:
    """One parameter, finite and of this shape.

    Raises:
        OpkitInputError: it is missing, of another shape, or not finite.
    """
    if name not in parameters:
        names = ", ".join(parameters) or "none"
        raise OpkitInputError(f"parameter {name!r} is missing: there are {names}")
    value = np.asarray(parameters[name], dtype=np.float64)
    if value.shape != shape and value.size == 1 and shape == ():
        value = value.reshape(())
    if value.shape != shape:
        raise OpkitInputError(f"{name} has shape {value.shape}, not {shape}")
    if not np.isfinite(value).all():
        raise OpkitInputError(f"{name} holds NaN or infinity")
    return value


def guess_fields(initial: Fields, names: Sequence[str], nodes: int) -> Array:
    """Fields (name, node) of a guess.

    Raises:
        OpkitInputError: one is missing, on another mesh, or not finite.
    """
    values = []
    for name in names:
        if name not in initial:
            raise OpkitInputError(f"initial: {name!r} is missing")
        value = np.asarray(initial[name], dtype=np.float64)
        if value.shape != (nodes,):
            raise OpkitInputError(
                f"initial: {name} has shape {value.shape}, not ({nodes},): it is from "
                "another mesh; QuadGrid.interpolate carries it over"
            )
        if not np.isfinite(value).all():
            raise OpkitInputError(f"initial: {name} holds NaN or infinity")
        values.append(value)
    return np.stack(values)
