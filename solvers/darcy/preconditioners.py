"""Conventional preconditioners of the Darcy equations, by name."""

from __future__ import annotations

from typing import Literal

import numpy as np

from opkit.base.arrays import Array
from opkit.errors import require
from opkit.solvers.darcy.five_point import System, sine_laplacian
from opkit.solvers.krylov import Map

Name = Literal["none", "jacobi", "sine", "multigrid"]
NAMES: tuple[Name, ...] = ("none", "jacobi", "sine", "multigrid")


def preconditioner(name: Name, system: System, mean: float = 1.0) -> Map:
    """Return r -> M⁻¹ r on interior values, symmetric and positive definite.

    Args:
        name: ``none`` is the identity, ``jacobi`` the diagonal, ``sine`` the Laplacian
            times a mean permeability by the fast sine transform, ``multigrid`` one
            black-box V-cycle (extra ``fast``).
        system: the equations.
        mean: permeability that ``sine`` takes for constant.

    Raises:
        MissingExtraError: ``multigrid`` without Numba.
    """
    if name == "none":
        return np.copy
    if name == "jacobi":
        inverse = 1.0 / system.diagonal
        return lambda r: inverse * r
    if name == "sine":
        rows, columns = system.diagonal.shape
        laplacian = sine_laplacian((rows + 2, columns + 2))

        def poisson(r: Array) -> Array:
            z: Array = laplacian.solve(r) / mean
            return z

        return poisson
    require("numba", "fast")
    from opkit.solvers.darcy.multigrid import Multigrid

    return Multigrid(system).solve
