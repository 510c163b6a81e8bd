"""A case's solver on coarser grids and meshes, between fields on the case's own.

They are rungs of the ladder (`opkit.evaluate.ladder`) of solvers that know none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.signal import resample

from opkit.case.record import Case, Variable
from opkit.elements import interpolation
from opkit.elements.transfer import locate
from opkit.errors import OpkitInputError
from opkit.solvers.interface import (
    Coordinate,
    Fields,
    MovesNodes,
    OnMesh,
    Solution,
    Solver,
    with_parameters,
)

COARSEST = 8
"""Fewest steps along an axis of a coarse grid."""
FEWEST = 4
"""Fewest cells along the longest extent that are asked of a coarse mesh."""
Array = NDArray[Any]
Change = Callable[[Fields], Fields]
Some = TypeVar("Some")


@dataclass(frozen=True)
class Coarse:
    """A solver on fewer points that takes and gives fields of the case's own.

    Args:
        factor: of the steps along every axis.
        solver: built for the coarse grid or mesh.
        fine: built for the case's own.
        down: inputs of the case to those of the solver.
        up: outputs of the solver to those of the case.
    """

    factor: int
    solver: Solver
    fine: Solver
    down: Change
    up: Change

    def coordinates(self) -> Mapping[str, Coordinate]:
        """Coordinates of the case's own grid."""
        return self.fine.coordinates()

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw one sample of the case's inputs."""
        return self.fine.sample(rng)

    def solve(self, inputs: Fields) -> Solution:
        """Solve on fewer points; the outputs lie on the case's own."""
        solution = self.solver.solve(self.down(inputs))
        return replace(solution, outputs=self.up(solution.outputs))

    def residual(self, inputs: Fields, outputs: Fields) -> NDArray[np.float64]:
        """Measure the residual on the case's own grid."""
        return self.fine.residual(inputs, outputs)


def coarser(case: Case, solver: Solver) -> Iterator[Coarse]:
    """Yield solvers on ever coarser grids or meshes, as far as there are any.

    Grids have 1/2, 1/3, ... of the steps, where that divides them and leaves
    `COARSEST`. On periodic axes fields change grids by their Fourier series, on others
    inputs are taken at every second, third, ... node and outputs interpolated linearly.

    Meshes are asked for 1/2, 1/4, ... of the cells along the extent, down to `FEWEST`.
    Inputs on cells become means over coarse cells, those on nodes and outputs are
    interpolated by the elements. What the solver refuses is left out; there is none of
    a solver that is not a dataclass, or that moves its nodes.
    """
    if isinstance(solver, MovesNodes):
        return
    if case.geometry.nests:
        yield from _grids(case, solver)
    elif isinstance(solver, OnMesh):
        yield from _meshes(case, solver)


def on_grid(case: Case, fine: Solver, solver: Solver, factor: int) -> Coarse:
    """A solver for a grid of 1/factor of the steps along every axis."""

    def down(fields: Fields) -> Fields:
        few = {
            v.name: _each_axis(case, v, fields[v.name], factor, _down)
            for v in case.inputs
        }
        return {**fields, **few}

    def up(fields: Fields) -> Fields:
        return {
            v.name: _each_axis(case, v, fields[v.name], factor, _up)
            for v in case.outputs
        }

    return Coarse(factor, solver, fine, down, up)


def on_mesh(case: Case, fine: OnMesh, solver: OnMesh, factor: int) -> Coarse:
    """A solver for a coarser mesh of the same domain.

    Raises:
        OpkitInputError: meshes of different domains, or a coarse cell without a fine
            one.
    """
    points, cells = fine.mesh()
    few, large = solver.mesh()
    to_cells = _means(points, cells, few, large)
    to_nodes = interpolation(points, cells, few)
    back = interpolation(few, large, points)

    def down(fields: Fields) -> Fields:
        few = {
            v.name: _apply(to_cells if "cell" in v.dims else to_nodes, fields[v.name])
            for v in case.inputs
        }
        return {**fields, **few}

    def up(fields: Fields) -> Fields:
        return {v.name: _apply(back, fields[v.name]) for v in case.outputs}

    return Coarse(factor, solver, fine, down, up)


