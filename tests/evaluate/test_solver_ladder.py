"""Solvers on coarser grids: what is interpolated, and how errors fall."""

from dataclasses import replace

import numpy as np
import pytest

from opkit.case import load_case
from opkit.evaluate.coarse import coarser, on_grid, on_mesh
from opkit.evaluate.ladder import rungs
from opkit.solvers.interface import Ladder, Solution, Solver


class Echo:
    """A solver that gives its input back as its output, under another name."""

    resolution = (1,)  # whatever: it takes any field

    def __init__(self, name, times=False):
        self.name, self.times = name, times

    def solve(self, inputs):
        (field,) = inputs.values()
        field = field[:, None] if self.times else field
        return Solution({self.name: field}, np.zeros(len(field)))


def test_nodes_are_interpolated_exactly_for_bilinear_fields():
    case = load_case("darcy", ("resolution=[13, 25]",))
    y, x = np.linspace(0, 1, 13)[:, None], np.linspace(0, 1, 25)
    field = (1 + 2 * x - 3 * y + 4 * x * y)[None]
    for factor in (2, 3, 4):
        echo = Echo("pressure")
        step = on_grid(case, echo, echo, factor)
        solution = step.solve({"permeability": field}).outputs
        np.testing.assert_allclose(solution["pressure"], field, atol=1e-14)


def test_periodic_fields_that_the_coarse_grid_holds_come_back():
    case = load_case("navier-stokes", ("resolution=24",))
    x = np.arange(24) / 24
    field = np.cos(2 * np.pi * 3 * x) * np.sin(2 * np.pi * 5 * x)[:, None]
    initial = {"initial_vorticity": field[None]}
    echo = Echo("vorticity", times=True)
    solution = on_grid(case, echo, echo, 2).solve(initial).outputs
    np.testing.assert_allclose(solution["vorticity"][0, 0], field, atol=1e-13)


def test_darcy_on_coarse_grids_converges_to_the_fine_one():
    case = load_case("darcy-lognormal", ("resolution=97",))
    solver = case.build_solver()
    field = solver.sample(np.random.default_rng(0))["permeability"]
    a = {"permeability": field[None]}
    fine = solver.solve(a).outputs["pressure"]
    solvers = {step.factor: step for step in coarser(case, solver)}
    assert list(solvers) == [2, 3, 4, 6, 8, 12]  # 96 steps, no fewer than 8
    errors = [
        np.linalg.norm(solvers[k].solve(a).outputs["pressure"] - fine)
        for k in (12, 6, 3)
    ]
    # scheme and interpolation are both of second order
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.25)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.25)
    # each is a solver itself, of the case's own fields
    assert all(isinstance(step, Solver) for step in solvers.values())
    half = solvers[2]
    assert half.coordinates()["x"].values.shape == (97,)
    own = half.sample(np.random.default_rng(0))["permeability"]
    np.testing.assert_array_equal(own, field)
    assert half.residual(a, {"pressure": fine}).max() <= solver.rtol


def test_tolerances_follow_the_wanted_error():
    case = load_case("darcy", ("resolution=33",))
    solver = case.build_solver()
    found = rungs(case, solver, 0.02)
    labels = [label for label, _ in found]
    assert labels == ["rtol 0.002", "rtol 0.02", "coarse solve 1/2", "coarse solve 1/4"]
    tolerances = [step.rtol for _, step in found[:2]]
    assert tolerances == pytest.approx([2e-3, 2e-2])
    assert found[2][1].solver.rtol == pytest.approx(2e-3)
    # an error below the solver's tolerance asks for no looser one, nor does none
    assert [label[:6] for label, _ in rungs(case, solver, 1e-10)] == ["coarse"] * 2
    assert found[2][1].solver.rtol > solver.rtol
    assert [label for label, _ in rungs(case, solver)] == labels[2:]


class Climbs:
    """A solver that knows its own ladder."""

    coordinates = sample = solve = residual = print

    def cheaper(self):
        return [("fewer load steps", self), ("lower order", self)]


def test_a_solver_that_knows_its_ladder_is_asked():
    case, solver = load_case("darcy", ("resolution=33",)), Climbs()
    assert isinstance(solver, Ladder)
    assert rungs(case, solver, 0.02) == solver.cheaper()


@pytest.fixture
def cantilever():
    return load_case("elastic-cantilever", ("resolution=16",))


class Twice(Echo):
    """Echo on the mesh of another solver, of what lives on nodes."""

    def __init__(self, solver, names):
        self.mesh, self.names = solver.mesh, names

    def solve(self, inputs):
        (cells,) = inputs.values()
        x, y = self.mesh()[0].T
        self.seen = cells
        fields = {name: (1 + 2 * x - 3 * y)[None] for name in self.names}
        return Solution(fields, np.zeros(1))


def test_meshes_keep_linear_outputs_and_the_integrals_of_inputs(cantilever):
    fine = cantilever.build_solver()
    coarse = replace(fine, resolution=(4, 4))
    names = ["displacement_x", "displacement_y"]
    echo = Twice(coarse, names)
    step = on_mesh(cantilever, fine, echo, 4)
    field = np.random.default_rng(0).uniform(1, 2, (2, len(fine.mesh()[1])))
    solution = step.solve({"modulus": field}).outputs
    x, y = fine.mesh()[0].T
    for name in names:
        np.testing.assert_allclose(
            solution[name], (1 + 2 * x - 3 * y)[None], atol=1e-13
        )
    # 16 fine triangles of one size in each coarse one
    assert echo.seen.shape == (2, field.shape[1] // 16)
    np.testing.assert_allclose(echo.seen.mean(1), field.mean(1), rtol=1e-13)
    assert echo.seen.std() < field.std() / 3  # a mean of 16 has a quarter of the spread


def test_elasticity_on_coarse_meshes_converges_to_the_fine_one(cantilever):
    solver = cantilever.build_solver()
    modulus = {"modulus": np.ones((1, len(solver.mesh()[1])))}
    fine = solver.solve(modulus).outputs["displacement_y"]
    steps = {step.factor: step for step in coarser(cantilever, solver)}
    assert [len(s.solver.mesh()[0]) for s in steps.values()] == [33 * 9, 17 * 5]
    errors = [
        np.linalg.norm(steps[k].solve(modulus).outputs["displacement_y"] - fine)
        for k in (4, 2)
    ]
    # second order, against 16 and not the limit: (1/4² - 1/16²) / (1/8² - 1/16²) = 5;
    # the clamp's corners cost some of the order
    assert 3.5 < errors[0] / errors[1] < 5.5
