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
    plane_strain,
    von_mises,
)
from opkit.solvers.interface import Fields, solver_dataclass
from opkit.solvers.laws import shapes

if TYPE_CHECKING:
    from opkit.solvers.hyperelastic.systems import PlaneStrain

_BOUNDS = 0.5, 3.0
_Stretch = Annotated[float, Field(ge=_BOUNDS[0], le=_BOUNDS[1])]


@solver_dataclass
class HyperelasticCellStrain:
    """Solver of the stretched or compressed incompressible cell.

    Parameters of a sample: ``void`` (10,), coefficients of the void's radius, and
    ``stretch`` () in [0.5, 3]. Fields (node,): ``displacement_x``, ``displacement_y``,
    ``pressure`` (p), ``stress_xx``, ``stress_yy``, ``stress_xy`` (Cauchy), and
    ``von_mises``. Quantity: ``force`` on the top edge, upwards.

    Args:
        resolution: cells outwards and around (a multiple of 4).
        stretches: bounds of the law of λ, uniform.
        load_steps: of the path from rest.
        tolerance: largest relative residual.
        path_tolerance: the same before the full load.
        modulus: μ in Pa.
    """

    resolution: OGridResolution = (8, 40)
    stretches: tuple[_Stretch, _Stretch] = (1.1, 1.7)
    load_steps: Annotated[int, Field(ge=1)] = 4
    tolerance: Annotated[float, Field(ge=1e-12, lt=1)] = 1e-8
    path_tolerance: Annotated[float, Field(ge=1e-12, le=0.1)] = 3e-2
    modulus: Annotated[float, Field(gt=0)] = 2 * (C1 + C2)

    @property
    def grid(self) -> QuadGrid:
        """Numbering of the nodes: outwards, then counter-clockwise."""
        return QuadGrid(*self.resolution, periodic=True)

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw the void, then the stretch."""
        void = shapes.draw_void(rng)
        return {"void": void, "stretch": np.array(rng.uniform(*self.stretches))}

    def points(self, parameters: Fields) -> Array:
        """Nodes (node, 2) of one sample."""
        void = parameter(parameters, "void", (2 * shapes.VOID_MODES,))
        return o_grid(self.grid, shapes.void_radius(void, ray_angles(self.grid)))

    def solve_one(
        self, parameters: Fields, initial: Fields | None = None
    ) -> GridSolution:
        """Solve for one sample.

        Args:
            parameters: ``void`` and ``stretch``.
            initial: fields of a guess: both displacements, and ``pressure``, which is
                recovered by one linear solve where it is missing.

        Raises:
            OpkitInputError: a parameter or a guess that cannot be used.
            NotConvergedError: no solution; names the last stretch reached.
            SolverError: the solution is unstable, it would buckle.
            MissingExtraError: FEniCSx is not installed.
        """
        system, points = self._system(parameters)
        count = newton.Count()
        guess = None if initial is None else self._guess(system, initial, count)
        numerics = newton.Numerics(self.tolerance, self.load_steps, self.path_tolerance)
        state = newton.solve(
            system,
            np.zeros(system.space.size),
            system.plain,
            numerics,
            guess,
            count,
            accept=lambda x: not system.unstable_modes(x),
        )
        if system.unstable_modes(state.x):
            raise SolverError(f"the state at {system.label(1.0)} is unstable: buckling")
        displacement, multiplier = system.space.split(state.x)
        pressure = self.grid.at_nodes(multiplier)
        fields = dict(zip(DISPLACEMENT, displacement, strict=True))
        fields["pressure"] = self.modulus * pressure
        fields |= self._stress(points, displacement, pressure)
        top = np.flatnonzero(points[:, 1] == 1)
        reaction = system.equations.force(state.x)[system.space.vector[1, top]].sum()
        force = {"force": self.modulus * float(reaction)}
        return grid_solution(state, points, fields, force)

    def residual_one(self, parameters: Fields, fields: Fields) -> float:
        """Relative residual of fields, ``pressure`` recovered where it is missing."""
        system, _ = self._system(parameters)
        return system.residual(self._guess(system, fields, newton.Count()), 1.0)

    def _system(self, parameters: Fields) -> tuple[PlaneStrain, Array]:
        points = self.points(parameters)
        stretch = float(parameter(parameters, "stretch", ()))
        if not _BOUNDS[0] <= stretch <= _BOUNDS[1] or stretch == 1:
            raise OpkitInputError(
                f"stretch {stretch:.4g} must be in [{_BOUNDS[0]:g}, {_BOUNDS[1]:g}] "
                "and not 1, where nothing moves"
            )
        system = _system(self.resolution)
        rise = (stretch - 1) * points[:, 1]
        system.prepare(points, stretch, np.stack([np.zeros_like(rise), rise]))
        return system, points

    def _guess(
        self, system: PlaneStrain, initial: Fields, count: newton.Count
    ) -> Array:
        nodes = int(np.prod(self.grid.shape))
        displacement = guess_fields(initial, DISPLACEMENT, nodes)
        if "pressure" in initial:
            pressure = guess_fields(initial, ("pressure",), nodes)[0] / self.modulus
            return system.space.join(displacement, pressure[self.grid.vertices])
        count.linear_solves += 1
        count.factorisations += 1
        return system.with_multiplier(system.space.join(displacement))

    def _stress(self, points: Array, displacement: Array, pressure: Array) -> Fields:
        from opkit.solvers.hyperelastic.systems import VOLUMETRIC

        where = gauss(2)[0]
        F = np.eye(2) + gradients(self.grid, points, displacement, where)
        p = at_points(self.grid, pressure[None], where)[0]
        stress = self.modulus * to_nodes(self.grid, plane_strain(F, p, VOLUMETRIC))
        fields = dict(zip(COMPONENTS, stress[:3], strict=True))
        return {**fields, "von_mises": von_mises(*stress)}


@lru_cache(maxsize=16)
def _system(resolution: tuple[int, int]) -> PlaneStrain:
    from opkit.solvers.hyperelastic.systems import PlaneStrain

    grid = QuadGrid(*resolution, periodic=True)
    points = o_grid(grid, np.full(grid.shape[1], 0.3))
    ends = np.flatnonzero((points[:, 1] == 0) | (points[:, 1] == 1))
    return PlaneStrain(grid, points, (ends, ends))
