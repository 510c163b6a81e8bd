"""Solvers on coarser grids: what is interpolated, and how errors fall."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from opkit.case import load_case
from opkit.evaluate.coarse import (
    coarser,
    on_grid,
    on_mesh,
    uncoarsened,
)


class Echo:
    """A solver that gives its input back as its output, under another name."""

    resolution = (1,)  # whatever: it takes any field

    def __init__(self, name, times=False):
        self.name, self.times = name, times

    def solve(self, inputs):
        (field,) = inputs.values()
        field = field[:, None] if self.times else field
        return SimpleNamespace(outputs={self.name: field})


def test_nodes_are_interpolated_exactly_for_bilinear_fields():
    case = load_case("darcy", ("resolution=[13, 25]",))
    y, x = np.linspace(0, 1, 13)[:, None], np.linspace(0, 1, 25)
    field = (1 + 2 * x - 3 * y + 4 * x * y)[None]
    for factor in (2, 3, 4):
        solution = on_grid(case, Echo("pressure"), factor).solve(
            {"permeability": field}
        )
        np.testing.assert_allclose(solution["pressure"], field, atol=1e-14)


def test_periodic_fields_that_the_coarse_grid_holds_come_back():
    case = load_case("navier-stokes", ("resolution=24",))
    x = np.arange(24) / 24
    field = np.cos(2 * np.pi * 3 * x) * np.sin(2 * np.pi * 5 * x)[:, None]
    initial = {"initial_vorticity": field[None]}
    solution = on_grid(case, Echo("vorticity", times=True), 2).solve(initial)
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
        np.linalg.norm(solvers[k].solve(a)["pressure"] - fine) for k in (12, 6, 3)
    ]
    # scheme and interpolation are both of second order
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.25)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.25)
    same = uncoarsened(case, replace(solver)).solve(a)["pressure"]
    np.testing.assert_array_equal(same, fine)


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
        return SimpleNamespace(outputs=fields)


def test_meshes_keep_linear_outputs_and_the_integrals_of_inputs(cantilever):
    fine = cantilever.build_solver()
    coarse = replace(fine, resolution=(4, 4))
    names = ["displacement_x", "displacement_y"]
    echo = Twice(coarse, names)
    step = on_mesh(cantilever, fine, echo, 4)
    field = np.random.default_rng(0).uniform(1, 2, (2, len(fine.mesh()[1])))
    solution = step.solve({"modulus": field})
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
    assert [step.points for step in steps.values()] == [(33 * 9,), (17 * 5,)]
    errors = [
        np.linalg.norm(steps[k].solve(modulus)["displacement_y"] - fine) for k in (4, 2)
    ]
    # second order, against 16 and not the limit: (1/4² - 1/16²) / (1/8² - 1/16²) = 5;
    # the clamp's corners cost some of the order
    assert 3.5 < errors[0] / errors[1] < 5.5
