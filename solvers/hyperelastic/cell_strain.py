"""A block of rubber with a void, stretched or compressed: incompressible plane strain.

    ∇·P = 0,   J = det F = 1 in Ω,   F = 1 + ∇u,   P = μ (F - F⁻ᵀ) - p cof F,
    u = 0 at y = 0,   u = (0, λ - 1) at y = 1,   P n = 0 on the sides and the void,

Ω: the unit square less a void (`shapes.void_radius`); λ: stretch; μ = 2 (C1 + C2) of
the two-term Mooney-Rivlin law, which in plane strain is neo-Hookean, for I1 = I2; p:
multiplier, zero at rest and minus the stress out of the plane. Lengths in cell sizes,
stresses in Pa for the published C1, C2. Q2-Q1 elements (Taylor and Hood).

Between λ = 0.85 and 1.7 solutions converge under refinement. Below about 0.8 they do
not: the void's surface, at twice the strain, comes near the stretch 0.54 at which it
creases (Biot, 1963), and the finer the mesh, the earlier Newton's method fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from opkit.base.arrays import Array
from opkit.errors import OpkitInputError
from opkit.solvers.fem import newton
from opkit.solvers.fem.quads.fields import at_points, gauss, gradients, to_nodes
from opkit.solvers.fem.quads.grids import QuadGrid, o_grid
from opkit.solvers.fem.quads.solution import GridSolution, Values, grid_solution
from opkit.solvers.hyperelastic.stress import (
    C1,
    C2,
    COMPONENTS,
    DISPLACEMENT,
    plane_strain,
    von_mises,
)
from opkit.solvers.hyperelastic.voids import CellSolver, stable
from opkit.solvers.interface import solver_dataclass

if TYPE_CHECKING:
    from opkit.solvers.hyperelastic.systems import PlaneStrain

_BOUNDS = 0.5, 3.0


@solver_dataclass
class HyperelasticCellStrain(CellSolver):
    """Solver of the stretched or compressed cell, on (y, x) = (outwards, around).

    Numbers of a sample: ``void`` (10,), coefficients of the void's radius, and
    ``stretch`` (), λ in [0.5, 3]. Outputs: ``displacement_x``, ``displacement_y``,
    ``pressure`` (p), ``stress_xx``, ``stress_yy``, ``stress_xy`` (Cauchy), and
    ``von_mises``. Detail: ``force`` on the top edge, upwards.

    Args:
        resolution: see `GridSolver`; (17, 80) are 8 cells outwards and 40 around.
        stretch: λ where a sample has none.
        load_steps: see `GridSolver`.
        rtol: see `GridSolver`.
        path_tolerance: see `GridSolver`.
        modulus: μ in Pa.
    """

    outputs = (*DISPLACEMENT, "pressure", *COMPONENTS, "von_mises")
    state = (*DISPLACEMENT, "pressure")

    stretch: Annotated[float, Field(ge=_BOUNDS[0], le=_BOUNDS[1])] = 1.5
    load_steps: Annotated[int, Field(ge=1, le=1000)] = 3
    path_tolerance: Annotated[float, Field(ge=1e-12, le=0.1)] = 3e-2
    modulus: Annotated[float, Field(gt=0)] = 2 * (C1 + C2)

    def parameters(self) -> Mapping[str, tuple[int, ...]]:
        """Void and stretch."""
        return {**super().parameters(), "stretch": ()}

    def own(self) -> Mapping[str, float]:
        """The stretch."""
        return {"stretch": self.stretch}

    def solve_one(self, sample: Values, initial: Values | None = None) -> GridSolution:
        """Solve for one sample.

        Args:
            sample: its numbers.
            initial: of a guess (node,): both displacements, and ``pressure``, which is
                recovered by one linear solve where it is missing.

        Raises:
            OpkitInputError: a number that cannot be used.
            NotConvergedError: no solution; names the last stretch reached.
            SolverError: the solution is unstable, it would buckle.
            MissingExtraError: FEniCSx is not installed.
        """
        system, points = self._system(sample)
        count = newton.Count()
        state = newton.solve(
            system,
            np.zeros(system.space.size),
            system.plain,
            self._numerics(),
            None if initial is None else self._guess(system, initial, count),
            count,
            accept=lambda x: not system.unstable_modes(x),
        )
        displacement, multiplier = system.space.split(stable(system, state).x)
        pressure = self.grid.at_nodes(multiplier)
        fields = dict(zip(DISPLACEMENT, displacement, strict=True))
        fields["pressure"] = self.modulus * pressure
        fields |= self._stress(points, displacement, pressure)
        top = np.flatnonzero(points[:, 1] == 1)
        reaction = system.force(state.x, 1.0)[system.space.vector[1, top]].sum()
        force = {"force": self.modulus * float(reaction)}
        return grid_solution(state, points, fields, force)

    def residual_one(self, sample: Values, fields: Values) -> float:
        """Relative residual of fields, ``pressure`` recovered where it is missing."""
        system, _ = self._system(sample)
        return system.residual(self._guess(system, fields, newton.Count()), 1.0)

    def _system(self, sample: Values) -> tuple[PlaneStrain, Array]:
        points, stretch = self.nodes(sample), float(sample["stretch"])
        if not _BOUNDS[0] <= stretch <= _BOUNDS[1] or stretch == 1:
            raise OpkitInputError(
                f"stretch {stretch:.4g} must be in [{_BOUNDS[0]:g}, {_BOUNDS[1]:g}] "
                "and not 1, where nothing moves"
            )
        system = _system(self.grid)
        rise = (stretch - 1) * points[:, 1]
        system.prepare(points, stretch, np.stack([np.zeros_like(rise), rise]))
        return system, points

    def _guess(
        self, system: PlaneStrain, initial: Values, count: newton.Count
    ) -> Array:
        displacement = np.stack([initial[name] for name in DISPLACEMENT])
        if "pressure" in initial:
            pressure = initial["pressure"][self.grid.vertices] / self.modulus
            return system.space.join(displacement, pressure)
        count.linear_solves += 1
        count.factorisations += 1
        return system.with_multiplier(system.space.join(displacement))

    def _stress(self, points: Array, displacement: Array, pressure: Array) -> Values:
        from opkit.solvers.hyperelastic.systems import VOLUMETRIC

        where = gauss(2)[0]
        F = np.eye(2) + gradients(self.grid, points, displacement, where)
        p = at_points(self.grid, pressure[None], where)[0]
        stress = self.modulus * to_nodes(self.grid, plane_strain(F, p, VOLUMETRIC))
        fields = dict(zip(COMPONENTS, stress[:3], strict=True))
        return {**fields, "von_mises": von_mises(*stress)}


@lru_cache(maxsize=16)
def _system(grid: QuadGrid) -> PlaneStrain:
    from opkit.solvers.hyperelastic.systems import PlaneStrain

    points = o_grid(grid, np.full(grid.shape[1], 0.3))
    ends = np.flatnonzero((points[:, 1] == 0) | (points[:, 1] == 1))
    return PlaneStrain(grid, points, (ends, ends))
