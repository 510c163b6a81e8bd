"""Random linear second-order PDEs on [-1, 1]² less holes, with manufactured solutions.

    c_0 u + c_1 u_x + c_2 u_y + c_3 u_xx + c_4 u_yy = f,   u = g,   ∇u · n = h

u is drawn first (`manufactured_expressions`); f, g and h follow from its closed-form
derivatives, so the solution is exact. Operators, holes and conditions:
`manufactured_operators`, `manufactured_holes`. For streams of problems on tensors see
`manufactured_problems.draw_problems`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from opkit.base.arrays import Array
from opkit.errors import OpkitInputError
from opkit.pde.batch import CHANNELS
from opkit.solvers.interface import (
    Coordinate,
    Fields,
    Sides,
    Solution,
    all_sides,
    solver_dataclass,
)
from opkit.solvers.manufactured.law import ManufacturedDistribution

if TYPE_CHECKING:
    from opkit.pde.batch import Problems

Nodes = Annotated[int, Field(ge=8)]
COEFFICIENTS = tuple(f"coefficient_{name}" for name in ("u", "x", "y", "xx", "yy"))


@solver_dataclass
class Manufactured:
    """Problems with known solutions, one for each draw.

    Inputs: ``draw_high`` and ``draw_low`` (batch,), two integers of 24 bits (exact in
    float32) that determine everything; ``coefficient_u`` … ``coefficient_yy``
    (batch,); ``dirichlet_mask``, ``neumann_mask``, ``dirichlet_values``,
    ``neumann_values``, ``source`` and ``inside`` (batch, y, x). Outputs: ``u`` (batch,
    y, x), also inside holes.

    Args:
        resolution: nodes along (y, x), boundary included.
        distribution: law of operators, solutions, holes and conditions.
    """

    resolution: tuple[Nodes, Nodes]
    distribution: ManufacturedDistribution = ManufacturedDistribution()

    def coordinates(self) -> Mapping[str, Coordinate]:
        """Node positions along y and x; y is time unless the problem is elliptic."""
        ny, nx = self.resolution
        return {
            "y": Coordinate(np.linspace(-1.0, 1.0, ny), long_name="y or time"),
            "x": Coordinate(np.linspace(-1.0, 1.0, nx), long_name="x"),
        }

    def sides(self) -> Sides:
        """Each problem has conditions of its own on every side."""
        return all_sides("mixed", value="input")

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw one problem."""
        draw = int(rng.integers(2**48))
        problems = self._problem(draw)
        grids = problems.grids[0].double().numpy()
        coefficients = problems.coefficients[0].double().numpy()
        return {
            "draw_high": np.array(float(draw >> 24)),
            "draw_low": np.array(float(draw % 2**24)),
            **{k: np.array(v) for k, v in zip(COEFFICIENTS, coefficients, strict=True)},
            **dict(zip(CHANNELS, grids, strict=True)),
            "inside": problems.inside[0].double().numpy(),
        }

    def solve(self, inputs: Fields) -> Solution:
        """Return the manufactured solutions.

        Raises:
            OpkitInputError: the fields do not belong to their draw.
        """
        fields = []
        halves = zip(inputs["draw_high"], inputs["draw_low"], strict=True)
        for k, (high, low) in enumerate(halves):
            draw = (int(high) << 24) + int(low)
            problems = self._problem(draw)
            source = problems.grids[0, 4].numpy()
            if not np.allclose(inputs["source"][k], source, rtol=1e-5, atol=1e-5):
                raise OpkitInputError(
                    f"source of sample {k} is not that of its draw {draw}: take "
                    "inputs from sample() with the same resolution and distribution"
                )
            fields.append(problems.solution_grid[0].numpy())
        return Solution(
            outputs={"u": np.reshape(fields, (len(fields), *self.resolution))},
            error=np.zeros(len(fields)),
            measure="closed form",
        )

    def residual(self, inputs: Fields, outputs: Fields) -> Array:
        """Relative L2 distance in the domain from the manufactured solutions."""
        exact = self.solve(inputs).outputs["u"]
        inside = np.asarray(inputs["inside"])
        off = np.linalg.norm((outputs["u"] - exact) * inside, axis=(1, 2))
        return np.asarray(off / np.linalg.norm(exact * inside, axis=(1, 2)))

    def _problem(self, draw: int) -> Problems:
        import torch

        from opkit.solvers.manufactured.problems import draw_problems

        generator = torch.Generator().manual_seed(draw)
        return draw_problems(
            1,
            self.distribution,
            self.resolution,
            (1024, 256),
            generator,
            dtype=torch.float64,
        )
