"""One fixed linear PDE on [-1, 1]² less holes, with its reference solution.

    c_0 u + c_1 u_x + c_2 u_y + c_3 u_xx + c_4 u_yy = f

as text (`opkit.pde.problem`), such as the benchmark problems of HyPINO. The reference
is the closed form where one is given; else, of elliptic problems, quadratic finite
elements on curved triangles (`finite_elements`), and where y is time, elements and
Radau's method (`time_steps`). The error is estimated from a finer mesh.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from opkit.base.arrays import Array
from opkit.errors import OpkitInputError, SolverError
from opkit.pde import SIDES
from opkit.pde.expressions import read_expression
from opkit.pde.problem import Hole, LinearProblem
from opkit.solvers.interface import (
    Coordinate,
    Fields,
    Sides,
    Solution,
    solver_dataclass,
)

Nodes = Annotated[int, Field(ge=5)]


@solver_dataclass
class LinearPDE:
    """A single problem: every sample is the same.

    Inputs: ``source`` (batch, y, x), the formula f on the grid. Outputs: ``u`` (batch,
    y, x), zero in holes, and ``inside`` (batch, y, x), 1 in the domain and 0 in holes.

    Args:
        resolution: nodes along (y, x), boundary included.
        equation: see `opkit.pde.expressions.read_equation`.
        boundary: see `opkit.pde.problem`.
        source: formula for f.
        holes: what is cut out.
        solution: formula of u, where known.
        cells: finite elements (and steps) along the square's side, without a closed
            form.
        tolerance: largest estimated error (max norm, relative to max |u|).
    """

    resolution: tuple[Nodes, Nodes]
    equation: str
    boundary: str
    source: str | None = None
    holes: tuple[Hole, ...] = ()
    solution: str | None = None
    cells: Annotated[int, Field(ge=8, le=400)] = 60
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-3

    def __post_init__(self) -> None:
        """Check the problem.

        Raises:
            ValueError: the formula of the solution cannot be read, or the problem is
                outside the language or ill-posed.
        """
        _ = self.problem
        if self.solution is not None:
            read_expression(self.solution)

    @property
    def problem(self) -> LinearProblem:
        """The problem without its numerics."""
        return LinearProblem(
            equation=self.equation,
            boundary=self.boundary,
            source=self.source,
            holes=self.holes,
        )

    def coordinates(self) -> Mapping[str, Coordinate]:
        """Node positions along y and x."""
        ny, nx = self.resolution
        return {
            "y": Coordinate(np.linspace(-1.0, 1.0, ny), long_name="y"),
            "x": Coordinate(np.linspace(-1.0, 1.0, nx), long_name="x"),
        }

    def sides(self) -> Sides:
        """The conditions on the sides of the square; those on holes are not told."""
        sides: dict[str, dict[str, str | float]] = {}
        kinds = {"u": "dirichlet", "u_n": "neumann"}
        for part, conditions in self.problem.conditions().items():
            if part not in SIDES:
                continue
            quantity, formula = conditions[0]
            kind = kinds[quantity] if len(conditions) == 1 else "mixed"
            constant = len(conditions) == 1 and not re.search(r"\b[xy]\b", formula.text)
            value = float(formula(0.0, 0.0, np)) if constant else "input"
            sides[part] = {"kind": kind, "value": value}
        return sides

    def sample(self, rng: np.random.Generator) -> Fields:
        """Return the problem's source (y, x); nothing is random."""
        y, x = self._mesh()
        return {"source": self.problem.linear.source(x, y, np)}

    def solve(self, inputs: Fields) -> Solution:
        """Return the reference solution, once for each sample.

        Raises:
            OpkitInputError: the source is not this problem's.
            SolverError: the estimated error is above the tolerance.
            NonFiniteError: source or boundary data are not finite somewhere.
        """
        batch = self._check(inputs)
        u, error, measure = self.reference()
        scale = float(np.abs(u).max()) or 1.0
        if not error <= self.tolerance * scale:
            raise SolverError(
                f"estimated error {error / scale:.1e} of the reference is above the "
                f"tolerance {self.tolerance:.1e}: raise cells"
            )
        shape = (batch, *self.resolution)
        return Solution(
            outputs={
                "u": np.broadcast_to(u, shape).copy(),
                "inside": np.broadcast_to(self.inside(), shape).astype(float),
            },
            error=np.full(batch, error / scale),
            measure=measure,
        )

    def residual(self, inputs: Fields, outputs: Fields) -> Array:
        """Relative L2 distance from the reference, one number a sample."""
        self._check(inputs)
        u, _, _ = self.reference()
        off = (outputs["u"] - u) * self.inside()
        size = float(np.linalg.norm(u)) or 1.0
        return np.asarray(np.linalg.norm(off, axis=(1, 2)) / size)

    def inside(self) -> NDArray[np.bool_]:
        """Which nodes (y, x) lie in the domain, its boundary included."""
        import torch

        from opkit.pde.raster import pixels

        like = torch.zeros((), dtype=torch.float64)
        points = pixels(self.resolution, like)[None]
        mask = self.problem.geometry(like).inside(points)
        return np.asarray(mask.reshape(self.resolution).numpy())

    def reference(self) -> tuple[Array, float, str]:
        """U (y, x), zero in holes; its estimated error in the max norm; its kind."""
        y, x = self._mesh()
        inside = self.inside()
        if self.solution is not None:
            u = np.where(inside, read_expression(self.solution)(x, y, np), 0.0)
            return u, 0.0, "closed form"
        from opkit.solvers.linear_pde.reference import reference

        u, error = reference(self.problem, self.cells, x[inside], y[inside])
        field = np.zeros(self.resolution)
        field[inside] = u
        return field, error, "estimated error (max norm, relative)"

    def _mesh(self) -> tuple[Array, Array]:
        axes = self.coordinates()
        y, x = np.meshgrid(axes["y"].values, axes["x"].values, indexing="ij")
        return y, x

    def _check(self, inputs: Fields) -> int:
        source = np.asarray(inputs["source"], dtype=float)
        expected = self.sample(np.random.default_rng(0))["source"]
        if source.shape[1:] != expected.shape or not np.allclose(
            source, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max()
        ):
            raise OpkitInputError(
                "source is not the one of this problem: take it from sample(), or "
                "state another problem"
            )
        return len(source)
