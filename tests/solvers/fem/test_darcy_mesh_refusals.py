"""Darcy flow on meshes: what is refused, and how it is said."""

from collections.abc import Callable

import numpy as np
import pytest

from opkit.case import load_case
from opkit.errors import CaseError, NotConvergedError, OpkitInputError
from opkit.solvers.fem.boundary import Condition
from opkit.solvers.fem.darcy_mesh import DarcyMesh
from opkit.solvers.fem.simplex_mesh import MeshError, build

ZERO = Condition(kind="dirichlet")
CLOSED = Condition(kind="neumann")
Make = Callable[..., DarcyMesh]


@pytest.mark.fem
def test_petsc_giving_up_is_an_error(l_shape: Make) -> None:
    solver = l_shape(32, linear_solver="iterative", max_iterations=2)
    a = solver.sample(np.random.default_rng(0))["permeability"][None]
    with pytest.raises(NotConvergedError, match="in 2 iterations"):
        solver.solve({"permeability": a})


def test_conditions_must_fit_the_boundary(l_shape: Make) -> None:
    a = {"permeability": np.ones((1, len(l_shape(4).simplex_mesh().cells)))}
    for boundary, message in (
        ({"inner": ZERO}, "'outer' has no condition"),
        ({"inner": ZERO, "outer": ZERO, "top": ZERO}, "the mesh has inner, outer"),
        ({"inner": CLOSED, "outer": CLOSED}, "known up to a constant only"),
    ):
        solver = DarcyMesh(resolution=(4,), boundary=boundary)
        with pytest.raises(OpkitInputError, match=message):
            solver.solve(a)


def test_a_loose_component_is_named() -> None:
    points = np.array([(0, 0), (1, 0), (0, 1), (5, 0), (6, 0), (5, 1)], dtype=float)
    mesh = build(
        points, np.array([(0, 1, 2), (3, 4, 5)]), tagged={"held": np.array([(0, 1)])}
    )
    from opkit.solvers.fem.boundary import check_conditions

    with pytest.raises(MeshError, match="component of cell 1 has no Dirichlet part"):
        check_conditions(mesh, {"held": ZERO, "boundary": CLOSED})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a * 0, "above zero; it is 0 in sample 0 at .0."),
        (lambda a: a * np.nan, "NaN"),
        (lambda a: a[:, :-1], "shape"),
        (lambda a: a[0], "shape"),
    ],
)
def test_bad_permeability_is_refused(
    l_shape: Make, change: object, message: str
) -> None:
    solver = l_shape(4)
    a = np.ones((1, len(solver.simplex_mesh().cells)))
    with pytest.raises(OpkitInputError, match=message):
        solver.solve({"permeability": change(a)})


@pytest.mark.parametrize(
    "override",
    [
        "solver.parameters.domain.kind=m-shape",
        "solver.parameters.degree=3",
        "solver.parameters.boundary.outer.kind=robin",
        "distribution.kind=layers",
    ],
)
def test_bad_parameters_are_refused_in_one_line(override: str) -> None:
    with pytest.raises(CaseError) as caught:
        load_case("darcy-mesh", (override,)).build_solver()
    assert "\n" not in str(caught.value)
