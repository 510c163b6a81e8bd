"""Burgers against the Cole-Hopf solution; interface and bad input."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from opkit.case import load_case
from opkit.errors import NotConvergedError, OpkitInputError
from opkit.solvers.burgers import Burgers


def solver(**changes: Any) -> Burgers:
    options: dict[str, Any] = {"viscosity": 0.1, "resolution": (128,), "rtol": 1e-9}
    return Burgers(**{**options, **changes})


def cole_hopf(points: int, viscosity: float, time: float) -> np.ndarray:
    """u = −2ν φₓ/φ with φ = 1 + 0.9 exp(−4π²νt) cos 2πx, which solves φₜ = ν φₓₓ."""
    k = 2 * np.pi
    x = np.arange(points) / points
    decay = 0.9 * np.exp(-(k**2) * viscosity * time)
    return 2 * viscosity * k * decay * np.sin(k * x) / (1 + decay * np.cos(k * x))


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_cole_hopf_solution(device: str) -> None:
    burgers = solver(
        viscosity=0.05, records=3, record_interval=0.1, device=device, rtol=1e-7
    )
    start = cole_hopf(128, 0.05, 0.0)
    solution = burgers.solve({"initial_velocity": start[None]})
    exact = np.stack([cole_hopf(128, 0.05, t) for t in (0.1, 0.2, 0.3)])
    error = np.linalg.norm(solution.outputs["velocity"][0] - exact, axis=1)
    error /= np.linalg.norm(exact, axis=1)
    # the initial tail beyond 2/3 of 64 modes is below 1e-8
    assert (error < solution.error[0] + 1e-8).all()
    assert solution.error[0] <= burgers.rtol


def test_convergence_in_space_is_spectral() -> None:
    errors = []
    for n in (32, 64):
        burgers = solver(resolution=(n,), record_interval=0.3)
        start = cole_hopf(n, 0.1, 0.0)[None]
        result = burgers.solve({"initial_velocity": start}).outputs["velocity"][0, 0]
        errors.append(np.abs(result - cole_hopf(n, 0.1, 0.3)).max())
    assert errors[1] < errors[0] / 2**8


@pytest.mark.parametrize("rtol", [1e-4, 1e-6, 1e-8])
def test_the_error_measure_bounds_the_error(rtol: float) -> None:
    burgers = solver(rtol=rtol, resolution=(64,))
    exact = solver(rtol=1e-11, resolution=(64,))
    inputs = {
        "initial_velocity": burgers.sample(np.random.default_rng(0))[
            "initial_velocity"
        ][None]
    }
    solution = burgers.solve(inputs)
    reference = exact.solve(inputs).outputs["velocity"]
    error = np.linalg.norm(solution.outputs["velocity"] - reference)
    error /= np.linalg.norm(reference)
    assert error < solution.error[0] + 1e-12  # round-off
    assert solution.error[0] <= rtol


def test_the_mean_is_kept_and_energy_falls() -> None:
    burgers = solver(records=4, record_interval=0.25, mean_flow=0.3)
    start = burgers.sample(np.random.default_rng(1))["initial_velocity"]
    records = burgers.solve({"initial_velocity": start[None]}).outputs["velocity"][0]
    np.testing.assert_allclose(records.mean(1), 0.3, rtol=1e-13)
    energy = [(start**2).mean(), *(records**2).mean(1)]
    assert (np.diff(energy) < 0).all()


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 127))
def test_translation_and_reflection(seed: int, shift: int) -> None:
    burgers = solver(rtol=1e-5)
    start = burgers.sample(np.random.default_rng(seed))["initial_velocity"]

    def act(u: np.ndarray) -> np.ndarray:  # x to shift − x, u to −u
        return -np.roll(u[..., ::-1], shift, -1)

    batch = np.stack([start, act(start)])
    result = burgers.solve({"initial_velocity": batch}).outputs["velocity"]
    np.testing.assert_allclose(result[1], act(result[0]), rtol=0, atol=1e-12)


def test_a_sample_does_not_depend_on_its_batch() -> None:
    burgers = solver(rtol=1e-6)
    batch = np.stack(
        [burgers.sample(np.random.default_rng(i))["initial_velocity"] for i in range(5)]
    )
    whole = burgers.solve({"initial_velocity": batch})
    alone = burgers.solve({"initial_velocity": batch[3:4]})
    assert (alone.outputs["velocity"][0] == whole.outputs["velocity"][3]).all()
    assert alone.error[0] == whole.error[3]


def test_torch_agrees() -> None:
    burgers, other = solver(rtol=1e-6), solver(rtol=1e-6, device="cpu:0")
    batch = np.stack(
        [burgers.sample(np.random.default_rng(i))["initial_velocity"] for i in range(3)]
    )
    expected = burgers.solve({"initial_velocity": batch})
    result = other.solve({"initial_velocity": batch})
    np.testing.assert_allclose(
        result.outputs["velocity"], expected.outputs["velocity"], rtol=0, atol=1e-12
    )
    np.testing.assert_array_equal(result.details["steps"], expected.details["steps"])


def test_residual() -> None:
    burgers = solver(records=2, record_interval=0.2, rtol=1e-8)
    start = burgers.sample(np.random.default_rng(0))["initial_velocity"]
    inputs = {"initial_velocity": start[None]}
    outputs = burgers.solve(inputs).outputs
    assert burgers.residual(inputs, outputs)[0] < 1e-12
    single = {name: field.astype(np.float32) for name, field in outputs.items()}
    assert burgers.residual(inputs, single)[0] < 1e-6
    wrong = {"velocity": 1.01 * outputs["velocity"]}
    assert burgers.residual(inputs, wrong)[0] > 5e-3


def test_fronts_too_steep_for_the_grid_are_refused() -> None:
    burgers = solver(viscosity=1e-4, resolution=(64,), rtol=1e-4)
    start = np.sin(2 * np.pi * np.arange(64) / 64)[None]
    with pytest.raises(NotConvergedError, match="64 points"):
        burgers.solve({"initial_velocity": start})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"viscosity": 0.0}, "greater than 0"),
        ({"resolution": (127,)}, "even"),
        ({"resolution": (8,)}, "16 or more"),
        ({"records": 0}, "greater than or equal to 1"),
        ({"length": 2.0}, "distribution.length"),
    ],
)
def test_bad_parameters(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        solver(**change)


def test_bad_inputs() -> None:
    with pytest.raises(OpkitInputError, match="batch, 128"):
        solver().solve({"initial_velocity": np.zeros((1, 64))})
    with pytest.raises(OpkitInputError, match="NaN"):
        solver().solve({"initial_velocity": np.full((1, 128), np.nan)})
    with pytest.raises(OpkitInputError, match="initial_velocity"):
        solver().solve({})


def test_the_case_solves() -> None:
    case = load_case("burgers", ("resolution=256",))
    burgers = case.build_solver()
    drawn = burgers.sample(np.random.default_rng(0))
    batch = {name: field[None] for name, field in drawn.items()}
    solution = burgers.solve(batch)
    assert set(batch) == {v.name for v in case.inputs}
    assert solution.outputs["velocity"].shape == (1, 1, 256)
    assert solution.error[0] <= 1e-6


def test_the_sample_at_fault_is_known_in_python() -> None:
    """Viscosities differ, so that each sample is solved alone: the third is too low."""
    burgers = solver(resolution=(32,), record_interval=0.5, rtol=1e-2)
    inputs = {
        "initial_velocity": np.tile(cole_hopf(32, 0.1, 0.0), (4, 1)),
        "viscosity": np.array([0.1, 0.1, 1e-5, 0.1]),
    }
    with pytest.raises(NotConvergedError) as raised:
        burgers.solve(inputs)
    assert raised.value.sample == 2
    assert str(raised.value).startswith("sample 2 of the batch: fronts are too steep")
