"""The quasi-geostrophic solver as a solver: interface, samples, refusals."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from opkit.case import load_case
from opkit.datasets.read import DataFile
from opkit.errors import (
    CFLError,
    NonFiniteError,
    NotConvergedError,
    OpkitInputError,
)
from opkit.generate import generate
from opkit.solvers.quasi_geostrophic.laws import RandomWaves, resample
from opkit.solvers.quasi_geostrophic.solver import QuasiGeostrophic

INITIAL = "initial_potential_vorticity"
WAVES = {"kind": "random-waves", "rms": 5e-6}


def solver(**parameters: Any) -> QuasiGeostrophic:
    defaults: dict[str, Any] = {
        "resolution": (32, 32),
        "distribution": WAVES,
        "record_interval": 86400.0,
        "records": 2,
    }
    return QuasiGeostrophic(**(defaults | parameters))


def batch(qg: QuasiGeostrophic, count: int) -> dict[str, Any]:
    draws = [qg.sample(np.random.default_rng(i))[INITIAL] for i in range(count)]
    return {INITIAL: np.stack(draws)}


@pytest.mark.parametrize("scheme", ["etdrk4", "pyqg"])
@pytest.mark.parametrize("backend", ["compiled", "numpy"])
def test_a_sample_does_not_depend_on_its_batch(scheme: str, backend: str) -> None:
    qg = solver(scheme=scheme, backend=backend)
    inputs = batch(qg, 5)
    whole = qg.solve(inputs)
    threaded = solver(scheme=scheme, backend=backend, threads=2).solve(inputs)
    first = {INITIAL: inputs[INITIAL][:1]}
    together = solver(scheme=scheme, backend=backend, threads=3).solve(first)
    for i in range(5):
        alone = qg.solve({INITIAL: inputs[INITIAL][i : i + 1]})
        for name, values in whole.outputs.items():
            assert np.array_equal(values[i], alone.outputs[name][0])
            assert np.array_equal(values[i], threaded.outputs[name][i])
        assert whole.error[i] == alone.error[0] == threaded.error[i]
    for name, values in together.outputs.items():
        assert np.array_equal(values[0], whole.outputs[name][0])
    assert together.error[0] == whole.error[0]


def test_shapes_and_coordinates() -> None:
    qg = solver(resolution=(32, 48), extent=(1e6, 2e6), layers=1, velocity=(0.1,))
    solution = qg.solve(batch(qg, 3))
    for values in solution.outputs.values():
        assert values.shape == (3, 2, 1, 32, 48)
        assert values.dtype == np.float64
    coordinates = qg.coordinates()
    assert [len(coordinates[d].values) for d in ("time", "layer", "y", "x")] == [
        2,
        1,
        32,
        48,
    ]
    assert coordinates["time"].values[-1] == 2 * 86400.0
    assert coordinates["x"].values[1] == pytest.approx(2e6 / 48)


def test_streamfunction_gives_back_the_potential_vorticity() -> None:
    qg = solver()
    outputs = qg.solve(batch(qg, 1)).outputs
    model = qg.model()
    psi_hat = np.fft.rfft2(outputs["streamfunction"][0, 0])
    f1, f2 = model.stretching
    q_hat = -model.kappa2 * psi_hat
    q_hat += np.stack([f1 * (psi_hat[1] - psi_hat[0]), f2 * (psi_hat[0] - psi_hat[1])])
    q = outputs["potential_vorticity"][0, 0]
    # four divisions and products, and two transforms
    np.testing.assert_allclose(np.fft.irfft2(q_hat), q, atol=1e-12 * np.abs(q).max())


def test_residual_of_stored_records() -> None:
    qg = solver(records=3)
    inputs = batch(qg, 2)
    outputs = qg.solve(inputs).outputs
    exact = qg.residual(inputs, outputs)
    # restarts choose other steps: 1e-6 a step, a few steps a day
    assert (exact < 2e-5).all()
    stored = {name: v.astype(np.float32) for name, v in outputs.items()}
    assert (qg.residual(inputs, stored) < 2e-5).all()
    wrong = dict(outputs)
    wrong["potential_vorticity"] = outputs["potential_vorticity"] * 1.01
    assert (qg.residual(inputs, wrong) > 1e-3).all()


def test_a_seed_gives_the_same_waves_on_every_grid() -> None:
    law = RandomWaves(low=2, high=11, rms=1e-6)
    fine = law.draw(np.random.default_rng(3), 2, (64, 96))
    for shape in ((32, 32), (64, 64), (128, 48)):
        coarse = law.draw(np.random.default_rng(3), 2, shape)
        np.testing.assert_allclose(coarse, resample(fine, shape), atol=1e-20)
    small = law.draw(np.random.default_rng(3), 2, (16, 16))
    np.testing.assert_allclose(small, resample(fine, (16, 16)), atol=1e-20)


def test_random_waves_have_their_rms_and_band() -> None:
    law = RandomWaves(low=3, high=9, rms=2e-6)
    draws = np.stack(
        [law.draw(np.random.default_rng(i), 2, (32, 32)) for i in range(50)]
    )
    # 2 · 118 independent normals a field, 50 fields: 1% in the mean square
    assert np.sqrt((draws**2).mean(axis=(0, 2, 3))) == pytest.approx(2e-6, rel=0.04)
    n = np.hypot(np.fft.fftfreq(32, 1 / 32)[:, None], np.arange(17))
    outside = (n < 3) | (n > 9)
    assert np.abs(np.fft.rfft2(draws)[..., outside]).max() < 1e-18
    layers = np.corrcoef(draws[:, 0].ravel(), draws[:, 1].ravel())[0, 1]
    assert abs(layers) < 0.1


def test_turbulence_is_spun_up_on_its_own_grid() -> None:
    law = {"kind": "turbulence", "grid": 32, "spin_up": 3e6, "rms": 5e-6}
    coarse, fine = (
        solver(resolution=(n, n), distribution=law).sample(np.random.default_rng(5))
        for n in (32, 64)
    )
    np.testing.assert_allclose(
        fine[INITIAL][:, ::2, ::2], coarse[INITIAL], atol=1e-9 * 5e-6
    )
    start = RandomWaves(rms=5e-6).draw(np.random.default_rng(5), 2, (32, 32))
    assert not np.allclose(coarse[INITIAL], start, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"resolution": (33, 32)}, "multiple of 2"),
        ({"resolution": (8, 8)}, "greater than or equal to 16"),
        ({"velocity": (0.1,)}, "1 values for 2 layers"),
        ({"deformation_radius": None}, "deformation_radius"),
        ({"drag": -1e-7}, "drag"),
        ({"scheme": "pyqg", "record_interval": 5000.0}, "no multiple of time_step"),
        ({"scheme": "pyqg", "dealias": True}, "no dealias"),
        ({"device": "cuda"}, "needs backend torch"),
        ({"backend": "compiled", "resolution": (34, 32)}, "multiple of 16"),
        ({"distribution": {**WAVES, "low": 20}}, "swap them"),
        ({"rtol": float("nan")}, "rtol"),
    ],
)
def test_unusable_parameters(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says.replace("(", r"\(")):
        solver(**wrong)


def test_unusable_inputs() -> None:
    qg = solver()
    good = batch(qg, 2)[INITIAL]
    with pytest.raises(OpkitInputError, match="initial_potential_vorticity is missing"):
        qg.solve({"vorticity": good})
    with pytest.raises(OpkitInputError, match=r"batch, 2, 32, 32"):
        qg.solve({INITIAL: good[0]})
    bad = good.copy()
    bad[1, 0, 3, 3] = np.nan
    with pytest.raises(OpkitInputError, match="NaN"):
        qg.solve({INITIAL: bad})


@pytest.mark.parametrize("backend", ["compiled", "numpy"])
def test_a_step_too_long_for_the_flow(backend: str) -> None:
    qg = solver(scheme="pyqg", time_step=43200.0, backend=backend)
    inputs = {INITIAL: 10 * batch(qg, 2)[INITIAL]}
    with pytest.raises(CFLError, match=r"sample 0 .* choose time_step below"):
        qg.solve(inputs)


@pytest.mark.parametrize("backend", ["compiled", "numpy", "torch"])
def test_a_flow_that_blows_up(backend: str) -> None:
    q = 2 * batch(solver(), 1)[INITIAL]
    (trajectory,) = solver(backend=backend)._trajectories(1, 1)
    trajectory.start(q)
    # allowed by cfl, three times what Adams-Bashforth stands without a filter
    dt = 0.7 / trajectory._courant_rate()
    qg = solver(
        scheme="pyqg",
        time_step=dt,
        record_interval=300 * dt,
        filter_strength=0.0,
        cfl=1.0,
        backend=backend,
    )
    with pytest.raises(NonFiniteError, match=r"sample 0 .* shorter"):
        qg.solve({INITIAL: q})


def test_a_tolerance_out_of_reach() -> None:
    qg = solver(rtol=1e-13)
    with pytest.raises(NotConvergedError, match="raise rtol"):
        qg.solve(batch(qg, 1))


@pytest.mark.parametrize("name", ["quasi-geostrophic", "quasi-geostrophic-jet"])
def test_cases(name: str) -> None:
    case = load_case(name, ("resolution=32", "solver.parameters.records=1"))
    qg = case.build_solver()
    assert isinstance(qg, QuasiGeostrophic)
    assert {v.name for v in case.outputs} == {"potential_vorticity", "streamfunction"}
    q = RandomWaves().draw(np.random.default_rng(0), 2, (32, 32))
    solution = qg.solve({INITIAL: q[None]})
    assert set(solution.outputs) == {v.name for v in case.outputs}


def test_a_file_says_which_layer_is_the_upper_one(tmp_path: Path) -> None:
    case = load_case(
        "quasi-geostrophic",
        (
            "resolution=16",
            "solver.parameters.records=1",
            "distribution={kind: random-waves}",
        ),
    )
    with DataFile(generate(case, tmp_path / "qg.h5", samples=1)) as file:
        layer = file.header.coordinates["layer"]
    assert layer.values.tolist() == [1, 2]
    assert "1 is the upper one" in layer.long_name
    # as the solver has it: drag acts on the lowest layer alone, which is the second;
    # weak and apart from each other, q_2 decays as e^{-rt} and q_1 stays
    apart = {"deformation_radius": 1e12, "beta": 0.0, "velocity": (0.0, 0.0)}
    qg = solver(**apart, drag=1e-6, records=1, record_interval=1e6, filter_strength=0.0)
    start = {INITIAL: 1e-6 * batch(qg, 1)[INITIAL]}
    end = qg.solve(start).outputs["potential_vorticity"][0, 0]
    ratio = np.linalg.norm(end, axis=(1, 2)) / np.linalg.norm(
        start[INITIAL][0], axis=(1, 2)
    )
    np.testing.assert_allclose(ratio, [1.0, np.exp(-1.0)], rtol=1e-4)  # rtol of steps


def test_one_layer_by_overrides() -> None:
    case = load_case(
        "quasi-geostrophic",
        ("solver.parameters.layers=1", "solver.parameters.velocity=[0.0]"),
    )
    qg = case.build_solver()
    assert isinstance(qg, QuasiGeostrophic)
    assert len(qg.coordinates()["layer"].values) == 1


def test_runs_beyond_the_predictable_range_warn() -> None:
    # ∫ rms(ζ) dt of a barotropic wave that only drifts: rms(ζ) times the time
    days = 86400.0
    flow = QuasiGeostrophic(
        resolution=(32, 32),
        layers=1,
        velocity=(0.0,),
        deformation_radius=1e9,
        drag=0.0,
        record_interval=400 * days,
        records=1,
    )
    y = np.arange(32) / 32
    wave = np.cos(2 * np.pi * y)[:, None] * np.ones(32)
    limit = -np.log(np.finfo(np.float64).eps) / 0.12 / (400 * days)
    quiet = 0.9 * limit * np.sqrt(2) * wave[None, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flow.solve({"initial_potential_vorticity": quiet})
    with pytest.warns(RuntimeWarning, match="predictable range"):
        flow.solve({"initial_potential_vorticity": quiet * 1.1 / 0.9})
