"""Whether a solver keeps the contract of `opkit.solvers.interface.Solver`.

Solvers come from other packages too. What they lack, and what they return, is looked at
where it is handed over; the message names the method, the key and the remedy.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from opkit.base.arrays import Array
from opkit.datasets.header import VariableSpec
from opkit.errors import CaseError, OpkitError, SolverError, nearest
from opkit.solvers.interface import (
    CELLS,
    FACETS,
    MESH_ARRAYS,
    POINTS,
    Coordinate,
    Fields,
    MeshPerSample,
    MovesNodes,
    Parametric,
    Solution,
    Solver,
)

METHODS = {
    "coordinates": "coordinates() returns a Coordinate for each dimension",
    "sample": "sample(rng) returns one random sample of the inputs by name",
    "solve": "solve(inputs) returns a Solution for a batch",
    "residual": (
        "residual(inputs, outputs) returns one number per sample, 0 where the outputs "
        "are exact"
    ),
}
"""The methods that a solver must have, and what they are for."""


def check_methods(solver: Any) -> None:
    """Refuse a solver that lacks one of its four methods.

    Raises:
        CaseError: the message names the method and what it has to return.
    """
    kind = type(solver).__name__
    for method, purpose in METHODS.items():
        if not callable(getattr(solver, method, None)):
            raise CaseError(f"solver {kind} has no method {method}: add it; {purpose}")


def check_parameters(
    solver: Solver, shapes: Mapping[str, tuple[int, ...]], where: str
) -> None:
    """Refuse parameters per sample that a solver does not take, or lacks.

    Args:
        solver: of the case.
        shapes: of the case's parameters by name.
        where: begins the message.

    Raises:
        CaseError: names the parameter, and the nearest one that the solver takes.
    """
    kind = type(solver).__name__
    known: Mapping[str, tuple[int, ...]] = {}
    if isinstance(solver, Parametric):
        with blamed(solver, "parameters"):
            known = solver.parameters()
    for name, shape in shapes.items():
        if name not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise CaseError(
                f"{where}: {kind} takes no parameter {name!r} per sample, {takes}."
                f"{nearest(name, known)}"
            )
        if shape != tuple(known[name]):
            raise CaseError(
                f"{where}: parameter {name} is {_size(shape)}, {kind} takes "
                f"{_size(tuple(known[name]))}"
            )
    fixed: set[str] = (
        {f.name for f in fields(solver)} if is_dataclass(solver) else set()
    )
    lacking = [name for name in known if name not in shapes and name not in fixed]
    if lacking:
        raise CaseError(
            f"{where}: {kind} needs {', '.join(lacking)} per sample: give "
            f"{'it a law' if len(lacking) == 1 else 'them laws'} under parameters"
        )


def _size(shape: tuple[int, ...]) -> str:
    return f"a vector of {shape[0]}" if shape else "one number"


def points_of(solver: MovesNodes, inputs: Fields, batch: int) -> Array:
    """Return where the nodes of each sample lie, (batch, *space, d).

    Raises:
        CaseError: not one finite set of points for each sample.
        OpkitInputError: the solver refuses the shapes.
    """
    with blamed(solver, "points"):
        points = np.asarray(solver.points(inputs), np.float64)
    where = f"{type(solver).__name__}.points()"
    if points.ndim < 3 or len(points) != batch or not 2 <= points.shape[-1] <= 3:
        raise CaseError(
            f"{where} has shape {points.shape}: give (batch, *space, 2 or 3), here "
            f"with batch {batch}"
        )
    if not np.isfinite(points).all():
        raise CaseError(f"{where} has NaN or infinity")
    return points


@contextmanager
def blamed(solver: Any, method: str) -> Iterator[None]:
    """Report what a solver's method raises by accident in one line with its place.

    Raises:
        SolverError: in place of anything but opkit's own exceptions and MemoryError.
    """
    try:
        yield
    except (OpkitError, MemoryError):
        raise
    except Exception as error:
        home = vars(sys.modules.get(type(solver).__module__, sys)).get("__file__")
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename == home] or frames
        place = f"{Path(own[-1].filename).name}, line {own[-1].lineno}"
        raise SolverError(
            f"{type(solver).__name__}.{method} raised {type(error).__name__}: "
            f"{' '.join(str(error).split())} ({place})"
        ) from error


def check_coordinates(solver: Any, coordinates: Any) -> None:
    """Refuse what is no mapping of names to `Coordinate`.

    Raises:
        CaseError: the message names the dimension.
    """
    where = f"{type(solver).__name__}.coordinates()"
    if not isinstance(coordinates, Mapping):
        raise CaseError(
            f"{where} returns {_kind(coordinates)}: return a dict of dimension name to "
            "opkit.solvers.interface.Coordinate"
        )
    for name, axis in coordinates.items():
        if not isinstance(axis, Coordinate):
            raise CaseError(
                f"{where}[{name!r}] is {_kind(axis)}: wrap its values in "
                "opkit.solvers.interface.Coordinate"
            )


def check_sample(solver: Any, sample: Any, inputs: Sequence[VariableSpec]) -> None:
    """Refuse a sample that is not made of the case's inputs.

    Args:
        solver: that drew it.
        sample: what ``sample(rng)`` returned.
        inputs: of the case, with the shapes that the solver's axes give them.

    Raises:
        CaseError: the message names the key, its shape, and the case's.
    """
    where = f"{type(solver).__name__}.sample()"
    _check_fields(where, sample, inputs, "input")


def check_mesh(solver: MeshPerSample, sample: Any) -> tuple[str, ...]:
    """Refuse a sample without a mesh; return the names of the mesh's arrays.

    Raises:
        CaseError: the message names the array, and what it has to be.
    """
    where = f"{type(solver).__name__}.sample()"
    if not isinstance(sample, Mapping):
        raise CaseError(f"{where} gives {_kind(sample)}: give a dict of name to array")
    kind = solver.mesh_kind()
    columns = {POINTS: kind.dimension, CELLS: kind.corners, FACETS: kind.dimension}
    for name in MESH_ARRAYS:
        column = columns.get(name)
        shape = f"(n, {column})" if column else "(n,)"
        if name not in sample:
            raise CaseError(f"{where} gives no {name!r}: give {shape}, of its mesh")
        array = np.asarray(sample[name])
        numbers = "f" if name == POINTS else "iu"
        right = array.shape[1:] == ((column,) if column else ())
        if not right or array.ndim < 1 or array.dtype.kind not in numbers:
            raise CaseError(
                f"{where} gives {name} with shape {array.shape}, {array.dtype}: give "
                f"{shape} of {'float64' if numbers == 'f' else 'int64'}"
            )
    return MESH_ARRAYS


def check_solution(
    solver: Any, solution: Any, outputs: Sequence[VariableSpec], batch: int
) -> None:
    """Refuse a solution that does not have the case's outputs, or no error measure.

    Args:
        solver: that made it.
        solution: what ``solve(inputs)`` returned.
        outputs: of the case, with the shapes that the solver's axes give them.
        batch: samples that were to be solved.

    Raises:
        CaseError: the message names the key or field, its shape, and the right one.
    """
    where = f"{type(solver).__name__}.solve()"
    if not isinstance(solution, Solution):
        raise CaseError(
            f"{where} returns {_kind(solution)}: return a "
            "opkit.solvers.interface.Solution"
        )
    _check_fields(where, solution.outputs, outputs, "output", (batch,))
    if not isinstance(solution.measure, str) or not solution.measure:
        raise CaseError(
            f"{where}: measure is {solution.measure!r}: say in words what the numbers "
            'in error are, such as "relative residual"'
        )
    if not isinstance(solution.details, Mapping):
        raise CaseError(f"{where}: details is {_kind(solution.details)}: give a dict")
    numbers: dict[str, Any] = {"error": solution.error}
    numbers |= {f"details[{name!r}]": v for name, v in solution.details.items()}
    for name, values in numbers.items():
        check_numbers(f"{where}: {name}", values, batch)


def residual_of(solver: Any, inputs: Fields, outputs: Fields) -> Array:
    """Return the solver's residual, (batch,), float64.

    Raises:
        CaseError: it is not one number for each sample.
        SolverError: the solver cannot tell, or fails by accident.
    """
    with blamed(solver, "residual"):
        values = solver.residual(inputs, outputs)
    batch = len(next(iter(outputs.values())))
    check_numbers(f"{type(solver).__name__}.residual()", values, batch)
    return np.asarray(values, np.float64)


def check_numbers(where: str, values: Any, batch: int) -> None:
    """Refuse anything but one real number for each sample.

    Raises:
        CaseError: the message begins with ``where``.
    """
    array = np.asarray(values)
    if array.shape != (batch,) or array.dtype.kind not in "biuf":
        description = (
            "a single number" if array.ndim == 0 else f"of shape {array.shape}"
        )
        if array.dtype.kind not in "biuf":
            description = _kind(values)
        raise CaseError(
            f"{where} is {description}: give one number per sample, ({batch},)"
        )


def _check_fields(
    where: str,
    fields: Any,
    variables: Sequence[VariableSpec],
    role: str,
    lead: tuple[int, ...] = (),
) -> None:
    if not isinstance(fields, Mapping):
        raise CaseError(f"{where} gives {_kind(fields)}: give a dict of name to array")
    for v in variables:
        if v.name not in fields:
            others = ", ".join(map(str, fields)) or "nothing"
            raise CaseError(
                f"{where} gives no {v.name!r}, which the case lists as {role}, but "
                f"{others}: use the names of the case"
            )
        array = np.asarray(fields[v.name])
        if array.shape != (*lead, *v.shape):
            dims = ", ".join(("batch",) * len(lead) + v.dims)
            raise CaseError(
                f"{where} gives {v.name} with shape {array.shape}: the case says "
                f"({dims}), here {(*lead, *v.shape)}"
            )
        if array.dtype.kind not in "biuf":
            raise CaseError(
                f"{where} gives {v.name} as {array.dtype}: give real numbers"
            )


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
