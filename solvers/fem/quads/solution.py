"""What a solver on a quadratic grid hands back for one sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from opkit.base.arrays import Array
from opkit.solvers.fem.newton import Start, State

Values = Mapping[str, Array]
"""Numbers of one sample by name, or its fields (node,)."""
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
        load_steps: of the path, 0 where none was followed.
        load: the last load reached, 1 is all of it.
        start: where Newton's method started from.
        quantities: numbers, such as a force.
    """

    fields: Mapping[str, Array]
    points: Array
    residual: float
    linear_solves: int
    factorisations: int
    load_steps: int
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
        load_steps=state.count.load_steps,
        load=state.load,
        start=state.start,
        quantities=quantities,
    )
