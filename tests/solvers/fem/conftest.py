"""Solvers and names that several modules of tests share."""

from collections.abc import Callable

import numpy as np
import pytest

from opkit.solvers.fem.boundary import Condition
from opkit.solvers.fem.darcy_mesh import DarcyMesh


@pytest.fixture
def l_shape() -> Callable[..., DarcyMesh]:
    """Darcy flow on the L with p = 0 all around."""
    boundary = {name: Condition(kind="dirichlet") for name in ("inner", "outer")}

    def make(cells: int, **parameters: object) -> DarcyMesh:
        return DarcyMesh(resolution=(cells,), boundary=boundary, **parameters)

    return make


@pytest.fixture
def pressure() -> Callable[[DarcyMesh, np.ndarray], np.ndarray]:
    """The pressure of one permeability."""

    def solve(solver: DarcyMesh, a: np.ndarray) -> np.ndarray:
        return solver.solve({"permeability": a[None]}).outputs["pressure"][0]

    return solve
