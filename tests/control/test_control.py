from __future__ import annotations

import sys

import numpy as np
import pytest

from opkit import control
from opkit.assimilate import Grid
from opkit.case.catalogue import load_case
from opkit.case.record import Case
from opkit.control import System, boxes, regulator, system_of
from opkit.errors import MissingExtraError, OpkitInputError

# convection, diffusion and reaction of controlgym: growing, and advected around a ring
GROWING = (
    "solver.parameters.velocity=0.1",
    "solver.parameters.diffusion=0.002",
    "solver.parameters.growth=0.1",
    "solver.parameters.record_interval=0.1",
    "solver.parameters.records=1",
)


@pytest.fixture(scope="module")
def growing() -> System:
    return system_of(load_case("advection-diffusion", GROWING), steps=1)


def test_a_uniform_force_solves_the_equation_of_the_mean(growing: System) -> None:
    """dm/dt = g m + a: m(Δ) = (e^{gΔ} - 1) a / g, to second order in h."""
    errors = []
    g, amplitude, whole = 0.1, 2.0, 0.8
    for halvings in (0, 1, 2):
        h = whole / 2**halvings
        case = load_case(
            "advection-diffusion",
            (*GROWING, f"solver.parameters.record_interval={h}"),
        )
        system = system_of(case, actuators=1, width=1.0, substeps=2**halvings, steps=1)
        state = system.advance(np.zeros((1, 64)), np.full((1, 1), amplitude))
        exact = np.expm1(g * whole) / g * amplitude
        assert np.ptp(state) < 1e-12  # uniform stays uniform
        errors.append(abs(state.mean() / exact - 1))
    # Strang: a relative error of (g h)²/12, as the expansion of coth says
    assert errors[0] == pytest.approx((g * whole) ** 2 / 12, rel=0.01)
    assert np.log2(np.divide(errors[:-1], errors[1:])) == pytest.approx(2, abs=0.02)


def test_the_regulators_cost_is_that_of_riccati(growing: System) -> None:
    best = regulator(growing)
    state = start = np.random.default_rng(0).standard_normal((1, 64))
    paid = 0.0
    for _ in range(1500):
        action = best(state)
        paid += growing.cost(state, action)[0]
        state = growing.advance(state, action)
    # what 1500 intervals leave decays like the closed loop, far below 1e-6
    assert paid == pytest.approx(best.cost(start)[0], rel=1e-6)
    free = np.abs(np.linalg.eigvals(best.transition)).max()
    closed = best.transition - best.action @ best.gain
    assert free == pytest.approx(np.exp(0.1 * 0.1), rel=1e-6)  # the mean grows by g Δ
    assert np.abs(np.linalg.eigvals(closed)).max() < 1


def test_no_other_gain_is_cheaper(growing: System) -> None:
    best = regulator(growing)
    rng = np.random.default_rng(1)
    start = rng.standard_normal((1, 64))

    def paid(gain: np.ndarray) -> float:
        state, total = start, 0.0
        for _ in range(600):
            action = -state @ gain.T
            total += growing.cost(state, action)[0]
            state = growing.advance(state, action)
        return total

    least = paid(best.gain)
    for _ in range(3):
        change = 0.05 * np.abs(best.gain).max() * rng.standard_normal(best.gain.shape)
        assert paid(best.gain + change) > least


def ks(**more: object) -> Case:
    changes = {
        "resolution": 64, "solver.parameters.length": 22,
        "solver.parameters.spin_up": 0, "solver.parameters.records": 1,
        "solver.parameters.record_interval": 0.5, **more,
    }  # fmt: skip
    return load_case(
        "kuramoto-sivashinsky",
        tuple(f"{key}={value}" for key, value in changes.items()),
    )


def test_feedback_about_zero_holds_kuramoto_sivashinsky_still() -> None:
    system = system_of(ks(), actuators=8, substeps=1, steps=4)
    best = regulator(system)
    # waves 1, 2 and 3 of a ring of length 22 grow, at most by k² - k⁴ = 1/4
    free = np.abs(np.linalg.eigvals(best.transition))
    waves = 2 * np.pi * np.arange(1, 9) / 22
    rates = np.exp(0.5 * (waves**2 - waves**4))
    assert np.sort(free)[::-1][:6] == pytest.approx(
        np.repeat(np.sort(rates)[::-1][:3], 2), rel=1e-3
    )
    x = system.grid.axes[0]
    start = 0.1 * np.cos(2 * np.pi * x / 22)[None]
    held = loose = start
    for _ in range(100):
        held = system.advance(held, best(held))
        loose = system.advance(loose, np.zeros((1, 8)))
    assert np.abs(held).max() < 1e-3 < 0.5 < np.abs(loose).max()


def test_weights_integrate() -> None:
    x, y = 2 * np.arange(16) / 16, np.linspace(0, 1, 33)
    grid = Grid((y, x), (None, 2.0))
    system = System(lambda u: u, 1.0, grid, boxes(grid, 2))
    values = np.multiply.outer(y**2, np.sin(np.pi * x) ** 2)
    # trapezoidal in y: h²/12 (f'(1) - f'(0)) beside 1/3
    assert (system.weights * values).sum() == pytest.approx(1 / 3 + 1 / 32**2 / 6)


def test_boxes_are_as_wide_as_asked() -> None:
    grid = Grid((np.arange(100) / 100,), (1.0,))
    forces = boxes(grid, 4, 0.1)
    assert forces[0].nonzero()[0].tolist() == list(range(8, 18))  # 0.125 ± 0.05
    assert np.array_equal(forces[1], np.roll(forces[0], 25))


def test_what_cannot_be_is_refused_in_one_line(growing: System) -> None:
    grid = growing.grid
    wave = np.cos(2 * np.pi * grid.axes[0])
    still = System(lambda u: 1.1 * u, 1.0, grid, boxes(grid, 2))
    for message, make in (
        ("they overlap", lambda: boxes(grid, 11)),
        ("hold none", lambda: boxes(grid, 3, 1e-4)),
        ("equilibrium", lambda: regulator(system_of(ks(), target=wave))),
        ("no force reaches", lambda: regulator(still)),
        ("price -1", lambda: system_of(load_case("advection-diffusion"), price=-1)),
        ("does not evolve one field", lambda: system_of(load_case("darcy"))),
        ("forces of shape", lambda: System(lambda u: u, 1.0, grid, np.ones((2, 5)))),
    ):
        with pytest.raises(OpkitInputError, match=message):
            make()


def test_without_gymnasium_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(MissingExtraError, match=r'install "opkit\[control\]"'):
        _ = control.environment
