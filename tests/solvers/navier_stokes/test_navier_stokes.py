"""Navier-Stokes: interface, backends, batches, symmetries, bad input."""

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from opkit.case import load_case
from opkit.errors import (
    CaseError,
    CFLError,
    NonFiniteError,
    NotConvergedError,
    OpkitInputError,
)
from opkit.solvers.fourier import predictability
from opkit.solvers.navier_stokes import solver as navier_stokes
from opkit.solvers.navier_stokes.solver import NavierStokes

FORCED = {"forcing": {"kind": "published"}}


def solver(**changes: Any) -> NavierStokes:
    options: dict[str, Any] = {
        "viscosity": 1e-3,
        "records": 2,
        "record_interval": 0.5,
        "resolution": (32, 32),
        "rtol": 1e-7,
    }
    return NavierStokes(**{**options, **changes})


def fields(flow: NavierStokes, count: int = 1, seed: int = 0) -> np.ndarray:
    return np.stack(
        [
            flow.sample(np.random.default_rng([seed, i]))["initial_vorticity"]
            for i in range(count)
        ]
    )


def solve(flow: NavierStokes, batch: np.ndarray) -> np.ndarray:
    return flow.solve({"initial_vorticity": batch}).outputs["vorticity"]


@pytest.mark.parametrize("points", [16, 18, 26, 32, 50, 64, 96])
def test_compiled_and_array_code_agree(points: int) -> None:
    options: dict[str, Any] = {
        **FORCED,
        "resolution": (points, points),
        "drag": 0.05,
        "mean_flow": (0.1, 0.05),
        "dt": 0.05,
    }
    batch = fields(solver(**options), 2)
    compiled = solve(solver(**options, backend="compiled"), batch)
    plain = solve(solver(**options, backend="numpy"), batch)
    # ten steps of round-off; the two take their transforms in different order
    np.testing.assert_allclose(plain, compiled, rtol=0, atol=1e-13)


def test_adaptive_steps_agree_on_all_backends() -> None:
    flow = solver(**FORCED, viscosity=1e-5)
    batch = fields(flow, 3)
    results = {
        backend: solver(**FORCED, viscosity=1e-5, backend=backend).solve(
            {"initial_vorticity": batch}
        )
        for backend in ("compiled", "numpy", "torch")
    }
    expected = results.pop("compiled")
    for result in results.values():
        for name in ("steps", "rejected"):
            np.testing.assert_array_equal(result.details[name], expected.details[name])
        np.testing.assert_allclose(result.error, expected.error, rtol=1e-5)
        np.testing.assert_allclose(
            result.outputs["vorticity"],
            expected.outputs["vorticity"],
            rtol=0,
            atol=1e-12,
        )


@pytest.mark.parametrize("backend", ["compiled", "numpy"])
@pytest.mark.parametrize("scheme", ["ifrk4", "fno-2020"])
def test_a_sample_does_not_depend_on_its_batch(backend: str, scheme: str) -> None:
    options: dict[str, Any] = {"backend": backend, "scheme": scheme, **FORCED}
    if scheme == "fno-2020":
        options["dt"] = 0.0125
    flow = solver(**options, threads=2)
    batch = fields(flow, 5)
    whole = solve(flow, batch)
    for index in (0, 3, 4):
        alone = solve(flow, batch[index : index + 1])[0]
        assert (alone == whole[index]).all()
    assert (solve(solver(**options, threads=1), batch) == whole).all()


def test_without_compiled_code_numpy_takes_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert navier_stokes.fastest_backend() == "compiled"
    monkeypatch.delitem(sys.modules, "opkit.solvers.fourier.fftw")
    monkeypatch.setitem(sys.modules, "numba", None)
    assert navier_stokes.fastest_backend() == "numpy"


def test_records_are_landed_on_exactly() -> None:
    flow = solver(records=7, record_interval=0.3, dt=0.07)
    assert flow.coordinates()["time"].values == pytest.approx(
        0.3 * np.arange(1, 8), rel=1e-15
    )
    batch = fields(flow)
    last = solve(flow, batch)[0, -1]
    once = solve(solver(records=1, record_interval=2.1, rtol=1e-10), batch)[0, 0]
    np.testing.assert_allclose(last, once, atol=1e-8)


def test_no_forcing_and_no_vorticity_is_rest() -> None:
    solution = solver().solve({"initial_vorticity": np.zeros((1, 32, 32))})
    assert (solution.outputs["vorticity"] == 0).all()
    assert solution.error[0] == 0


