"""The user's side of HyPINO: stating, solving, refining, fine-tuning, training."""

import itertools
import math

import numpy as np
import pytest
import torch

import opkit.hypino
from opkit.errors import NonFiniteError, OpkitInputError
from opkit.hypino.ensemble import Ensemble
from opkit.hypino.fine_tune import fine_tune
from opkit.hypino.refine import refine, write
from opkit.hypino.residuals import defect, modal_defect, nothing
from opkit.operators.hypino.network import PRESETS, HyPINO
from opkit.operators.hypino.target import TargetShape, random_target

POISSON = {
    "source": "-2*pi**2*sin(pi*x)*sin(pi*y)",
    "boundary": "u = 0 on all",
}


def mesh(n=33):
    axis = np.linspace(-1, 1, n)
    return np.meshgrid(axis, axis)


def relative(values, exact):
    return np.linalg.norm(values - exact) / np.linalg.norm(exact)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return HyPINO(PRESETS["tiny"])


def test_solve_reaches_the_known_solution_of_poisson():
    u = opkit.hypino.solve(
        "u_xx + u_yy = f", method="network", steps=150, lbfgs_steps=120, **POISSON
    )
    x, y = mesh()
    assert relative(u(x, y), np.sin(np.pi * x) * np.sin(np.pi * y)) < 0.05
    slopes = u.derivatives(x, y)
    assert relative(slopes["u_x"], np.pi * np.cos(np.pi * x) * np.sin(np.pi * y)) < 0.1
    # f - Lu from the values that u itself hands out, against its own residual.
    f = -2 * np.pi**2 * np.sin(np.pi * x) * np.sin(np.pi * y)
    left = f - slopes["u_xx"] - slopes["u_yy"]
    np.testing.assert_allclose(u.residual_at(x, y), left, atol=1e-4)
    assert u.residual < 0.1
    assert u.history[-1] == u.residual


def test_derivatives_are_those_of_the_values():
    u = opkit.hypino.solve("u_xx + u_yy = f", method="network", steps=5, **POISSON)
    x, y = np.array([0.1, -0.4]), np.array([0.3, 0.7])
    h = 1e-2
    exact = u.derivatives(x, y)
    central = (u(x + h, y) - u(x - h, y)) / (2 * h)
    # h² / 6 of the third derivative, and single-precision round-off over 2h.
    np.testing.assert_allclose(central, exact["u_x"], rtol=1e-2, atol=1e-2)


def test_values_outside_the_domain_are_not_numbers(model):
    u = opkit.hypino.solve(
        "u_xx + u_yy = 0",
        boundary="u = 1 on sides; u = 0 on holes",
        holes=[opkit.hypino.Disk(centre=(0.0, 0.0), radius=0.5)],
        model=model,
        method="network",
        refinements=0,
    )
    assert np.isnan(u(0.0, 0.2))
    assert np.isnan(u(1.2, 0.0))
    assert np.isfinite(u(0.9, 0.0))
    assert u(np.zeros((2, 3)), 0.7).shape == (2, 3)


@pytest.mark.parametrize("average", [True, False])
def test_refinement_never_raises_the_residual(model, average):
    # An untrained model's corrections are noise: still the residual may only fall.
    pde = opkit.hypino.PDE("u_xx + u_yy + u = f", "u = x on all", "sin(3*x) + y")
    problem = opkit.hypino.state_problem(pde)
    first = write(model, problem, average=average)
    refined, history = refine(model, problem, first, 3, average)
    assert all(b < a for a, b in itertools.pairwise(history))
    orientations = 8 if average else 1
    assert len(refined.members) == orientations * (len(history) - 1)
    with torch.no_grad():
        norm = float(modal_defect(problem, refined.jet).norm())
    # Single precision, and networks of either sign that cancel.
    assert norm == pytest.approx(history[-1], rel=0.01)


