"""Quasi-geostrophic flow: waves, instability, invariants, order, symmetries."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opkit.solvers.quasi_geostrophic.compiled import CompiledState
from opkit.solvers.quasi_geostrophic.solver import QuasiGeostrophic

Array = NDArray[Any]
DAY = 86400.0
WAVES = {"kind": "random-waves", "low": 2, "high": 8, "rms": 5e-6}


def solver(**parameters: Any) -> QuasiGeostrophic:
    defaults: dict[str, Any] = {
        "resolution": (32, 32),
        "distribution": WAVES,
        "records": 1,
        "record_interval": 5 * DAY,
        "rtol": 1e-10,
    }
    return QuasiGeostrophic(**(defaults | parameters))


def carry(qg: QuasiGeostrophic, q: Array) -> Array:
    return np.asarray(
        qg.solve({"initial_potential_vorticity": q[None]}).outputs[
            "potential_vorticity"
        ][0, -1]
    )


def draw(qg: QuasiGeostrophic, seed: int = 0) -> Array:
    return np.asarray(
        qg.sample(np.random.default_rng(seed))["initial_potential_vorticity"]
    )


def relative(a: Array, b: Array) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


# Waves: a field on one shell |k| does not advect itself, each mode turns at its own ω.


def shell_field(qg: QuasiGeostrophic, layer_weights: Array) -> tuple[Array, Array]:
    """q̂ of random amplitude on |n| = 5: (±3, ±4), (±4, ±3), (±5, 0), (0, ±5)."""
    model = qg.model()
    n = np.rint(model.kappa2 * (qg.extent[0] / 2 / np.pi) ** 2)
    rng = np.random.default_rng(1)
    white = np.fft.rfft2(rng.standard_normal(qg.resolution))
    q_hat = 1e-5 * np.where(n == 25, white, 0)
    return layer_weights[:, None, None] * q_hat, model.k


@pytest.mark.parametrize("radius", [None, 5e4])
@pytest.mark.parametrize("velocity", [0.0, 0.07])
def test_rossby_waves_of_one_layer(radius: float | None, velocity: float) -> None:
    qg = solver(
        layers=1, deformation_radius=radius, velocity=(velocity,), drag=0.0, beta=2e-11
    )
    q_hat, k = shell_field(qg, np.ones(1))
    square, kd2 = 25 * (2 * np.pi / 1e6) ** 2, 0.0 if radius is None else radius**-2
    omega = velocity * k - k * (2e-11 + velocity * kd2) / (square + kd2)
    expected = np.fft.irfft2(q_hat * np.exp(-1j * omega * 5 * DAY))
    # 1e-10 a step, tens of steps
    assert relative(carry(qg, np.fft.irfft2(q_hat)), expected) < 1e-8


@pytest.mark.parametrize("mode", ["barotropic", "baroclinic"])
def test_rossby_waves_of_two_layers(mode: str) -> None:
    velocity, beta = 0.04, 2e-11
    qg = solver(velocity=(velocity, velocity), drag=0.0, beta=beta)
    upper, lower = qg.model().stretching
    # ψ₁ = ψ₂, or H₁ψ₁ + H₂ψ₂ = 0: then q is (-K² - F₁ - F₂) ψ in each layer
    weights = np.array([1.0, 1.0 if mode == "barotropic" else -qg.depth_ratio])
    q_hat, k = shell_field(qg, weights)
    square = 25 * (2 * np.pi / 1e6) ** 2
    total = square + (0.0 if mode == "barotropic" else upper + lower)
    omega = velocity * k - beta * k / total
    expected = np.fft.irfft2(q_hat * np.exp(-1j * omega * 5 * DAY))
    assert relative(carry(qg, np.fft.irfft2(q_hat)), expected) < 1e-8


# Phillips' instability: the rates are eigenvalues; the solver must reach them in time.


@pytest.mark.parametrize(
    ("parameters", "wave", "rate"),
    [
        ({}, 7, 7.795042e-8),
        ({"drag": 7e-8, "depth_ratio": 0.1, "beta": 1e-11}, 6, 4.463571e-8),
    ],
    ids=["eddy", "jet"],
)
def test_growth_of_the_most_unstable_wave(
    parameters: dict[str, Any], wave: int, rate: float
) -> None:
    interval = 2e8 if rate > 5e-8 else 4e8  # the damped wave is gone by then
    qg = solver(record_interval=interval, records=2, rtol=1e-9, **parameters)
    _, x = np.mgrid[:32, :32]
    q = np.stack([np.cos(2 * np.pi * wave * x / 32), np.sin(2 * np.pi * wave * x / 32)])
    # so small that it stays a wave, and predictable, to the end
    outputs = qg.solve({"initial_potential_vorticity": 1e-30 * q[None]}).outputs
    amplitude = np.sqrt((outputs["streamfunction"][0] ** 2).mean(axis=(-2, -1)))
    growth = np.log(amplitude[1] / amplitude[0]) / interval
    # seven digits are known; the steps add less
    np.testing.assert_allclose(growth, rate, rtol=2e-7)


# Invariants: the dealiased equations without drag, filter and background conserve them.


def invariants(qg: QuasiGeostrophic, q: Array) -> Array:
    model = qg.model()
    q_hat = np.fft.rfft2(q) / q[0].size
    upper, lower = model.stretching
    common = model.mixed * (lower * q_hat[0] + upper * q_hat[1])
    psi_hat = model.diagonal * q_hat + common
    energy = -0.5 * (model.depth[:, None, None] * psi_hat.conj() * q_hat).real
    total = (model.weights * energy).sum()
    enstrophy = (model.weights * np.abs(q_hat) ** 2).sum(axis=(-2, -1))
    return np.array([total, *enstrophy])


def test_energy_and_enstrophies_drift_at_the_order_of_the_steps() -> None:
    qg = solver(
        beta=0.0, velocity=(0.0, 0.0), drag=0.0, filter_strength=0.0, dealias=True
    )
    model = qg.model()
    start = draw(qg)
    drifts = []
    for count in (20, 40, 80):
        state = CompiledState(model)
        state.start(np.fft.rfft2(start)[None])
        state.runge_kutta(6 * DAY / count, count, np.zeros_like(model.kappa2))
        end = np.fft.irfft2(state.q_hat[0])
        before, now = invariants(qg, start), invariants(qg, end)
        drifts.append(np.abs(now / before - 1))
    assert relative(end, start) > 0.5  # the flow has moved
    assert (drifts[-1] < 1e-6).all()
    # at least order four: each halving gains 16, less a little for higher terms
    assert (drifts[1] < drifts[0] / 14).all()
    assert (drifts[2] < drifts[1] / 14).all()


def test_budget_of_energy_closes_for_a_linear_wave_of_known_rate() -> None:
    """With drag alone, a barotropic shear flow decays at r H₂/H exactly."""
    qg = solver(velocity=(0.0, 0.0), beta=0.0, deformation_radius=1e9, drag=2e-6)
    y, _ = np.mgrid[:32, :32]
    wave = 1e-5 * np.cos(2 * np.pi * 3 * y / 32)
    end = carry(qg, np.stack([0 * wave, wave]))
    # r_d → ∞ uncouples the layers: the lower one decays at r, the upper one rests
    np.testing.assert_allclose(end[1], wave * np.exp(-2e-6 * 5 * DAY), atol=1e-13)
    assert np.abs(end[0]).max() < 1e-13


# Order in time.


def test_order_of_convergence_with_the_filter_on() -> None:
    qg = solver(dealias=True, filter_strength=2.0)
    model = qg.model()
    log_decay = model.log_filter / 3600
    start = np.fft.rfft2(draw(qg))[None]

    def end(count: int) -> Array:
        state = CompiledState(model)
        state.start(start)
        state.runge_kutta(4 * DAY / count, count, log_decay)
        return state.q_hat

    exact = end(800)
    errors = [relative(end(count), exact) for count in (25, 50, 100)]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (abs(orders - 4) < 0.3).all(), (errors, orders)


def test_error_estimate_bounds_the_error() -> None:
    q = draw(solver())
    exact = carry(solver(rtol=1e-10), q)
    for rtol in (1e-6, 1e-8):
        qg = solver(rtol=rtol)
        solution = qg.solve({"initial_potential_vorticity": q[None]})
        error = relative(solution.outputs["potential_vorticity"][0, -1], exact)
        # it is that of the embedded third-order result; five days bring little growth
        assert error < 3 * solution.error[0]
        assert error > 1e-3 * solution.error[0]


# Symmetries.


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 31), st.integers(0, 31), st.integers(0, 3))
def test_translation(shift_y: int, shift_x: int, seed: int) -> None:
    qg = solver(rtol=1e-6)
    q = draw(qg, seed)
    moved = carry(qg, np.roll(q, (shift_y, shift_x), axis=(1, 2)))
    expected = np.roll(carry(qg, q), (shift_y, shift_x), axis=(1, 2))
    # same steps, so round-off alone, times what five days make of it
    assert relative(moved, expected) < 1e-11


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 100))
def test_reflection_about_a_latitude(seed: int) -> None:
    """(x, y, q) → (x, -y, -q) maps solutions to solutions, β included."""
    qg = solver(rtol=1e-6)
    q = draw(qg, seed)

    def mirror(field: Array) -> Array:
        return -np.roll(field[:, ::-1], 1, axis=1)

    assert relative(carry(qg, mirror(q)), mirror(carry(qg, q))) < 1e-11


@settings(max_examples=5, deadline=None)
@given(st.integers(-20, 20))
def test_galilean_invariance(cells: int) -> None:
    """The same velocity added to both layers carries everything along.

    Dealiased: aliases do not travel with the flow.
    """
    q = draw(solver())
    speed = cells * 1e6 / 32 / (5 * DAY)
    moved = carry(solver(velocity=(0.025 + speed, speed), dealias=True), q)
    expected = np.roll(carry(solver(dealias=True), q), cells, axis=2)
    # two runs of other steps, each within some 1e-8
    assert relative(moved, expected) < 1e-6


@pytest.mark.parametrize("length", [0.1, 7.0])
@pytest.mark.parametrize("time", [0.3, 20.0])
def test_units_do_not_matter(length: float, time: float) -> None:
    q = draw(solver())
    scaled = solver(
        extent=(1e6 * length, 1e6 * length),
        beta=1.5e-11 / length / time,
        deformation_radius=15e3 * length,
        velocity=(0.025 * length / time, 0.0),
        drag=5.787e-7 / time,
        filter_interval=3600 * time,
        record_interval=5 * DAY * time,
    )
    assert relative(carry(scaled, q / time) * time, carry(solver(), q)) < 1e-9