# Symmetries of the equation: the solver commutes with each, up to round-off that ten
# or so steps amplify little.
SEEDS = st.integers(0, 10**6)


def commutes(flow: NavierStokes, seed: int, act: Any, react: Any = None) -> None:
    field = fields(flow, 1, seed)
    direct = (react or act)(solve(flow, field))
    np.testing.assert_allclose(solve(flow, act(field)), direct, rtol=0, atol=1e-10)


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.integers(0, 31), st.integers(0, 31))
def test_translation(seed: int, rows: int, columns: int) -> None:
    commutes(solver(), seed, lambda w: np.roll(w, (rows, columns), (-2, -1)))


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_rotation_by_a_quarter_turn(seed: int) -> None:
    def turn(w: np.ndarray) -> np.ndarray:
        # of points about the origin, which is a grid point: index 0 stays
        return np.roll(np.rot90(w, axes=(-2, -1)), 1, axis=-2)

    commutes(solver(), seed, turn)


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_reflection_turns_vorticity_round(seed: int) -> None:
    commutes(solver(), seed, lambda w: -np.roll(w[..., ::-1], 1, -1))


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.integers(-8, 8), st.integers(-8, 8))
def test_galilean_invariance(seed: int, across: int, up: int) -> None:
    """A mean flow of whole cells a record shifts the records."""
    still, moving = solver(), solver(mean_flow=(across / 16, up / 16))
    field = fields(still, 1, seed)
    expected = solve(still, field)
    for record in range(2):
        shift = (up * (record + 1), across * (record + 1))
        expected[:, record] = np.roll(expected[:, record], shift, (-2, -1))
    # both keep their time-stepping error within rtol
    difference = np.abs(solve(moving, field) - expected).max()
    assert difference < 10 * still.rtol * np.abs(expected).max()


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.floats(0.5, 2), st.floats(0.5, 2))
def test_scaling(seed: int, length: float, speed: float) -> None:
    """ω in units of speed/length, t in length/speed, ν in length·speed."""
    flow = solver()
    scaled = solver(
        viscosity=1e-3 * length * speed,
        record_interval=0.5 * length / speed,
        length=length,
    )
    field = fields(flow, 1, seed)
    expected = solve(flow, field) * speed / length
    result = solve(scaled, field * speed / length)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-10 * speed / length)


def test_residual_is_small_for_solutions_and_sees_faults() -> None:
    flow = solver(**FORCED, rtol=1e-8)
    inputs = {"initial_vorticity": fields(flow, 3)}
    good = dict(flow.solve(inputs).outputs)
    assert (flow.residual(inputs, good) < 1e-8).all()
    stored = {"vorticity": good["vorticity"].astype(np.float32)}
    single = {"initial_vorticity": inputs["initial_vorticity"].astype(np.float32)}
    assert (flow.residual(single, stored) < 1e-6).all()
    bad = good["vorticity"].copy()
    bad[1, 1] *= 1.01
    residual = flow.residual(inputs, {"vorticity": bad})
    assert residual[1] == pytest.approx(0.01, rel=0.05)
    assert (residual[[0, 2]] < 1e-8).all()


def test_a_seed_gives_the_same_field_at_every_resolution() -> None:
    low, high = (fields(solver(resolution=(n, n)))[0] for n in (32, 64))
    low_hat, high_hat = np.fft.rfft2(low) / 32**2, np.fft.rfft2(high) / 64**2
    most = 31 // 3
    rows = np.arange(-most, most + 1)
    np.testing.assert_allclose(
        low_hat[rows, : most + 1], high_hat[rows, : most + 1], atol=1e-17
    )
    assert np.abs(high_hat[most + 1]).max() > 0


def test_amplitudes_of_the_published_fields() -> None:
    """Standard deviations of the two conventions, 0.2620 and 0.1852 with all modes."""
    for amplitude, deviation in (("2020", 0.2620), ("2022", 0.1852)):
        flow = solver(
            resolution=(64, 64),
            distribution={"kind": "published", "amplitude": amplitude},
        )
        measured = np.sqrt((fields(flow, 400) ** 2).mean())
        # 400 fields, a few large modes each: 2 %; modes beyond 21 hold 1 %
        assert measured == pytest.approx(deviation, rel=0.03)


def test_spin_up_is_a_solve_before_the_input() -> None:
    options: dict[str, Any] = {**FORCED, "records": 1}
    drawn = fields(solver(**options))
    expected = solve(solver(**options), drawn)[0, 0]
    spun = fields(solver(**options, spin_up=0.5))[0]
    np.testing.assert_allclose(spun, expected, rtol=0, atol=1e-15)


