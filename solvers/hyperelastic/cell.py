"""A sheet of rubber with a void, pulled: incompressible plane stress.

    ∇·P = 0 in Ω,   P = ∂w/∂F,   w = C1 (I1 - 3) + C2 (I2 - 3),   F = 1 + ∇u,
    I1 = |F|² + J⁻²,   I2 = J² + |F|² J⁻²,   J = det F,
    u = 0 at y = 0,   P n = (0, t) at y = 1,   P n = 0 on the sides and the void,

Ω: the unit square less a void (`shapes.void_radius`); t: traction, on the undeformed
area. The thickness follows from incompressibility, λ3 = 1 / J, so there is no pressure.
t = 100 Pa (the published benchmark of Geo-FNO) is a linear problem, strains are 1e-4;
t = 4e4 Pa is not. Q2 elements.
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
    plane_stress,
    von_mises,
)
from opkit.solvers.hyperelastic.voids import CellSolver, stable
from opkit.solvers.interface import solver_dataclass

if TYPE_CHECKING:
    from opkit.solvers.hyperelastic.systems import PlaneStress

_LIMIT = 1e6


@solver_dataclass
class HyperelasticCell(CellSolver):
    """Solver of the pulled cell with a void, fields on (y, x) = (outwards, around).

    Numbers of a sample: ``void`` (10,), coefficients of the void's radius, and
    ``traction`` (), t in Pa. Outputs: ``displacement_x``, ``displacement_y``,
    ``stress_xx``, ``stress_yy``, ``stress_xy`` (Cauchy, Pa), ``von_mises`` (Pa).
    Detail: ``elongation``, the mean upward displacement of the top edge.

    Args:
        resolution: see `GridSolver`; (17, 80) are 8 cells outwards and 40 around.
        traction: t in Pa where a sample has none, at most 1e6.
        load_steps: see `GridSolver`.
        rtol: see `GridSolver`.
        path_tolerance: see `GridSolver`.
        c1: C1 in Pa.
        c2: C2 in Pa.
    """

    outputs = (*DISPLACEMENT, *COMPONENTS, "von_mises")
    state = DISPLACEMENT

    traction: Annotated[float, Field(ge=-_LIMIT, le=_LIMIT)] = 4e4
    path_tolerance: Annotated[float, Field(ge=1e-12, le=0.1)] = 3e-2
    c1: Annotated[float, Field(gt=0)] = C1
    c2: Annotated[float, Field(ge=0)] = C2

    def parameters(self) -> Mapping[str, tuple[int, ...]]:
        """Void and traction."""
        return {**super().parameters(), "traction": ()}

    def own(self) -> Mapping[str, float]:
        """The traction."""
        return {"traction": self.traction}

    def solve_one(self, sample: Values, initial: Values | None = None) -> GridSolution:
        """Solve for one sample.

        Args:
            sample: its numbers.
            initial: both displacements (node,) of a guess.

        Raises:
            OpkitInputError: a number that cannot be used.
            NotConvergedError: no solution; names the last traction reached.
            SolverError: the solution is unstable, it would buckle.
            MissingExtraError: FEniCSx is not installed.
        """
        system, points = self._system(sample)
        state = newton.solve(
            system,
            system.plain,
            system.plain,
            self._numerics(),
            None if initial is None else self._guess(system, initial),
            accept=lambda x: not system.unstable_modes(x),
        )
        displacement = system.space.split(stable(system, state).x)[0]
        F = np.eye(2) + gradients(self.grid, points, displacement, gauss(2)[0])
        stress = to_nodes(self.grid, plane_stress(F, self.c1, self.c2))
        fields = dict(zip(DISPLACEMENT, displacement, strict=True))
        fields |= dict(zip(COMPONENTS, stress, strict=True))
        fields["von_mises"] = von_mises(*stress)
        top = points[:, 1] == 1
        elongation = float(displacement[1, top].mean())
        return grid_solution(state, points, fields, {"elongation": elongation})

    def at_gauss_points(self, solution: GridSolution, order: int = 3) -> Values:
        """Stress at Gauss points, as the published clouds hold it.

        Args:
            solution: of `solve_one`.
            order: points in each direction of a cell; 3 and resolution (7, 72) give
                972 points.

        Returns:
            ``points`` (q, 2), the components of the stress and ``von_mises`` (q,).
        """
        where = gauss(order)[0]
        displacement = np.stack([solution.fields[name] for name in DISPLACEMENT])
        F = np.eye(2) + gradients(self.grid, solution.points, displacement, where)
        stress = plane_stress(F, self.c1, self.c2).reshape(-1, 3).T
        place = at_points(self.grid, solution.points.T, where).reshape(2, -1).T
        names = dict(zip(COMPONENTS, stress, strict=True))
        return {"points": place, **names, "von_mises": von_mises(*stress)}

    def residual_one(self, sample: Values, fields: Values) -> float:
        """Residual of a displacement, relative to the load."""
        system, _ = self._system(sample)
        return system.residual(self._guess(system, fields), 1.0)

    def _system(self, sample: Values) -> tuple[PlaneStress, Array]:
        points, unit = self.nodes(sample), self.c1 + self.c2
        traction = float(sample["traction"])
        if not 0 < abs(traction) <= _LIMIT:
            raise OpkitInputError(
                f"traction {traction:.4g} must be in [-{_LIMIT:g}, {_LIMIT:g}] and not "
                "0, which moves nothing"
            )
        system = _system(self.grid, self.c2 / unit)
        system.prepare(points, np.array([0.0, traction]), unit)
        return system, points

    def _guess(self, system: PlaneStress, initial: Values) -> Array:
        return system.space.join(np.stack([initial[name] for name in DISPLACEMENT]))


@lru_cache(maxsize=16)
def _system(grid: QuadGrid, share: float) -> PlaneStress:
    from opkit.solvers.hyperelastic.systems import PlaneStress

    points = o_grid(grid, np.full(grid.shape[1], 0.3))
    bottom = np.flatnonzero(points[:, 1] == 0)
    return PlaneStress(grid, points, (bottom, bottom), lambda x: x[1] > 1 - 1e-9, share)
