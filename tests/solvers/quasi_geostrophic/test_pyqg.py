"""Scheme ``pyqg`` against arrays of pyqg, and the backends against each other."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from opkit.solvers.quasi_geostrophic.integrate import Backend, Steps, Trajectory
from opkit.solvers.quasi_geostrophic.solver import QuasiGeostrophic

DATA = Path(__file__).parents[2] / "data" / "quasi_geostrophic"
RUNS: dict[str, dict[str, Any]] = {
    "eddy": {},
    "jet": {"drag": 7e-8, "depth_ratio": 0.1, "beta": 1e-11},
    "barotropic": {"layers": 1, "velocity": (0.0,), "deformation_radius": None},
    "reduced-gravity": {"layers": 1, "velocity": (0.0,), "deformation_radius": 3e4},
}
DT = 3600.0
# A hundred steps of round-off, each some eps of the largest value, in a flow whose
# errors grow by less than e in that time.
ROUND_OFF = 1e-13


def reference(name: str) -> dict[str, NDArray[Any]]:
    with np.load(DATA / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def after(name: str, steps: int, backend: Backend, **changed: Any) -> NDArray[Any]:
    solver = QuasiGeostrophic(
        resolution=(32, 32),
        scheme="pyqg",
        backend=backend,
        time_step=DT,
        record_interval=steps * DT,
        records=1,
        distribution={"kind": "random-waves"},
        **(RUNS[name] | changed),
    )
    start = reference(name)["q_0"][None]
    outputs = solver.solve({"initial_potential_vorticity": start}).outputs
    return np.stack(
        [outputs["potential_vorticity"][0, 0], outputs["streamfunction"][0, 0]]
    )


def difference(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


@pytest.mark.parametrize("backend", ["compiled", "numpy", "torch"])
@pytest.mark.parametrize("name", RUNS)
def test_steps_are_those_of_pyqg(name: str, backend: Backend) -> None:
    expected = reference(name)
    for steps in (1, 2, 3, 100):
        q, psi = after(name, steps, backend)
        assert difference(q, expected[f"q_{steps}"]) < ROUND_OFF
    psi_hat = np.fft.rfft2(psi)
    assert difference(psi_hat, expected["psi_hat_100"]) < ROUND_OFF


@pytest.mark.parametrize(
    "fault",
    [
        {"depth_ratio": 0.25000001},
        {"drag": 5.78700001e-7},
        {"beta": 1.50000001e-11},
        {"velocity": (0.025, 1e-9)},
        {"filter_strength": 23.6000001},
    ],
)
def test_parity_notices_small_faults(fault: dict[str, Any]) -> None:
    q, _ = after("eddy", 100, "compiled", **fault)
    assert difference(q, reference("eddy")["q_100"]) > 10 * ROUND_OFF


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("dealias", [False, True])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_backends_agree_on_etdrk4(layers: int, dealias: bool, backend: Backend) -> None:
    solver = QuasiGeostrophic(
        resolution=(48, 32),
        extent=(9e5, 4e5),
        layers=layers,  # type: ignore[arg-type]
        velocity=(0.025, 0.01)[:layers],
        dealias=dealias,
        distribution={"kind": "random-waves", "rms": 1e-5, "low": 1, "high": 12},
    )
    steps = Steps("etdrk4", DT, rtol=1e-5, cfl=0.8, filter_interval=DT)
    start = solver.sample(np.random.default_rng(0))["initial_potential_vorticity"]
    results = []
    for which in ("compiled", backend):
        trajectory = Trajectory(solver.model(), steps, which)  # type: ignore[arg-type]
        trajectory.start(start[None])
        error = trajectory.advance(20 * DT)
        results.append((*trajectory.fields(), error))
    (q, psi, error), (other_q, other_psi, other_error) = results
    assert difference(q, other_q) < ROUND_OFF
    assert difference(psi, other_psi) < ROUND_OFF
    # a difference of two fields relative to their size: as many digits of it are lost
    # as it is smaller
    assert np.abs(error - other_error).max() < ROUND_OFF


def test_torch_batch_agrees_with_single_trajectories() -> None:
    solver = QuasiGeostrophic(
        resolution=(32, 32),
        scheme="pyqg",
        record_interval=10 * DT,
        records=2,
        distribution={"kind": "random-waves", "rms": 1e-5},
    )
    batch = np.stack(
        [
            solver.sample(np.random.default_rng(i))["initial_potential_vorticity"]
            for i in range(3)
        ]
    )
    inputs = {"initial_potential_vorticity": batch}
    results = []
    for backend in ("torch", "compiled"):
        other = QuasiGeostrophic(
            **{
                name: getattr(solver, name)
                for name in solver.__dataclass_fields__  # type: ignore[attr-defined]
                if name != "backend"
            },
            backend=backend,  # type: ignore[arg-type]
        )
        solution = other.solve(inputs)
        results.append((solution.outputs["potential_vorticity"], solution.error))
    assert difference(results[0][0], results[1][0]) < ROUND_OFF
    # A small difference of slopes: less of it is left of sixteen digits
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-8)
