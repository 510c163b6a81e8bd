"""What a solver on a mesh tells operators: nested meshes and Dirichlet nodes."""

from itertools import pairwise

import numpy as np
import pytest

from opkit.elements import interpolation, mass
from opkit.solvers.fem.boundary import Condition
from opkit.solvers.fem.darcy_mesh import DarcyMesh
from opkit.solvers.fem.domains import LShape, NotchedTriangle, Square

ZERO = Condition(kind="dirichlet")
L_SHAPE = {"inner": ZERO, "outer": ZERO}


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("domain", [LShape(), LShape(divisions=3), Square()])
def test_hierarchies_nest(domain, degree):
    """Each coarser mass matrix is P^T M P of the finer one: the spaces nest."""
    boundary = L_SHAPE
    if isinstance(domain, Square):
        boundary = dict.fromkeys(("left", "right", "bottom", "top"), ZERO)
    solver = DarcyMesh(
        resolution=(12,), domain=domain, boundary=boundary, degree=degree
    )
    meshes = [solver.mesh(), *solver.hierarchy()]
    assert len(meshes) >= 3
    for (fine, fine_cells), (coarse, cells) in pairwise(meshes):
        assert len(coarse) < len(fine)
        P = interpolation(coarse, cells, fine)
        galerkin = P.T @ mass(fine, fine_cells) @ P
        assert abs(galerkin - mass(coarse, cells)).max() < 1e-14


def test_resolutions_4_8_16_of_the_l_shape_nest():
    fine = DarcyMesh(resolution=(16,), boundary=L_SHAPE)
    sizes = [len(points) for points, _ in fine.hierarchy()]
    for resolution in (8, 4):
        points, cells = DarcyMesh(resolution=(resolution,), boundary=L_SHAPE).mesh()
        level = sizes.index(len(points))
        np.testing.assert_array_equal(points, fine.hierarchy()[level][0])
        np.testing.assert_array_equal(cells, fine.hierarchy()[level][1])
    assert [len(LShape(divisions=3).mesh(n).points) for n in (4, 8, 16)] == [
        40,
        133,
        481,
    ]


@pytest.mark.fem
@pytest.mark.parametrize("degree", [1, 2])
def test_dirichlet_values_are_those_of_the_solution(degree):
    """Two values meet at the ends of the notch; the third part is Neumann."""
    one, two = (Condition(kind="dirichlet", value=v) for v in (1.0, -2.0))
    free = Condition(kind="neumann", value=0.5)
    sides = {"left": one, "bottom": two, "right": free, "top": two}
    for domain, boundary in (
        (NotchedTriangle(), {"notch": one, "outer": two}),
        (Square(), sides),
    ):
        solver = DarcyMesh(
            resolution=(4,), domain=domain, boundary=boundary, degree=degree
        )
        fixed, values = solver.dirichlet()
        cells = len(solver.simplex_mesh().cells)
        solution = solver.solve({"permeability": np.ones((1, cells))})
        p = solution.outputs["pressure"]
        np.testing.assert_allclose(p[:, fixed], values[:, fixed], rtol=1e-14)
        assert not np.isin(p[:, ~fixed], (1.0, -2.0)).any()
        assert not values[:, ~fixed].any()
