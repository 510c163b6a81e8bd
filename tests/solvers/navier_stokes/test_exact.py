"""Navier-Stokes against exact solutions, invariants, and orders of convergence."""

from typing import Any

import numpy as np
import pytest

from opkit.solvers.navier_stokes.solver import NavierStokes

BACKENDS = ["compiled", "numpy", "torch"]


def solver(**changes: Any) -> NavierStokes:
    options: dict[str, Any] = {
        "viscosity": 1e-3,
        "records": 1,
        "resolution": (32, 32),
        "rtol": 1e-8,
    }
    return NavierStokes(**{**options, **changes})


def grid(points: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.arange(points) / points
    return x[None, :], x[:, None]  # fields are [y, x]


def solve(flow: NavierStokes, field: np.ndarray) -> np.ndarray:
    solution = flow.solve({"initial_vorticity": field[None]})
    return solution.outputs["vorticity"][0]


def random_field(points: int, seed: int = 0) -> np.ndarray:
    flow = solver(resolution=(points, points))
    return flow.sample(np.random.default_rng(seed))["initial_vorticity"]


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.mark.parametrize("backend", BACKENDS)
def test_laminar_forced_flow(backend: str) -> None:
    """The forcing lives on |k|² = 2, where its advection vanishes."""
    flow = solver(
        forcing={"kind": "published"}, records=3, record_interval=0.7, backend=backend
    )
    x, y = grid(32)
    phase = 2 * np.pi * (x + y)
    force = 0.1 * (np.sin(phase) + np.cos(phase))
    rate = 8 * np.pi**2 * flow.viscosity
    records = solve(flow, np.zeros((32, 32)))
    for record, time in zip(records, (0.7, 1.4, 2.1), strict=True):
        exact = force * -np.expm1(-rate * time) / rate
        # an integrating factor keeps a steady force to order dt⁴ only
        assert relative(record, exact) < flow.rtol


@pytest.mark.parametrize("backend", BACKENDS)
def test_taylor_green_vortices_carried_by_a_mean_flow(backend: str) -> None:
    flow = solver(mean_flow=(0.3, -0.2), backend=backend)
    x, y = grid(32)

    def exact(time: float) -> np.ndarray:
        decay = np.exp(-8 * np.pi**2 * flow.viscosity * time)
        a, b = 2 * np.pi * (x - 0.3 * time), 2 * np.pi * (y + 0.2 * time)
        return decay * np.sin(a) * np.sin(b)

    assert relative(solve(flow, exact(0))[0], exact(1)) < flow.rtol


def test_kolmogorov_flow_with_drag_settles_on_the_laminar_profile() -> None:
    flow = solver(
        viscosity=0.5,
        drag=0.1,
        length=2 * np.pi,
        forcing={"kind": "kolmogorov", "amplitude": 1.0, "wavenumber": 2},
        record_interval=20,
    )
    x, y = grid(32)
    force = -2 * np.cos(2 * 2 * np.pi * y) + 0 * x
    result = solve(flow, np.zeros((32, 32)))[0]
    np.testing.assert_allclose(result, force / (0.5 * 4 + 0.1), rtol=0, atol=1e-7)


def test_inviscid_energy_and_enstrophy_drift_at_the_schemes_order() -> None:
    """Truncated Euler flow conserves both; Runge-Kutta 4 loses at dt⁴ or dt⁵."""
    field = 10 * random_field(32)
    k = 2 * np.pi * np.fft.fftfreq(32, 1 / 32)
    squared = k[:, None] ** 2 + k**2
    squared[0, 0] = 1

    def invariants(vorticity: np.ndarray) -> np.ndarray:
        power = np.abs(np.fft.fft2(vorticity)) ** 2
        return np.array([(power / squared).sum(), power.sum()])

    before = invariants(field)
    drifts = []
    for dt in (0.02, 0.01):
        flow = solver(viscosity=0.0, dt=dt)
        drifts.append(np.abs(invariants(solve(flow, field)[0]) / before - 1))
    orders = np.log2(drifts[0] / drifts[1])
    assert (orders > 3.7).all(), orders
    tight = solver(viscosity=0.0, dt=0.001)
    drift = np.abs(invariants(solve(tight, field)[0]) / before - 1)
    assert (drift < 1e-11).all(), drift


@pytest.mark.parametrize("backend", ["compiled", "numpy"])
def test_fourth_order_in_time(backend: str) -> None:
    field = random_field(32)
    options = {"forcing": {"kind": "published"}, "backend": backend}
    exact = solve(solver(dt=0.005, **options), field)
    errors = [
        relative(solve(solver(dt=dt, **options), field), exact) for dt in (0.1, 0.05)
    ]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.3)


def test_spectral_accuracy_in_space() -> None:
    """A field of a few modes at two resolutions: the error falls faster than 2^-8."""
    x, y = grid(128)
    a, b = 2 * np.pi * x, 2 * np.pi * y
    smooth = np.cos(a) * np.sin(2 * b) + 0.5 * np.sin(3 * a + b)
    exact = solve(solver(viscosity=5e-3, resolution=(128, 128)), smooth)[0]
    errors = []
    for n in (16, 32):
        stride = 128 // n
        flow = solver(viscosity=5e-3, resolution=(n, n), rtol=1e-10)
        coarse = solve(flow, smooth[::stride, ::stride])[0]
        errors.append(relative(coarse, exact[::stride, ::stride]))
    assert errors[1] < errors[0] / 2**8, errors


@pytest.mark.parametrize("viscosity", [1e-3, 1e-5])
@pytest.mark.parametrize("rtol", [1e-4, 1e-6, 1e-8])
def test_the_error_measure_bounds_the_error(viscosity: float, rtol: float) -> None:
    """Over times in which errors do not grow; within rtol, and not idle."""
    options: dict[str, Any] = {
        "viscosity": viscosity,
        "records": 2,
        "resolution": (64, 64),
        "forcing": {"kind": "published"},
    }
    field = random_field(64)
    exact = solve(solver(**options, dt=0.004), field)
    flow = solver(**options, rtol=rtol)
    solution = flow.solve({"initial_vorticity": field[None]})
    error = relative(solution.outputs["vorticity"][0], exact)
    assert error < solution.error[0] <= rtol
    assert solution.error[0] > rtol / 100


def test_published_scheme_is_first_order_and_tends_to_the_same_flow() -> None:
    """Without modes beyond 2/3, which the published scheme lets alias."""
    x, y = grid(64)
    a, b = 2 * np.pi * x, 2 * np.pi * y
    field = np.cos(a) * np.sin(2 * b) + 0.5 * np.sin(3 * a + b)
    options: dict[str, Any] = {
        "resolution": (64, 64),
        "forcing": {"kind": "published"},
        "record_interval": 0.4,
    }
    exact = solve(solver(**options), field)
    errors, estimates = [], []
    for dt in (4e-3, 2e-3):
        flow = solver(**options, scheme="fno-2020", dt=dt)
        solution = flow.solve({"initial_vorticity": field[None]})
        errors.append(relative(solution.outputs["vorticity"][0], exact))
        estimates.append(solution.error[0])
    assert np.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.05)
    # doubling a first-order step changes the result by the error of one step size
    assert errors[1] == pytest.approx(estimates[1], rel=0.05)
