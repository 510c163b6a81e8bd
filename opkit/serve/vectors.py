"""Variables of a surrogate as flat vectors, which protocols outside Python speak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from opkit.base.arrays import Array
from opkit.base.show import grid
from opkit.errors import CaseError, MissingExtraError, OpkitInputError
from opkit.solvers.interface import MovesNodes
from opkit.surrogate import Surrogate
from opkit.surrogate.adapters.refuse import POINTS
from opkit.surrogate.bundle.record import Channels
from opkit.surrogate.checks.nodes import moving_solver


@dataclass(frozen=True)
class Part:
    """One variable of one sample.

    Args:
        name: of the variable.
        role: ``fields``, ``parameters``, ``series``, ``static``, ``points`` (where
            the nodes of the sample lie) or ``outputs``.
        units: of its values.
        shape: of its array; () of a number.
        axes: names of its axes, as many as the shape has.
    """

    name: str
    role: str
    units: str
    shape: tuple[int, ...]
    axes: tuple[str, ...]

    @property
    def size(self) -> int:
        """Length of its vector."""
        return prod(self.shape)

    def array(self, vector: Sequence[float], what: str = "") -> Array:
        """Return the array of a vector, whose last axis varies fastest.

        Raises:
            OpkitInputError: another length.
        """
        if len(vector) != self.size:
            shape = f" ({grid(self.shape)})" if len(self.shape) > 1 else ""
            raise OpkitInputError(
                f"{what or self.name} has {len(vector)} values: give {self.size}{shape}"
            )
        values = np.asarray(vector, np.float64).reshape(self.shape)
        if not np.isfinite(values).all():
            raise OpkitInputError(f"{what or self.name} holds NaN or infinity")
        return values


def input_parts(surrogate: Surrogate) -> tuple[Part, ...]:
    """Return what a surrogate is given for one sample, in the order of its record.

    Where each sample has its own places of the nodes, these come last, unless the
    case's solver says where they are.

    Raises:
        OpkitInputError: the lengths differ from sample to sample.
    """
    config = surrogate.config
    if config.boundary or config.shape.ragged:
        what = "data on a boundary" if config.boundary else "nodes of its own"
        raise OpkitInputError(
            f"each sample of this surrogate has {what}, so there are no vectors of one "
            "length to serve: ask it in Python, or by `opkit predict`"
        )
    if config.series and config.history:
        driving = ", ".join(v.name for v in config.series)
        raise OpkitInputError(
            f"{driving}: functions of time have another length for each number of "
            "steps, so there are no vectors of one length to serve: ask it in Python, "
            "or by `opkit predict`"
        )
    on_mesh = config.shape.inputs_on != "grid"
    space = config.shape.shape
    if on_mesh:
        count = len(surrogate.mesh.points)
        if config.shape.inputs_on == "cell":
            count = len(surrogate.mesh.cells)
        space = (count,)
    axes = config.shape.input_axes(config.axes)
    frames = ((config.history,), ("time",)) if config.history else ((), ())
    parts = []
    for role, variables in config.by_role.items():
        for v in variables:
            if role == "parameters":
                parts.append(_part(v, role, (), ()))
            elif role == "series":
                parts.append(_part(v, role, (len(config.times),), ("time",)))
            elif role == "fields":
                before, names = frames
                parts.append(_part(v, role, space, axes, before, names))
            else:
                parts.append(_part(v, role, space, axes))
    if surrogate.shape.point_axes and mover(surrogate) is None:
        whole = (*config.shape.shape, surrogate.shape.point_axes)
        parts.append(Part(POINTS, POINTS, "1", whole, (*config.axes, "component")))
    return tuple(parts)


def mover(surrogate: Surrogate) -> MovesNodes | None:
    """Return the case's solver, if it says where the nodes of a sample lie."""
    if not surrogate.config.parameters:
        return None
    try:
        return moving_solver(surrogate.context)
    except (CaseError, MissingExtraError, OpkitInputError):
        return None


def output_parts(surrogate: Surrogate, steps: int | None) -> tuple[Part, ...]:
    """Return what a surrogate gives for one sample.

    Args:
        surrogate: whose.
        steps: frames of a rollout; None where it makes none.
    """
    config = surrogate.config
    before: tuple[tuple[int, ...], tuple[str, ...]] = ((), ())
    if steps is not None:
        before = ((steps,), ("time",))
    parts = []
    for v in config.outputs:
        if v.kind == "field":
            space = config.shape.shape
            parts.append(_part(v, "outputs", space, config.axes, *before))
        elif v.kind == "numbers":
            parts.append(_part(v, "outputs", (), ()))
        else:
            length = (len(config.times) * v.channels,)
            parts.append(Part(v.name, "outputs", v.units, length, ("time",)))
    return tuple(parts)


def _part(
    variable: Channels,
    role: str,
    space: tuple[int, ...],
    axes: tuple[str, ...],
    before: tuple[int, ...] = (),
    names: tuple[str, ...] = (),
) -> Part:
    channels = (variable.channels,) if variable.channels > 1 else ()
    layer = ("component",) if channels else ()
    shape = (*before, *channels, *space)
    return Part(variable.name, role, variable.units, shape, (*names, *layer, *axes))


def arrays_of(
    parts: Sequence[Part], vectors: Sequence[Sequence[float]]
) -> dict[str, Array]:
    """Return arrays by name of one vector for each variable.

    Raises:
        OpkitInputError: another number of vectors, or of values in one of them.
    """
    if len(vectors) != len(parts):
        names = ", ".join(f"{p.name} ({p.size})" for p in parts)
        raise OpkitInputError(
            f"{len(vectors)} input vectors: give {len(parts)}, {names}"
        )
    pairs = zip(parts, vectors, strict=True)
    return {part.name: part.array(vector) for part, vector in pairs}


def vectors_of(
    parts: Sequence[Part], arrays: Mapping[str, Any], nodes: Sequence[int] | None
) -> list[list[float]]:
    """Return the vector of each variable out of what a surrogate gave for one sample.

    Args:
        parts: the variables.
        arrays: by name.
        nodes: places in each vector that are wanted; all where None.
    """
    flat = (np.asarray(arrays[p.name], np.float64).reshape(-1) for p in parts)
    return [(v if nodes is None else v[list(nodes)]).tolist() for v in flat]