def test_the_modal_residual_is_the_error_in_u():
    # On the square with u = 0, sines are eigenfunctions: any sum of them is measured
    # exactly, whatever its wave numbers.
    pde = opkit.hypino.PDE("u_xx + 3*u_yy - 2*u = f", "u = 0 on all", "0*x")
    problem = opkit.hypino.state_problem(pde, torch.float64)

    def wrong(points):
        one, two = (points[..., k] + 1 for k in range(2))
        jet = points.new_zeros(5, *points.shape[:2])
        for a, m, n in ((0.3, 1, 2), (0.4, 7, 11)):
            p, q = m * math.pi / 2, n * math.pi / 2
            s, t = (p * one).sin(), (q * two).sin()
            slope = (p * (p * one).cos() * t, q * s * (q * two).cos())
            jet += a * torch.stack([s * t, *slope, -p * p * s * t, -q * q * s * t])
        return jet

    # ∫ of sin² sin² over the square is 1, its area 4.
    exact = math.sqrt((0.3**2 + 0.4**2) / 4)
    assert float(modal_defect(problem, wrong).norm()) == pytest.approx(exact, rel=1e-6)
    assert float(defect(problem, wrong).norm()) > 10 * exact  # not by points


def test_the_residual_is_linear_in_the_solution(model):
    pde = opkit.hypino.PDE("u_xx + 2*u_yy = f", "u = 1 on all; ", "x")
    problem = opkit.hypino.state_problem(pde, torch.float64)
    generator = torch.Generator().manual_seed(0)
    target = random_target(TargetShape(8, 1), 1, generator, problem.coefficients)
    empty = defect(problem, nothing)
    once = defect(problem, Ensemble((target,), (1.0,)).jet)
    thrice = defect(problem, Ensemble((target,), (3.0,)).jet)
    torch.testing.assert_close(thrice - empty, 3 * (once - empty))
    # By hand: mean f² = 1/3 over λ², λ = 3 (π/2)² (halved with L), and g² = 1.
    exact = math.sqrt(1 / 3 / (3 * math.pi**2 / 4) ** 2 + 1)
    assert float(empty.norm()) == pytest.approx(exact, rel=0.01)


def test_scaling_the_problem_scales_the_solution(model):
    solutions = [
        opkit.hypino.solve(
            "u_xx + u_yy = f",
            boundary=f"u = {s}*x on all",
            source=f"{s}*y",
            model=model,
            method="network",
            refinements=2,
        )
        for s in (1, 1024)
    ]
    one, many = (u(0.3, -0.2) for u in solutions)
    assert many == pytest.approx(1024 * one, rel=1e-3)  # a power of two: no rounding


def test_scaling_the_operator_changes_nothing(model):
    by_hand = [
        opkit.hypino.solve(
            equation, boundary="u = x on all", model=model, method="network"
        )
        for equation in ("u_xx + u_yy = y", "50*u_xx + 50*u_yy = 50*y")
    ]
    assert by_hand[0](0.3, 0.1) == pytest.approx(by_hand[1](0.3, 0.1), rel=1e-4)


def test_fine_tuning_lowers_the_residual_or_keeps_the_start(model):
    pde = opkit.hypino.PDE(
        "u_y - u_xx = 0", "u = 0 on left, right; u = 1 - x^2 on bottom"
    )
    problem = opkit.hypino.state_problem(pde)
    start = write(model, problem, average=False)
    before = float(defect(problem, start.jet).norm())
    tuned = fine_tune(problem, start, 60, 20)
    assert float(defect(problem, tuned.jet).norm()) < 0.5 * before
    ruined = fine_tune(problem, tuned, 3, 0, learning_rate=10.0)
    assert ruined is tuned


