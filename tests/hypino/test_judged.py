"""`opkit solve`: the answer, its error, and the network's distance from it."""

import json
import math
import warnings

import numpy as np
import pytest
import torch
from fixtures.manufactured import DISK, Waves, draw, state

import opkit
import opkit.hypino
from opkit.cli.solve import solve as verb
from opkit.errors import OpkitInputError
from opkit.operators.hypino.network import PRESETS, HyPINO
from opkit.solvers.linear_pde import EigenvalueError
from opkit.solvers.linear_pde.reference import grid

NEAR = {
    "equation": "u_xx + u_yy + 4.9*u = f",
    "source": (
        "(1+x)*(-2*(1-y**2) - 2*(1-x**2) + 4.9*(1-x**2)*(1-y**2)) - 4*x*(1-y**2)"
    ),
    "boundary": "u = 0 on all",
}
SHORT = {
    "equation": "u_xx + u_yy + 100*u = 0",
    "boundary": "u = sin(6*x+1)*cos(8*y) on all",
}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return HyPINO(PRESETS["tiny"])


def test_next_to_an_eigenvalue(capsys):
    with pytest.warns(UserWarning, match=r"0\.71 % from one without inverse"):
        verb(**NEAR, at=["0 0"], json=True)
    printed = json.loads(capsys.readouterr().out)
    value = printed["values"][0]
    assert abs(value["u"] - 1) < value["error"] < 1e-3  # u = (1 + x)(1 - x²)(1 - y²)
    assert printed["error_estimate"] < 1e-3 and printed["method"] == "both"
    assert printed["eigenvalue_distance"] == pytest.approx(0.0348 / 4.9348, rel=0.01)
    # The network, whose residual of 0.02 looked like an answer, is far off, and the
    # bound knows why.
    assert printed["distance"] > 0.2
    assert printed["error_bound"] > abs(value["network"] - 1)


def test_short_waves():
    with (
        pytest.warns(UserWarning, match="from one without inverse"),
        pytest.warns(UserWarning, match="above the tolerance"),
    ):
        u = opkit.solve_pde(SHORT["equation"], SHORT["boundary"], method="elements")
    x, y, _ = grid(u.problem)
    off = np.abs(u(x, y) - np.sin(6 * x + 1) * np.cos(8 * y))
    assert off.max() < u.error_estimate < 5e-3
    assert np.all(off <= u.error_at(x, y))


@pytest.mark.parametrize("method", ["both", "elements", "network"])
def test_at_an_eigenvalue(method, model):
    with pytest.raises(EigenvalueError, match="no unique solution") as caught:
        opkit.solve_pde(
            f"u_xx + u_yy + {math.pi**2 / 2!r}*u = 1",
            "u = 0 on all",
            model=model,
            method=method,
        )
    assert "\n" not in str(caught.value)


def test_the_network_is_judged(model):
    waves = Waves([(1.0, 2.0, 1.0, 0.3)])
    problem = state((0.5, 1.0, -0.7, 1.0, 2.0), waves, ("right", "hole 1"), (DISK,))
    x, y, inside = grid(problem)
    x, y = x[inside], y[inside]
    exact = waves(x, y)
    both = opkit.solve_pde(problem, model=model, tolerance=0.01)
    net = opkit.solve_pde(problem, model=model, method="network", tolerance=0.01)
    assert np.abs(both(x, y) - exact).max() < both.error_estimate < 0.01
    np.testing.assert_allclose(both.network_values(x, y), net(x, y))
    off = net(x, y) - exact
    assert np.abs(off).max() < net.error_estimate < 1.1 * np.abs(off).max()
    assert np.all(np.abs(off) < net.error_at(x, y))
    relative = np.linalg.norm(off) / np.linalg.norm(exact)
    assert both.distance == pytest.approx(relative, rel=1e-3)
    assert net.distance == pytest.approx(relative, rel=1e-2)
    assert (both.residual, both.history) == (net.residual, net.history)
    jet = both.derivatives(0.9, 0.2)
    assert jet["u_x"] == pytest.approx(waves(0.9, 0.2, 1, 0), abs=0.02)
    exactly = net.derivatives(0.9, 0.2)
    h = 1e-2
    slope = (net(0.9 + h, 0.2) - net(0.9 - h, 0.2)) / (2 * h)
    assert slope == pytest.approx(exactly["u_x"], rel=0.02, abs=0.01)


@pytest.mark.parametrize("seed", range(6))
def test_the_bound_of_the_networks_error_holds(model, seed):
    rng = np.random.default_rng(seed)
    while True:
        problem, waves = draw(rng)
        if problem.linear.coefficients[3] * problem.linear.coefficients[4] > 0:
            break
    x, y, inside = grid(problem)
    x, y = x[inside], y[inside]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        u = opkit.solve_pde(problem, model=model, method="network", refinements=0)
    off = float(np.sqrt(np.mean((u(x, y) - waves(x, y)) ** 2)))
    # w is solved on 16 cells and means are taken over a grid: a few per cent.
    assert off < 1.05 * u.error_bound
    assert abs(off - u.error_rms) < 0.1 * off


