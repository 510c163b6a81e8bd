"""Discrete equations of incompressible rubber in the plane, in dolfinx.

Plane stress minimises ∫ w(F) dx - ∫ t·u ds over displacements. Plane strain seeks the
saddle point of

    ∫ (|F|² - 2) / 2 - ln J + κ (J - 1)² / 2 - p (J - 1) dx,   J = det F,

in units of μ = 2 (C1 + C2). The exact J is 1, so the terms in ln J and κ change
nothing there; without them Taylor-Hood elements buckle in compression where rubber does
not (Auricchio et al., Comput. Methods Appl. Mech. Eng. 199 (2010) 314).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from opkit.base.arrays import Array, Indices
from opkit.solvers.fem.quads.grids import QuadGrid
from opkit.solvers.fem.quads.space import Equations, GridSystem, QuadSpace, projection
from opkit.solvers.fem.stack import PETSc, fem, ufl
from opkit.solvers.hyperelastic.stress import C1, C2

VOLUMETRIC = 5.0  # κ; 3 is too little at stretch 0.8, 40 doubles the iterations


class PlaneStress(GridSystem):
    """A sheet under a dead traction, in units of C1 + C2.

    Args:
        grid: topology.
        points: (node, 2) of any sample.
        clamped: nodes at which each component of the displacement is 0.
        pulled: says which boundary points (3, n) carry the traction.
        share: C2 / (C1 + C2).
    """

    def __init__(
        self,
        grid: QuadGrid,
        points: Array,
        clamped: tuple[Indices, Indices],
        pulled: Callable[[Array], NDArray[np.bool_]],
        share: float = C2 / (C1 + C2),
    ) -> None:
        space = QuadSpace(grid, points, mixed=False)
        u, test = space.state, ufl.TestFunction(space.space)
        F = ufl.Identity(2) + ufl.grad(u)
        C, square = ufl.inner(F, F), ufl.det(F) ** 2
        energy = (1 - share) * (C + 1 / square - 3) + share * (square + C / square - 3)
        self._traction = fem.Constant(space.domain, PETSc.ScalarType((0.0, 0.0)))
        form = ufl.derivative(energy * space.dx, u, test)
        form -= ufl.inner(self._traction, test) * space.boundary_measure(pulled)
        fixed = np.concatenate([space.vector[k, clamped[k]] for k in (0, 1)])
        super().__init__(space, Equations(space, form, fixed, symmetric=True))
        self._load = np.zeros(2)
        self._unit = 1.0

    def prepare(self, points: Array, traction: Array, unit: float) -> None:
        """Move to a sample: traction (2,) and C1 + C2 in the same unit."""
        self._load, self._unit = traction / unit, unit
        self.place(points, np.zeros(self.space.size))

    def set_load(self, load: float) -> None:
        """Scale the traction."""
        self._traction.value = load * self._load

    def label(self, load: float) -> str:
        """The traction in words."""
        return f"traction {load * self._unit * np.linalg.norm(self._load):.4g}"


class PlaneStrain(GridSystem):
    """A block whose lower and upper ends move apart, in units of μ.

    Args:
        grid: topology.
        points: (node, 2) of any sample.
        moved: nodes at which each component of the displacement is given.
    """

    def __init__(
        self, grid: QuadGrid, points: Array, moved: tuple[Indices, Indices]
    ) -> None:
        space = QuadSpace(grid, points, mixed=True)
        u, p = ufl.split(space.state)
        F = ufl.Identity(2) + ufl.grad(u)
        J = ufl.det(F)
        energy = 0.5 * (ufl.inner(F, F) - 2) - ufl.ln(J) - p * (J - 1)
        energy += 0.5 * VOLUMETRIC * (J - 1) ** 2
        test = ufl.TestFunction(space.space)
        form = ufl.derivative(energy * space.dx, space.state, test)
        fixed = np.concatenate([space.vector[k, moved[k]] for k in (0, 1)])
        super().__init__(space, Equations(space, form, fixed, symmetric=True))
        tangent = projection(space, J * ufl.inv(F).T)
        self.multiplier = Equations(space, form, fixed, True, tangent)
        self._stretch = 1.0

    def prepare(self, points: Array, stretch: float, plain: Array) -> None:
        """Move to a sample: the stretch, and a displacement (2, node) with its ends."""
        self._stretch = stretch
        self.place(points, self.space.join(plain))

    def values(self, load: float) -> Array:
        """Displacements of the ends, in proportion to the load."""
        return load * super().values(load)

    def label(self, load: float) -> str:
        """The stretch in words."""
        return f"stretch {1 + load * (self._stretch - 1):.4g}"