def test_long_chaotic_runs_warn(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = solver(**FORCED)
    inputs = {"initial_vorticity": fields(flow)}
    monkeypatch.setattr(predictability, "PREDICTABLE", 1e-3)
    with pytest.warns(RuntimeWarning, match="predictable"):
        flow.solve(inputs)


@pytest.mark.parametrize("backend", ["compiled", "numpy", "torch"])
def test_a_step_beyond_the_cfl_limit_is_refused(backend: str) -> None:
    flow = solver(dt=0.5, backend=backend)
    with pytest.raises(CFLError, match="dt"):
        flow.solve({"initial_vorticity": 100 * fields(flow)})


@pytest.mark.parametrize("backend", ["compiled", "numpy"])
def test_an_accuracy_out_of_reach_is_refused(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The estimate cannot fall below round-off, however short the step."""
    flow = solver(rtol=1e-13, records=1, record_interval=50.0, backend=backend)
    with pytest.raises(NotConvergedError, match="rtol"):
        flow.solve({"initial_vorticity": 1e4 * fields(flow)})


@pytest.mark.parametrize("backend", ["compiled", "numpy", "torch"])
@pytest.mark.parametrize("size", [1e12, 1e200, 1e300])
def test_flows_too_fast_for_any_step_are_refused(backend: str, size: float) -> None:
    """At 1e12 a record would take 1e13 steps; at 1e300 products overflow."""
    flow = solver(backend=backend)
    refused = (NotConvergedError, NonFiniteError)
    with pytest.raises(refused, match="sample 0"):
        flow.solve({"initial_vorticity": size * fields(flow)})


@pytest.mark.parametrize("backend", ["compiled", "numpy", "torch"])
def test_an_empty_batch_is_empty(backend: str) -> None:
    flow = solver(backend=backend)
    solution = flow.solve({"initial_vorticity": np.zeros((0, 32, 32))})
    assert solution.outputs["vorticity"].shape == (0, 2, 32, 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"viscosity": -1e-3}, "greater than or equal to 0"),
        ({"viscosity": 0.0, **FORCED}, "positive viscosity"),
        ({"viscosity": float("nan")}, "finite"),
        ({"resolution": (33, 33)}, "even"),
        ({"resolution": (8, 8)}, "16 or more"),
        ({"resolution": (32, 64)}, "square"),
        ({"records": 0}, "greater than or equal to 1"),
        ({"record_interval": 0.0}, "greater than 0"),
        ({"cfl": 2.0}, "1.35"),
        ({"scheme": "fno-2020", "dt": 0.3}, "even number"),
        ({"viscocity": 1.0}, "viscocity"),
    ],
)
def test_bad_parameters(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        solver(**change)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (np.zeros((1, 16, 16)), "batch, 32, 32"),
        (np.zeros((32, 32)), "batch, 32, 32"),
        (np.full((1, 32, 32), np.nan), "NaN"),
        (np.ones((1, 32, 32)), "mean"),
    ],
)
def test_bad_inputs(field: np.ndarray, message: str) -> None:
    with pytest.raises(OpkitInputError, match=message):
        solver().solve({"initial_vorticity": field})
    with pytest.raises(OpkitInputError, match="initial_vorticity"):
        solver().solve({"vorticity": field})


NAMES = [
    "navier-stokes",
    "navier-stokes-1e-4",
    "navier-stokes-1e-5",
    "kolmogorov-flow",
]


@pytest.mark.parametrize("name", NAMES)
def test_cases_solve_at_a_coarse_resolution(name: str) -> None:
    small = (
        "resolution=32",
        "solver.parameters.records=2",
        "solver.parameters.record_interval=0.1",
    )
    case = load_case(name, small)
    flow = case.build_solver()
    drawn = flow.sample(np.random.default_rng(0))
    assert set(drawn) == {v.name for v in case.inputs}
    batch = {key: value[None] for key, value in drawn.items()}
    solution = flow.solve(batch)
    assert set(solution.outputs) == {v.name for v in case.outputs}
    assert solution.outputs["vorticity"].shape == (1, 2, 32, 32)
    assert flow.residual(batch, solution.outputs)[0] < 1e-3
    extent = case.geometry.extent["x"][1]
    assert flow.coordinates()["x"].values[-1] == pytest.approx(extent * 31 / 32)


def test_a_misspelt_parameter_of_a_case_is_named() -> None:
    case = load_case("navier-stokes", ("solver.parameters.viscocity=1",))
    with pytest.raises(CaseError, match="viscosity"):
        case.build_solver()