def changed(solver: Some, **values: Any) -> Some | None:
    """Return the solver with other parameters; None where it refuses them."""
    try:
        return with_parameters(solver, **values)
    except ValueError:
        return None


def _steps(case: Case) -> list[int]:
    """Grid steps along each axis; a periodic one has as many as points."""
    periodic = (case.periodic[axis] for axis in case.space)
    return [n - (not p) for n, p in zip(case.shape, periodic, strict=True)]


def _coarse_shape(case: Case, factor: int) -> tuple[int, ...]:
    periodic = (case.periodic[axis] for axis in case.space)
    pairs = zip(_steps(case), periodic, strict=True)
    return tuple(n // factor + (not p) for n, p in pairs)


def _grids(case: Case, solver: Solver) -> Iterator[Coarse]:
    steps = _steps(case)
    for factor in range(2, min(steps) // COARSEST + 1):
        if any(n % factor for n in steps):
            continue
        coarse = changed(solver, resolution=_coarse_shape(case, factor))
        if coarse is not None:
            yield on_grid(case, solver, coarse, factor)


def _meshes(case: Case, solver: OnMesh) -> Iterator[Coarse]:
    nodes = len(solver.mesh()[0])
    for power in range(1, (case.shape[0] // FEWEST).bit_length()):
        factor = 2**power
        size = tuple(max(n // factor, 1) for n in case.shape)
        coarse = changed(solver, resolution=size)
        if coarse is None or len(coarse.mesh()[0]) == nodes:
            continue
        nodes = len(coarse.mesh()[0])
        try:
            step = on_mesh(case, solver, coarse, factor)
        except OpkitInputError:
            continue
        yield step


def _means(points: Array, cells: Array, few: Array, large: Array) -> Any:
    """Means over coarse cells of what is constant on fine ones, by volume."""
    corners = points[cells[:, : points.shape[1] + 1]]
    volume = np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1]))
    inside = locate(few, large, corners.mean(axis=1))[0]
    total = np.bincount(inside, volume, len(large))
    if not total.all():
        raise OpkitInputError(
            f"coarse cell {int(np.argmin(total))} holds no cell of the fine mesh"
        )
    entries = (volume / total[inside], (inside, np.arange(len(cells))))
    return sparse.coo_array(entries, shape=(len(large), len(cells))).tocsr()


def _apply(matrix: Any, field: Array) -> Array:
    flat = matrix @ field.reshape(-1, field.shape[-1]).T
    return np.asarray(flat.T.reshape(*field.shape[:-1], matrix.shape[0]))


def _each_axis(
    case: Case,
    variable: Variable,
    field: Array,
    factor: int,
    change: Callable[[Array, int, int, bool], Array],
) -> Array:
    for axis in case.space:
        if axis in variable.dims:
            where = 1 + variable.dims.index(axis)
            field = change(field, where, factor, case.periodic[axis])
    return field


def _down(field: Array, axis: int, factor: int, periodic: bool) -> Array:
    if periodic:
        return np.asarray(resample(field, field.shape[axis] // factor, axis=axis))
    return np.take(field, range(0, field.shape[axis], factor), axis=axis)


def _up(field: Array, axis: int, factor: int, periodic: bool) -> Array:
    if periodic:
        return np.asarray(resample(field, field.shape[axis] * factor, axis=axis))
    u = np.moveaxis(field, axis, -1)
    weight = np.arange(factor) / factor
    left, right = u[..., :-1, None], u[..., 1:, None]
    fine = (left * (1 - weight) + right * weight).reshape(*u.shape[:-1], -1)
    return np.moveaxis(np.concatenate([fine, u[..., -1:]], -1), -1, axis)