def test_problems_in_time_have_no_eigenvalue(model):
    u = opkit.solve_pde(
        "u_yy - u_xx = 0",
        "u = 0 on left, right; u = sin(pi*x) on bottom; u_y = 0 on bottom",
        model=model,
    )
    assert u.eigenvalue_distance is None and u.error_bound is None
    assert abs(u(0.5, 0.25) - np.cos(1.25 * np.pi)) < u.error_estimate < 1e-4
    assert u.distance > 0


def test_domains_that_cannot_be_meshed(model):
    options = {
        "boundary": "u = 0 on all",
        "holes": [
            opkit.hypino.Disk(centre=(0.0, 0.0), radius=0.3),
            opkit.hypino.Disk(centre=(0.60001, 0.0), radius=0.3),
        ],
        "model": model,
    }
    with pytest.raises(OpkitInputError, match="more room between them"):
        opkit.solve_pde("u_xx + u_yy = 1", **options)
    with pytest.warns(UserWarning, match="nothing vouches"):
        u = opkit.solve_pde("u_xx + u_yy = 1", method="network", **options)
    assert math.isnan(u.error_estimate) and u.distance is None
    assert np.isfinite(u(0.9, 0.9)) and np.isnan(u.error_at(0.9, 0.9))


def test_the_elements_wrote_no_network():
    u = opkit.solve_pde("u_xx + u_yy = 1", "u = 0 on all", method="elements")
    assert (u.network, u.residual, u.history, u.distance) == (None, None, (), None)
    with pytest.raises(OpkitInputError, match="method='both'"):
        u.network_values(0, 0)


@pytest.mark.parametrize(
    "options", [{"method": "guess"}, {"tolerance": 0.0}, {"tolerance": math.nan}]
)
def test_other_methods_and_tolerances_are_refused(options):
    with pytest.raises(OpkitInputError, match=r"there are both|between 0 and 1"):
        opkit.solve_pde("u_xx + u_yy = 1", "u = 0 on all", **options)


def test_the_verb_solve(tmp_path, capsys):
    options = {"boundary": "u = 0 on all", "hole": ["disk 0 0 0.3"]}
    with pytest.warns(UserWarning, match="no value at 0 0: outside the domain"):
        verb(
            "u_xx + u_yy = 1",
            **options,
            at=["0.5, 0.5", "0 0"],
            out=tmp_path / "u.npz",
            refinements=1,
            steps=2,
            tolerance=1e-3,
            json=True,
        )
    printed = json.loads(capsys.readouterr().out)
    assert printed["residual"] == printed["history"][-1]
    for key in ("error_estimate", "error_rms", "distance", "error_bound", "max_u"):
        assert isinstance(printed[key], float), key
    assert printed["values"][1]["u"] is None  # in the hole
    with np.load(tmp_path / "u.npz") as file:
        assert file["u_xx"].shape == file["error"].shape == (224, 224)
    coarse = {"at": ["0.5 0.5"], "method": "elements", "tolerance": 1e-3}
    verb("u_xx + u_yy = 1", **options, **coarse)
    text = capsys.readouterr().out
    assert "estimated error" in text and "eigenvalue nearest to 0: -" in text
    for wrong, message in (
        ({"at": ["1"]}, "two numbers"),
        ({"out": tmp_path}, "npz"),
        ({"out": tmp_path / "no" / "u.npz"}, "no such folder"),
    ):
        with pytest.raises(OpkitInputError, match=message):
            verb("u_xx + u_yy = 1", boundary="u = 0 on all", **wrong)


def test_the_finest_cells_are_said_to_be_the_finest():
    wave = ("u_xx + u_yy + 100*u = 0", "u = sin(10*x) on all")
    with (
        pytest.warns(UserWarning, match="122 cells are the most there are"),
        pytest.warns(UserWarning, match="from one without inverse"),
    ):
        opkit.solve_pde(*wave, method="elements", cells=122, tolerance=1e-6)


def test_an_eigenvalue_that_finer_cells_tell_from_0():
    """π²/4 (14² + 13²) = 900.6, which 81 cells take for 900 and 122 do not."""
    wave = ("u_xx + u_yy + 900*u = 0", "u = sin(30*x) on all")
    with pytest.raises(EigenvalueError, match="or allow 122 cells"):
        opkit.solve_pde(*wave, method="elements")
    with pytest.warns(UserWarning, match="from one without inverse"):
        u = opkit.solve_pde(*wave, method="elements", cells=122, tolerance=0.5)
    off = abs(u(0.3, 0.2) - np.sin(9.0))
    assert off < u.error_at(0.3, 0.2) < 0.02