@pytest.mark.parametrize("method", ["both", "elements", "network"])
def test_the_picture_is_drawn(model, tmp_path, method):
    pytest.importorskip("matplotlib")
    u = opkit.hypino.solve(
        "u_xx + u_yy = 1", "u = 0 on all", model=model, method=method
    )
    u.plot(tmp_path / "u.png", resolution=17)
    assert (tmp_path / "u.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"equation": "u_x + u = 0", "boundary": "u = 0 on all"}, "second-order"),
        ({"equation": "u*u_xx = 0", "boundary": "u = 0 on all"}, "nonlinear"),
        ({"equation": "y*u_xx + u_yy = 0", "boundary": "u = 0 on all"}, "variable"),
        ({"equation": "u_xx + u_yy = 0", "boundary": " "}, "no boundary condition"),
        ({"equation": "u_xx + u_yy = 0", "boundary": "u is 0"}, "FORMULA on"),
        ({"equation": "u_xx + u_yy = 0", "boundary": "u = 0 on lid"}, "'lid'"),
        ({"equation": "u_xx + u_yy = 0", "boundary": "u_y = 0 on left"}, "across left"),
        ({"equation": "u_y + u_xx = 0", "boundary": "u = 0 on all"}, "backwards"),
        ({"equation": "u_y - u_xx = 0", "boundary": "u = 0 on all"}, "final time"),
        (
            {"equation": "u_xx + u_yy = 0", "boundary": "u = 0 on all; u = 1 on left"},
            "two conditions",
        ),
        (
            {
                "equation": "u_xx + u_yy = 0",
                "boundary": "u = 0 on all",
                "holes": [opkit.hypino.Disk(centre=(3.0, 0.0), radius=0.5)],
            },
            "outside the domain",
        ),
        (
            {
                "equation": "u_xx + u_yy = 0",
                "boundary": "u = 0 on all",
                "holes": [opkit.hypino.Rectangle(lower=(-0.2, -1.5), upper=(0.2, 1.5))],
            },
            "cut the domain apart",
        ),
    ],
)
def test_bad_problems_are_named_and_refused(options, message):
    with pytest.raises(OpkitInputError, match=message) as caught:
        opkit.hypino.PDE(**options)
    assert "\n" not in str(caught.value)


def test_polygons_must_be_convex():
    with pytest.raises(ValueError, match="convex"):
        opkit.hypino.Polygon(vertices=((0, 0), (1, 0), (0.2, 0.2), (0, 1)))


def test_data_that_are_not_finite_are_refused(model):
    with pytest.raises(NonFiniteError, match="not finite"):
        opkit.hypino.solve("u_xx + u_yy = log(x)", "u = 0 on all", model=model)


def test_no_boundary_with_an_equation_as_text():
    with pytest.raises(OpkitInputError, match="no boundary condition"):
        opkit.hypino.solve("u_xx + u_yy = 0")


def test_holes_as_text():
    disk = opkit.hypino.read_hole("disk 0.1, 0.2, 0.3")
    assert disk == opkit.hypino.Disk(centre=(0.1, 0.2), radius=0.3)
    box = opkit.hypino.read_hole("rectangle 0 0 1 1")
    assert box == opkit.hypino.Rectangle(lower=(0, 0), upper=(1, 1))
    triangle = opkit.hypino.read_hole("polygon 0 0 0.5 0 0 0.5")
    assert len(triangle.vertices) == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "disk 1 2",
        "disk a b c",
        "rectangle 1 1 0 0",
        "polygon 0 0 1",
        "star 1 2 3",
        "disk 0 0 -1",
        "disk 0 0 nan",
        "polygon 0 0 1 0 0.2 0.2 0 1",
    ],
)
def test_other_holes_are_refused_in_one_line(text):
    with pytest.raises(OpkitInputError, match="hole") as caught:
        opkit.hypino.read_hole(text)
    assert "\n" not in str(caught.value)


def test_the_shipped_weights_know_the_heat_equation():
    u = opkit.hypino.solve(
        "u_y - 0.2*u_xx = 0",
        "u = 0 on left, right; u = sin(pi*(x + 1)/2) on bottom",
        method="network",
        refinements=0,
    )
    x, y = mesh(65)
    exact = np.sin(np.pi * (x + 1) / 2) * np.exp(-0.05 * np.pi**2 * (y + 1))
    # Better than the mean of u, for a network that never saw this problem.
    assert relative(u(x, y), exact) < relative(np.full_like(exact, exact.mean()), exact)
    assert len(u.history) == 1


def test_points_that_are_not_finite_are_refused(model):
    u = opkit.hypino.solve("u_xx + u_yy = 1", "u = 0 on all", model=model)
    evaluations = (u, u.error_at, u.network_values, u.derivatives, u.residual_at)
    for values, at in itertools.product(evaluations, (math.nan, math.inf)):
        with pytest.raises(OpkitInputError, match="point 1 is at 0 "):
            values([0.0, 0.0], [0.5, at])
