"""Every stepper has the order it declares, and the φ functions are accurate."""

import math
from fractions import Fraction

import numpy as np
import pytest

from opkit.solvers.steppers import STEPPERS
from opkit.solvers.steppers.exponential import phi


def _bernoulli_errors(name: str, counts: tuple[int, ...]) -> list[float]:
    """Error at t=2 of u' = L u - u², exact by Bernoulli's substitution."""
    linear = np.array([-1.5, -0.2, -0.7 + 2j])
    start = np.array([0.8, 0.5, 0.3 + 0.1j])
    time = 2.0
    decay = np.exp(-linear * time)
    exact = 1 / ((1 / start - 1 / linear) * decay + 1 / linear)
    errors = []
    for count in counts:
        step = STEPPERS[name].prepare(linear, time / count, lambda u: -(u**2))
        u = start
        for _ in range(count):
            u = step(u)
        errors.append(float(np.abs(u - exact).max()))
    return errors


@pytest.mark.parametrize("name", STEPPERS)
def test_the_measured_order_is_the_declared_one(name: str) -> None:
    coarse, fine = _bernoulli_errors(name, (100, 200))
    # the next term of the error changes the slope by O(dt) < 0.1
    assert math.log2(coarse / fine) == pytest.approx(STEPPERS[name].order, abs=0.15)


@pytest.mark.parametrize("name", ["ifrk4", "etdrk4", "etdrk2"])
def test_exponential_methods_are_exact_without_nonlinear_term(name: str) -> None:
    linear = np.array([-300.0, -1.0, 2j, 0.0])
    u = STEPPERS[name].prepare(linear, 0.3, np.zeros_like)(np.ones(4, complex))
    np.testing.assert_allclose(u, np.exp(0.3 * linear), rtol=1e-14)


@pytest.mark.parametrize("name", ["etdrk2", "etdrk4"])
def test_exponential_time_differencing_keeps_fixed_points(name: str) -> None:
    linear = np.array([-500.0, -3.0, -1e-3])
    step = STEPPERS[name].prepare(linear, 0.2, lambda u: -linear + 0 * u)
    np.testing.assert_allclose(step(np.ones(3)), 1, rtol=1e-13)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("z", [0, Fraction(-1, 10**6), Fraction(-99, 100), -1, -40])
def test_phi_against_exact_rational_sums(order: int, z: int | Fraction) -> None:
    exact = sum(Fraction(z) ** n / math.factorial(n + order) for n in range(200))
    (*_, value) = phi(np.array([float(z)]), order)
    # the recurrence cancels at most two digits at |z| = 1
    assert value[0] == pytest.approx(float(exact), rel=2e-14)


def test_phi_of_complex_argument() -> None:
    z = np.exp(1j * np.linspace(0, 2 * np.pi, 9)) * np.array([[0.5], [0.99], [1.01]])
    one, two = phi(z, 2)
    np.testing.assert_allclose(one, (np.exp(z) - 1) / z, rtol=1e-14)
    np.testing.assert_allclose(two, (one - 1) / z, rtol=1e-14)


def test_the_embedded_difference_falls_with_the_fourth_power() -> None:
    linear, start = np.array([-1.5, -0.2]), np.array([0.8, 0.5])
    sizes = []
    for dt in (0.02, 0.01):
        step = STEPPERS["ifrk4"].prepare(linear, dt, lambda u: -(u**2))
        step(start)
        sizes.append(np.abs(step.difference).max())
    assert math.log2(sizes[0] / sizes[1]) == pytest.approx(4, abs=0.1)


def test_the_first_slope_is_reused() -> None:
    calls = []

    def nonlinear(u: np.ndarray) -> np.ndarray:
        calls.append(u)
        return -(u**2)

    step = STEPPERS["ifrk4"].prepare(np.array([-1.0]), 0.1, nonlinear)
    u = np.ones(1)
    for _ in range(3):
        u = step(u)
    assert len(calls) == 4 * 3 + 1
    again = STEPPERS["ifrk4"].prepare(np.array([-1.0]), 0.1, nonlinear)
    v = np.ones(1)
    for _ in range(3):
        v = again(v.copy())  # another array: the slope must be computed
    assert v == u


def test_ab3_with_euler_start_is_the_textbook_formula() -> None:
    def slope(u: float) -> float:
        return -(u**2)

    step = STEPPERS["ab3-euler-start"].prepare(np.zeros(1), 0.1, slope)
    u = [np.ones(1)]
    for _ in range(3):
        u.append(step(u[-1]))
    f = [slope(x) for x in u]
    np.testing.assert_allclose(u[1], u[0] + 0.1 * f[0])
    np.testing.assert_allclose(u[2], u[1] + 0.1 * (1.5 * f[1] - 0.5 * f[0]))
    third = u[2] + 0.1 * (23 * f[2] - 16 * f[1] + 5 * f[0]) / 12
    np.testing.assert_allclose(u[3], third)


@pytest.mark.parametrize("name", STEPPERS)
def test_torch_states_give_the_same(name: str) -> None:
    torch = pytest.importorskip("torch")
    linear, start = np.array([-1.5, -0.2]), np.array([0.8, 0.5])
    ours = STEPPERS[name].prepare(linear, 0.1, lambda u: -(u**2))
    theirs = STEPPERS[name].prepare(linear, 0.1, lambda u: -(u**2), torch.as_tensor)
    u, v = start, torch.as_tensor(start)
    for _ in range(5):
        u, v = ours(u), theirs(v)
    np.testing.assert_allclose(v.numpy(), u, rtol=1e-15)
