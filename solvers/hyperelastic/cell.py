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

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from opkit.base.arrays import Array
from opkit.errors import OpkitInputError, SolverError
from opkit.solvers.fem import newton
from opkit.solvers.fem.quads.fields import at_points, gauss, gradients, to_nodes
from opkit.solvers.fem.quads.grids import QuadGrid, o_grid, ray_angles
from opkit.solvers.fem.quads.solution import (
    GridSolution,
    OGridResolution,
    grid_solution,
    guess_fields,
    parameter,
)
from opkit.solvers.hyperelastic.stress import (
    C1,
    C2,
    COMPONENTS,
    DISPLACEMENT,
    plane_stress,
    von_mises,
)
from opkit.solvers.interface import Fields, solver_dataclass
from opkit.solvers.laws import shapes

if TYPE_CHECKING:
    from opkit.solvers.hyperelastic.systems import PlaneStress


@solver_dataclass
class HyperelasticCell:
    """Solver of the pulled cell with a void.

    Parameter of a sample: ``void`` (10,), coefficients of the void's radius. Fields
    (node,): ``displacement_x``, ``displacement_y``, ``stress_xx``, ``stress_yy``,
    ``stress_xy`` (Cauchy, Pa), ``von_mises`` (Pa). Quantity: ``elongation``, the mean
    upward displacement of the top edge.

    Args:
        resolution: cells outwards and around (a multiple of 4).
        traction: t in Pa, at most 1e6.
        load_steps: of the path from rest.
        tolerance: largest relative residual.
        path_tolerance: the same before the full load.
        c1: C1 in Pa.
        c2: C2 in Pa.
    """

    resolution: OGridResolution = (8, 40)
    traction: Annotated[float, Field(ge=-1e6, le=1e6)] = 4e4
    load_steps: Annotated[int, Field(ge=1)] = 1
    tolerance: Annotated[float, Field(ge=1e-12, lt=1)] = 1e-8
    path_tolerance: Annotated[float, Field(ge=1e-12, le=0.1)] = 3e-2
    c1: Annotated[float, Field(gt=0)] = C1
    c2: Annotated[float, Field(ge=0)] = C2

    @property
    def grid(self) -> QuadGrid:
        """Numbering of the nodes: outwards, then counter-clockwise."""
        return QuadGrid(*self.resolution, periodic=True)

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw the coefficients of one void (10,)."""
        return {"void": shapes.draw_void(rng)}

    def points(self, parameters: Fields) -> Array:
        """Nodes (node, 2) of one sample."""
        void = parameter(parameters, "void", (2 * shapes.VOID_MODES,))
        return o_grid(self.grid, shapes.void_radius(void, ray_angles(self.grid)))

    def solve_one(
        self, parameters: Fields, initial: Fields | None = None
    ) -> GridSolution:
        """Solve for one sample.

        Args:
            parameters: ``void``.
            initial: fields of a guess, both displacements.

        Raises:
            OpkitInputError: a parameter or a guess that cannot be used.
            NotConvergedError: no solution; names the last traction reached.
            SolverError: the solution is unstable, it would buckle.
            MissingExtraError: FEniCSx is not installed.
        """
        system, points = self._system(parameters)
        guess = None if initial is None else self._guess(system, initial)
        numerics = newton.Numerics(self.tolerance, self.load_steps, self.path_tolerance)
        state = newton.solve(
            system,
            system.plain,
            system.plain,
            numerics,
            guess,
            accept=lambda x: not system.unstable_modes(x),
        )
        if system.unstable_modes(state.x):
            raise SolverError(f"the state at {system.label(1.0)} is unstable: buckling")
        displacement = system.space.split(state.x)[0]
        F = np.eye(2) + gradients(self.grid, points, displacement, gauss(2)[0])
        stress = to_nodes(self.grid, plane_stress(F, self.c1, self.c2))
        fields = dict(zip(DISPLACEMENT, displacement, strict=True))
        fields |= dict(zip(COMPONENTS, stress, strict=True))
        fields["von_mises"] = von_mises(*stress)
        top = points[:, 1] == 1
        elongation = float(displacement[1, top].mean())
        return grid_solution(state, points, fields, {"elongation": elongation})

    def at_gauss_points(self, solution: GridSolution, order: int = 3) -> Fields:
        """Stress at Gauss points, as the published clouds hold it.

        Args:
            solution: of `solve_one`.
            order: points in each direction of a cell; 3 and resolution (3, 36) give
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

    def residual_one(self, parameters: Fields, fields: Fields) -> float:
        """Residual of a displacement, relative to the load."""
        system, _ = self._system(parameters)
        return system.residual(self._guess(system, fields), 1.0)

    def _system(self, parameters: Fields) -> tuple[PlaneStress, Array]:
        points, unit = self.points(parameters), self.c1 + self.c2
        if self.traction == 0:
            raise OpkitInputError("traction 0 moves nothing: give another")
        system = _system(self.resolution, self.c2 / unit)
        system.prepare(points, np.array([0.0, self.traction]), unit)
        return system, points

    def _guess(self, system: PlaneStress, initial: Fields) -> Array:
        nodes = int(np.prod(self.grid.shape))
        return system.space.join(guess_fields(initial, DISPLACEMENT, nodes))


@lru_cache(maxsize=16)
def _system(resolution: tuple[int, int], share: float) -> PlaneStress:
    from opkit.solvers.hyperelastic.systems import PlaneStress

    grid = QuadGrid(*resolution, periodic=True)
    points = o_grid(grid, np.full(grid.shape[1], 0.3))
    bottom = np.flatnonzero(points[:, 1] == 0)
    return PlaneStress(grid, points, (bottom, bottom), lambda x: x[1] > 1 - 1e-9, share)
