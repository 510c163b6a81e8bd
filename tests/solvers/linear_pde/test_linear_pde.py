"""Fixed linear PDEs: references against closed forms, and the cases of HyPINO."""

import numpy as np
import pytest

from opkit.case import load_case
from opkit.errors import OpkitInputError, SolverError
from opkit.solvers.linear_pde.solver import LinearPDE

CLOSED = ("hypino-heat", "hypino-helmholtz", "hypino-wave")
COMPUTED = (
    "hypino-helmholtz-holes",
    "hypino-poisson-disks",
    "hypino-poisson-gaussians",
    "hypino-poisson-l-shape",
)


def solve(solver):
    sample = {k: v[None] for k, v in solver.sample(np.random.default_rng(0)).items()}
    return sample, solver.solve(sample)


@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms_solve_their_equation(name):
    # Second differences on a fine grid: error h² / 12 of the fourth derivatives.
    case = load_case(name, ("resolution=1025",))
    solver = case.build_solver()
    sample, solution = solve(solver)
    u, f = solution.outputs["u"][0], sample["source"][0]
    h = 2 / 1024
    c = solver.problem.linear.coefficients
    inner = (slice(1, -1), slice(1, -1))
    applied = (
        c[0] * u[inner]
        + c[1] * (u[1:-1, 2:] - u[1:-1, :-2]) / (2 * h)
        + c[2] * (u[2:, 1:-1] - u[:-2, 1:-1]) / (2 * h)
        + c[3] * (u[1:-1, 2:] - 2 * u[inner] + u[1:-1, :-2]) / h**2
        + c[4] * (u[2:, 1:-1] - 2 * u[inner] + u[:-2, 1:-1]) / h**2
    )
    # The steepest, sin 4πy, has |u_yyyy| = (4π)⁴: h² / 12 of it is 8e-3.
    assert np.abs(applied - f[inner]).max() < 2e-2
    assert solution.error == 0


def test_boundary_values_of_closed_forms():
    heat = load_case("hypino-heat", ("resolution=65",)).build_solver()
    u = solve(heat)[1].outputs["u"][0]
    x = np.linspace(-1, 1, 65)
    np.testing.assert_allclose(u[:, [0, -1]], 0, atol=1e-15)
    np.testing.assert_allclose(u[0], np.sin(np.pi * (x + 1) / 2), atol=1e-15)


def exact(**options):
    """LinearPDE with a closed form, and the same by finite elements."""
    formula = options.pop("formula")
    with_form = LinearPDE(resolution=(33, 33), solution=formula, **options)
    return with_form, LinearPDE(resolution=(33, 33), tolerance=0.1, **options)


DISK = {"kind": "disk", "centre": (0.2, -0.1), "radius": 0.35}
CORNER = {"kind": "rectangle", "lower": (0.0, 0.0), "upper": (1.0, 1.0)}
TRIANGLE = {"kind": "polygon", "vertices": ((-0.5, -0.4), (0.3, -0.4), (-0.1, 0.4))}


@pytest.mark.parametrize("holes", [(), (DISK,), (CORNER,), (TRIANGLE,)])
def test_finite_elements_converge_to_a_manufactured_solution(holes):
    # u = sin(2x + y) cos(y): second-order in all terms, smooth up to the boundary.
    form = "sin(2*x + y)*cos(y)"
    closed, computed = exact(
        equation="-u_xx - 2*u_yy + 0.5*u_x - u_y + u = f",
        source=(
            "4*sin(2*x+y)*cos(y) + 2*(2*sin(2*x+y)*cos(y) + 2*cos(2*x+y)*sin(y))"
            "+ 0.5*2*cos(2*x+y)*cos(y) - (cos(2*x+y)*cos(y) - sin(2*x+y)*sin(y))"
            "+ sin(2*x+y)*cos(y)"
        ),
        boundary=f"u = {form} on all",
        holes=holes,
        formula=form,
        cells=16,
    )
    u = closed.reference()[0]
    values, estimate, _ = computed.reference()
    error = np.abs(values - u).max()
    assert error < 1e-3
    # Third order: the finer mesh's error is about 0.4 of the difference of the two.
    assert error < 1.5 * estimate
    finer = LinearPDE(**{**vars(computed), "cells": 32}).reference()[0]
    assert np.log2(error / np.abs(finer - u).max()) > 2.4


