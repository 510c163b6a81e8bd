"""What the solvers of nonlinear problems on quadratic grids have in common.

A sample is a set of numbers: they place the nodes of one structured grid and set the
load. The grid's logical axes y and x run over [0, 1]; where its second direction is
periodic (an O-grid around a void), x = 0 and x = 1 are the same ray. Fields are values
at the nodes of biquadratic elements (batch, y, x).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, ClassVar, TypeVar

import numpy as np
from pydantic import AfterValidator, Field

from opkit.base.arrays import Array
from opkit.errors import OpkitError
from opkit.solvers.fem import newton
from opkit.solvers.fem.quads.grids import QuadGrid
from opkit.solvers.fem.quads.ladder import rungs
from opkit.solvers.fem.quads.solution import GridSolution, Values
from opkit.solvers.inputs import check_counts, checked_field
from opkit.solvers.interface import (
    Coordinate,
    Fields,
    Solution,
    Solver,
    solver_dataclass,
)
from opkit.solvers.per_sample import numbers


def _odd(points: int) -> int:
    if points % 2 == 0:
        raise ValueError(f"{points} points: give an odd number, two per cell and one")
    return points


T = TypeVar("T")
Across = Annotated[int, Field(ge=3, le=2049), AfterValidator(_odd)]
Around = Annotated[int, Field(ge=8, le=8192, multiple_of=8)]


@solver_dataclass
class GridSolver(ABC):
    """Base of the solvers on quadratic grids.

    A subclass names its `outputs`, of which `state` makes up a guess, and fills in
    `grid`, `parameters`, `nodes`, `solve_one` and `residual_one`.

    Args:
        resolution: points along y and x: two for each cell, and one more where the axis
            is not periodic.
        load_steps: of the path from a plain state to the full load.
        rtol: largest relative residual.
        path_tolerance: the same before the full load.
    """

    outputs: ClassVar[tuple[str, ...]] = ()
    state: ClassVar[tuple[str, ...]] = ()
    recovered: ClassVar[tuple[str, ...]] = ("pressure",)
    axes: ClassVar[tuple[str, str]] = ("outwards", "around")
    along_y: ClassVar[bool] = True
    coarser: ClassVar[tuple[tuple[int, int], ...]] = ()

    resolution: tuple[int, int]
    load_steps: Annotated[int, Field(ge=1, le=1000)] = 1
    rtol: Annotated[float, Field(ge=1e-12, lt=1)] = 1e-8
    path_tolerance: Annotated[float, Field(ge=1e-12, le=0.1)] = 1e-2

    @property
    @abstractmethod
    def grid(self) -> QuadGrid:
        """Numbering of the nodes; ``along_y`` says if its first direction is y."""

    @abstractmethod
    def parameters(self) -> Mapping[str, tuple[int, ...]]:
        """Name to shape of the numbers of a sample."""

    def own(self) -> Mapping[str, float]:
        """Numbers that the solver has where a sample has none of that name."""
        return {}

    @abstractmethod
    def nodes(self, sample: Values) -> Array:
        """Nodes (node, 2) of one sample, in the grid's order.

        Raises:
            OpkitInputError: the numbers make no domain.
        """

    @abstractmethod
    def solve_one(self, sample: Values, initial: Values | None = None) -> GridSolution:
        """Solve for one sample, from a guess of fields (node,) if there is one."""

    @abstractmethod
    def residual_one(self, sample: Values, fields: Values) -> float:
        """Relative residual of fields (node,)."""

    def coordinates(self) -> Mapping[str, Coordinate]:
        """The logical axes y and x, from 0 to 1."""
        y, x = (np.linspace(0, 1, n) for n in self.resolution)
        if self.grid.periodic:
            x = np.arange(self.resolution[1]) / self.resolution[1]
        return {
            "y": Coordinate(y, long_name=self.axes[0]),
            "x": Coordinate(x, long_name=self.axes[1]),
        }

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw nothing: a case draws the numbers from its laws."""
        del rng
        return {}

    def points(self, inputs: Fields) -> Array:
        """Where the nodes of each sample lie (batch, y, x, 2)."""
        nodes = self._each(inputs, lambda i, sample: self.nodes(sample))
        placed = [np.moveaxis(self.on_axes(p.T), 0, -1) for p in nodes]
        return np.reshape(placed, (len(nodes), *self.resolution, 2))

    def solve(self, inputs: Fields) -> Solution:
        """Solve for a batch, one sample after the other, along the path of loads.

        Raises:
            OpkitInputError: numbers of a wrong shape, not finite, or without a domain.
            NotConvergedError: no solution; names the last load reached.
            SolverError: the solution is unstable.
            MissingExtraError: FEniCSx is not installed.
        """
        return self.solve_by(inputs, self.solve_one)

    def solve_by(
        self, inputs: Fields, one: Callable[[Values], GridSolution]
    ) -> Solution:
        """Solve for a batch with another function for each sample."""
        return self._solution(self._each(inputs, lambda i, sample: one(sample)))

    def solve_from(self, inputs: Fields, guess: Fields) -> Solution:
        """Solve as `solve` does, by Newton's method from a guess of the outputs.

        A pressure that the guess lacks is recovered; stresses are not looked at. Where
        the guess is of no use, the path of loads is taken.

        Raises:
            OpkitInputError: a guess on another grid, or not finite; else as `solve`.
        """
        fields = self._state(inputs, guess)
        return self._solution(
            self._each(inputs, lambda i, s: self.solve_one(s, fields[i]))
        )

    def residual(self, inputs: Fields, outputs: Fields) -> Array:
        """Relative residual |F| over the |F| of a plain state, one number a sample."""
        fields = self._state(inputs, outputs)
        return np.array(
            self._each(inputs, lambda i, s: self.residual_one(s, fields[i]))
        )

    def cheaper(self) -> Sequence[tuple[str, Solver]]:
        """Label and solver of each rung; see `opkit.solvers.fem.quads.ladder`."""
        return rungs(self, self.coarser)

    def on_axes(self, values: Array) -> Array:
        """Values (..., node) in the grid's order as (..., y, x)."""
        grid: Array = values.reshape(*values.shape[:-1], *self.grid.shape)
        return grid if self.along_y else np.swapaxes(grid, -1, -2)

    def in_order(self, values: Array) -> Array:
        """Values (..., y, x) in the grid's order (..., node)."""
        grid = values if self.along_y else np.swapaxes(values, -1, -2)
        return grid.reshape(*values.shape[:-2], math.prod(self.grid.shape))

    def with_cells(self, cells: tuple[int, int]) -> tuple[int, int]:
        """The resolution that has so many cells along the grid's two directions."""
        shape = QuadGrid(*cells, periodic=self.grid.periodic).shape
        return shape if self.along_y else (shape[1], shape[0])

    def _numerics(self) -> newton.Numerics:
        return newton.Numerics(self.rtol, self.load_steps, self.path_tolerance)

    def _samples(self, inputs: Fields) -> list[dict[str, Array]]:
        """The numbers of each sample, with those that the solver has itself."""
        own = self.own()
        values = {
            name: numbers(inputs, name, shape)
            for name, shape in self.parameters().items()
            if name in inputs or name not in own
        }
        check_counts(**values)
        batch = len(next(iter(values.values())))
        fixed = {name: np.asarray(value) for name, value in own.items()}
        return [
            {**fixed, **{name: np.asarray(v[i]) for name, v in values.items()}}
            for i in range(batch)
        ]

    def _each(
        self, inputs: Fields, make: Callable[[int, dict[str, Array]], T]
    ) -> list[T]:
        samples, results = self._samples(inputs), []
        for i, sample in enumerate(samples):
            try:
                results.append(make(i, sample))
            except OpkitError as error:
                if len(samples) > 1:
                    error.sample = i
                raise
        return results

    def _state(self, inputs: Fields, fields: Fields) -> list[dict[str, Array]]:
        """The fields of each sample that make up a state, in the grid's order."""
        names = [n for n in self.state if n in fields or n not in self.recovered]
        values = {name: checked_field(fields, name, self.resolution) for name in names}
        first = next(iter(self.parameters()))
        check_counts(
            **{first: numbers(inputs, first, self.parameters()[first]), **values}
        )
        ordered = {name: self.in_order(value) for name, value in values.items()}
        batch = len(next(iter(values.values())))
        return [{name: v[i] for name, v in ordered.items()} for i in range(batch)]

    def _solution(self, solved: list[GridSolution]) -> Solution:
        outputs = {
            name: np.ascontiguousarray(
                [self.on_axes(s.fields[name]) for s in solved]
            ).reshape(-1, *self.resolution)
            for name in self.outputs
        }
        counts = {
            "iterations": [s.linear_solves for s in solved],
            "linear_solves": [s.linear_solves for s in solved],
            "factorisations": [s.factorisations for s in solved],
            "load_steps": [s.load_steps for s in solved],
            "from_guess": [s.start in ("guess", "scaled guess") for s in solved],
        }
        quantities = {
            name: [s.quantities[name] for s in solved]
            for name in (solved[0].quantities if solved else ())
        }
        return Solution(
            outputs,
            np.array([s.residual for s in solved], dtype=np.float64),
            "relative residual (Euclidean, over that of a plain state)",
            {k: np.asarray(v, np.float64) for k, v in {**counts, **quantities}.items()},
        )
