"""Least values of dear functions: known optima, whatever the model says."""

import numpy as np
import pytest
import torch

import opkit
from opkit.errors import NotConvergedError, OpkitInputError
from opkit.generate import generate
from opkit.optimise import minimise, minimise_function
from opkit.surrogate.surrogate import Surrogate
from opkit.train import train

LOW, HIGH = np.array([-2.0, -1.0]), np.array([2.0, 3.0])
MATRIX, BEST = np.array([[3.0, 0.5], [0.5, 2.0]]), np.array([0.7, 1.2])


def bowl(z: np.ndarray) -> float:
    return 1 + float((z - BEST) @ MATRIX @ (z - BEST))


def exact(z: np.ndarray) -> tuple[float, np.ndarray]:
    return bowl(z), 2 * MATRIX @ (z - BEST)


def biased(z: np.ndarray) -> tuple[float, np.ndarray]:
    d = z - [0.2, 0.6]
    return 1.3 * float(d @ MATRIX @ d), 2.6 * MATRIX @ d


def backwards(z: np.ndarray) -> tuple[float, np.ndarray]:
    return -exact(z)[0], -exact(z)[1]


def broken(z: np.ndarray) -> tuple[float, np.ndarray]:
    return float("nan"), np.full(2, np.nan)


MODELS = {
    "exact": exact, "biased": biased, "backwards": backwards, "broken": broken,
    "none": None,
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_polls_reach_the_optimum_with_any_model(name: str) -> None:
    found = minimise_function(
        bowl, MODELS[name], LOW, HIGH, start=[-1.2, 1.0], budget=300, tolerance=1e-4
    )
    assert found.ended == "radius"
    # no point at 1e-4 of the widths of 4 is better: a few of these steps at most
    np.testing.assert_allclose(found.z, BEST, atol=2e-3)
    assert found.value == bowl(found.z) and found.evaluations == len(found.history)
    assert np.all(np.diff(found.history) <= 0)


def test_a_good_model_saves_evaluations() -> None:
    """Rosenbrock's valley, whose least value 0 is at (1, 1)."""

    def valley(z: np.ndarray) -> float:
        return float(100 * (z[1] - z[0] ** 2) ** 2 + (1 - z[0]) ** 2)

    def model(z: np.ndarray) -> tuple[float, np.ndarray]:
        bend = z[1] - z[0] ** 2
        slope = [-400 * z[0] * bend - 2 * (1 - z[0]), 200 * bend]
        return valley(z), np.array(slope)

    start = np.array([-1.2, 1.0])
    found = minimise_function(valley, model, LOW, HIGH, start=start, poll=False)
    np.testing.assert_allclose(found.z, 1, atol=1e-3)
    assert found.evaluations <= 20 and found.ended == "model"
    alone = minimise_function(valley, None, LOW, HIGH, start=start, budget=100)
    assert alone.value > 1  # no axis lies along the valley: polls stop on its slope


@pytest.mark.parametrize("name", ["none", "biased", "exact"])
def test_constraints_hold_and_bind(name: str) -> None:
    """min (z-z*)ᵀA(z-z*) on z_0 + z_1 >= 2.5: z* + λ A⁻¹1 by Lagrange."""

    def spare(z: np.ndarray) -> np.ndarray:
        return z.sum() - 2.5

    inverse = np.linalg.inv(MATRIX).sum(1)
    known = BEST + (2.5 - BEST.sum()) / inverse.sum() * inverse
    found = minimise_function(
        bowl, MODELS[name], LOW, HIGH, start=[-1.2, 1.0], constraint=spare, budget=200
    )
    assert spare(found.z) > -1e-7
    # flat along the constraint: 1e-3 of the widths of 4, and a few of these steps
    np.testing.assert_allclose(found.z, known, atol=1e-2)


def test_points_without_a_value_are_left_alone() -> None:
    def half(z: np.ndarray) -> float:
        return bowl(z) if z[0] <= 0.5 else float("nan")

    found = minimise_function(half, exact, LOW, HIGH, start=[-1.0, 0.0], budget=300)
    # on z_0 = 1/2 the least is at z_1 = 1.2 + 0.2 · 0.5 / 2
    np.testing.assert_allclose(found.z, [0.5, 1.25], atol=3e-2)
    assert np.isfinite(found.value)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(OpkitInputError, match="low < high"):
        minimise_function(bowl, None, HIGH, LOW)
    with pytest.raises(OpkitInputError, match="radius"):
        minimise_function(bowl, None, LOW, HIGH, radius=2.0)
    with pytest.raises(OpkitInputError, match="start"):
        minimise_function(bowl, None, LOW, HIGH, start=np.zeros(3))
    with pytest.raises(OpkitInputError, match="constraint"):
        minimise_function(bowl, None, LOW, HIGH, constraint=lambda z: -1 - z @ z)
    with pytest.raises(OpkitInputError, match="inf at the start"):
        minimise_function(lambda z: float("nan"), None, LOW, HIGH)


@pytest.fixture(scope="module")
def rod(tmp_path_factory: pytest.TempPathFactory) -> Surrogate:
    """Darcy flow whose log-permeability has two numbers."""
    folder = tmp_path_factory.mktemp("optimise")
    small = (
        "resolution=9",
        "solver.parameters.terms=2",
        "parameters.coefficients.size=2",
    )
    sizes = ("samples.train=30", "samples.validation=8", "samples.test=0")
    case = opkit.load_case("darcy-parametric", (*small, *sizes))
    data = generate(case, folder / "data.h5")
    train(data, folder / "run", operator="pod-gp", device="cpu")
    return opkit.load(folder / "run")


def near(outputs, inputs) -> torch.Tensor:
    """How far the pressure is from that of the coefficients (0.5, -0.3)."""
    return (outputs["pressure"] - near.target).square().sum().sqrt()


def test_a_surrogate_finds_what_the_solver_confirms(rod: Surrogate) -> None:
    solver = rod.context.case_solver.solver
    known = np.array([0.5, -0.3])
    truth = solver.solve({"coefficients": known[None]}).outputs["pressure"][0]
    near.target = torch.tensor(truth)
    vary = {"coefficients": (-1.5, 1.5)}
    best = minimise(rod, near, vary, poll=True, budget=60, tolerance=1e-3)
    # 1e-3 of the width of 3, and a few of these steps
    np.testing.assert_allclose(best.inputs["coefficients"], known, atol=2e-2)
    again = solver.solve({"coefficients": best.inputs["coefficients"][None]})
    np.testing.assert_allclose(
        best.outputs["pressure"], again.outputs["pressure"][0], atol=1e-7
    )
    assert best.value == pytest.approx(
        float(near({"pressure": torch.tensor(best.outputs["pressure"])}, {}))
    )
    assert best.solves == len(best.history) <= 60


def test_inputs_of_a_design_are_checked(rod: Surrogate, monkeypatch) -> None:
    near.target = torch.zeros(9, 9)
    with pytest.raises(OpkitInputError, match="Did you mean 'coefficients'"):
        minimise(rod, near, {"coefficient": None})
    with pytest.raises(OpkitInputError, match="each of coefficients in one"):
        minimise(rod, near, {"coefficients": (-1, 1)}, {"reynolds": 3.0})
    with pytest.raises(OpkitInputError, match=r"shape \(2,\)"):
        minimise(rod, near, {"coefficients": ([-1, -1, -1], 1)})
    with pytest.raises(OpkitInputError, match="one number"):
        minimise(rod, lambda u, z: u["pressure"], {"coefficients": (-1, 1)})

    def fails(*_: object) -> None:
        raise NotConvergedError("stopped")

    monkeypatch.setattr(type(rod.context.case_solver.solver), "solve_from", fails)
    with pytest.raises(OpkitInputError, match="inf at the start"):
        minimise(rod, near, {"coefficients": (-1, 1)})
