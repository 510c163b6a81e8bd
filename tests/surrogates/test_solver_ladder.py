"""Solvers on coarser grids: what is interpolated, and how errors fall."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from opkit.case import load_case
from opkit.solver_ladder import coarser, solve_coarsely


class Echo:
    """A solver that gives its input back as its output, under another name."""

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
        found = solve_coarsely(case, Echo("pressure"), {"permeability": field}, factor)
        np.testing.assert_allclose(found["pressure"], field, atol=1e-14)


def test_periodic_fields_that_the_coarse_grid_holds_come_back():
    case = load_case("navier-stokes", ("resolution=24",))
    x = np.arange(24) / 24
    field = np.cos(2 * np.pi * 3 * x) * np.sin(2 * np.pi * 5 * x)[:, None]
    initial = {"initial_vorticity": field[None]}
    found = solve_coarsely(case, Echo("vorticity", times=True), initial, 2)
    np.testing.assert_allclose(found["vorticity"][0, 0], field, atol=1e-13)


def test_darcy_on_coarse_grids_converges_to_the_fine_one():
    case = load_case("darcy-lognormal", ("resolution=97",))
    solver = case.build_solver()
    field = solver.sample(np.random.default_rng(0))["permeability"]
    a = {"permeability": field[None]}
    fine = solver.solve(a).outputs["pressure"]
    solvers = dict(coarser(case, solver))
    assert list(solvers) == [2, 3, 4, 6, 8, 12]  # 96 steps, no fewer than 8
    errors = [
        np.linalg.norm(solve_coarsely(case, solvers[k], a, k)["pressure"] - fine)
        for k in (12, 6, 3)
    ]
    # scheme and interpolation are both of second order
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.25)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.25)
    same = solve_coarsely(case, replace(solver), a, 1)["pressure"]
    np.testing.assert_array_equal(same, fine)