def test_annulus_of_the_logarithm():
    # u = log r on the square less a disk around 0: harmonic, curved boundary.
    radius = 0.3
    solver = LinearPDE(
        resolution=(65, 65),
        equation="u_xx + u_yy = 0",
        boundary="u = 0.5*log(x**2 + y**2) on all",
        holes=({"kind": "disk", "centre": (0.0, 0.0), "radius": radius},),
        cells=40,
    )
    u, estimate, _ = solver.reference()
    y, x = np.meshgrid(np.linspace(-1, 1, 65), np.linspace(-1, 1, 65), indexing="ij")
    inside = solver.inside()
    error = np.abs(u - 0.5 * np.log(x**2 + y**2 + ~inside))[inside].max()
    assert error < 1e-4
    assert error < 2 * estimate


def test_l_shape_has_the_known_maximum():
    # -Δu = 1 on the L-shape of three unit squares: torsion function, max 0.1494.
    solver = load_case("hypino-poisson-l-shape", ("resolution=201",)).build_solver()
    solution = solve(solver)[1]
    assert abs(solution.outputs["u"].max() - 0.1494) < 2e-4
    assert solution.error < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPUTED)
def test_references_reach_their_tolerance(name):
    solver = load_case(name).build_solver()
    sample, solution = solve(solver)
    assert solution.error <= solver.tolerance
    assert solver.residual(sample, solution.outputs) == 0


def test_holes_are_masked():
    solver = load_case("hypino-poisson-disks", ("resolution=41",)).build_solver()
    inside = solver.inside()
    # Four disks of radius 0.2: area 4π · 0.04 of 4; counting errs by the perimeter.
    assert abs((1 - inside.mean()) - 0.04 * np.pi) < 0.02
    assert inside[:, 0].all() and inside[0].all()


def test_the_removed_quadrant_is_outside_up_to_the_sides():
    solver = load_case("hypino-poisson-l-shape", ("resolution=41",)).build_solver()
    inside = solver.inside()
    assert not inside[21:, 21:].any()
    assert inside[:21].all() and inside[:, :21].all()


def test_a_tolerance_that_is_not_reached_is_refused():
    solver = LinearPDE(
        resolution=(17, 17),
        equation="-u_xx - u_yy = 1",
        boundary="u = 0 on all",
        cells=8,
        tolerance=1e-9,
    )
    with pytest.raises(SolverError, match="raise cells"):
        solve(solver)


def test_foreign_sources_are_refused():
    solver = load_case("hypino-heat", ("resolution=17",)).build_solver()
    with pytest.raises(OpkitInputError, match="not the one of this problem"):
        solver.solve({"source": np.ones((1, 17, 17))})


def test_problems_in_time_without_closed_form_are_solved():
    # The heat equation of one mode: cos(πx/2) exp(-π²(y + 1)/4).
    solver = LinearPDE(
        resolution=(17, 17),
        equation="u_y - u_xx = 0",
        boundary="u = 0 on left, right; u = cos(pi*x/2) on bottom",
        cells=16,
    )
    _, solution = solve(solver)
    y, x = np.meshgrid(np.linspace(-1, 1, 17), np.linspace(-1, 1, 17), indexing="ij")
    exact = np.cos(np.pi * x / 2) * np.exp(-(np.pi**2) / 4 * (y + 1))
    error = np.abs(solution.outputs["u"][0] - exact).max()
    assert error < 1e-5
    # Fourth order: the finer grid's error is about a quarter of the difference.
    assert error < solution.error[0]
