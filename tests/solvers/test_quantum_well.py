"""Bound states against closed forms, and enclosures that are proofs."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.optimize import brentq

from opkit.errors import OpkitInputError
from opkit.solvers.quantum_well import QuantumWell, count_below, share_inside


def energies(potential: np.ndarray, **options: Any) -> np.ndarray:
    well = QuantumWell(resolution=(len(potential),), **options)
    return well.solve({"potential": potential[None]}).outputs["energies"][0]


STARTS = 0.33 + 0.04 * np.random.default_rng(0).random(32)


def orders(errors: list[np.ndarray]) -> np.ndarray:
    return np.log2(np.abs(errors[:-1]) / np.abs(errors[1:]))


def test_the_empty_well() -> None:
    """The matrix has the eigenvalues 4 sin²((n + 1) π h / 2) / h², ψ its sines."""
    n, length, bottom = 33, 2.0, 7.0
    h, k = length / (n - 1), np.arange(1, 5)
    well = QuantumWell(resolution=(n,), length=length)
    solution = well.solve({"potential": np.full((1, n), bottom)})
    discrete = bottom + 4 * np.sin(k * np.pi * h / (2 * length)) ** 2 / h**2
    np.testing.assert_allclose(solution.outputs["energies"][0], discrete, rtol=1e-13)
    x = well.coordinates()["x"].values
    for state in range(4):
        density = 2 / length * np.sin((state + 1) * np.pi * x / length) ** 2
        found = solution.outputs[f"density_{state}"][0]
        np.testing.assert_allclose(found, density, atol=1e-12)
    # the stored error is that against E_n = bottom + ((n + 1) π / L)², up to h⁴
    exact = bottom + (k * np.pi / length) ** 2
    off = np.abs(discrete - exact) / (exact + (np.pi / length) ** 2)
    assert solution.error[0] == pytest.approx(off.max(), rel=0.02)


def test_the_harmonic_oscillator_is_of_second_order() -> None:
    """E_n = (2 n + 1) ω for V = ω² x²; the walls are 10 widths away: exp(-50)."""
    omega, errors = 200.0, []
    for n in (65, 129, 257):
        x = np.linspace(-0.5, 0.5, n)
        errors.append(energies(omega**2 * x**2) - omega * np.array([1, 3, 5, 7]))
    # the next term is of relative size h² ω (2 n + 1): 0.09 on the coarsest grid
    np.testing.assert_allclose(orders(errors), 2.0, atol=0.1)
    assert abs(errors[-1][0]) < 2e-4 * omega


def test_the_finite_well_is_of_second_order() -> None:
    """V = 0 on (a, b), v outside; even states of k tan(k w / 2) = κ, odd of -cot.

    The walls of the box are far: exp(-2 κ 0.35) < 1e-6 for the second state.
    """
    width, height = 20 / 64, 600.0  # whole cells: both jumps lie alike in theirs
    half, second = width / 2, np.pi / width

    def even(k: float) -> float:
        return k * np.sin(k * half) - (height - k * k) ** 0.5 * np.cos(k * half)

    def odd(k: float) -> float:
        return k * np.cos(k * half) + (height - k * k) ** 0.5 * np.sin(k * half)

    exact = np.array([brentq(even, 0.1, second), brentq(odd, second, 2 * second)]) ** 2
    errors = []
    for n in (65, 513):
        outside = [1 - share_inside(n, a, a + width) for a in STARTS]
        each = [energies(height * part, states=2) - exact for part in outside]
        # where jumps lie in their cells changes the constant of h²
        errors.append(np.sqrt(np.mean(np.square(each), axis=0)))
    order = np.log2(errors[0] / errors[-1]) / 3
    np.testing.assert_allclose(order, 2.0, atol=0.1)
    assert (errors[-1] < 1e-4 * exact).all()


def test_counts_are_those_of_the_eigenvalues() -> None:
    rng = np.random.default_rng(0)
    diagonals = rng.standard_normal((3, 12))
    shifts = rng.uniform(-3, 3, (3, 5))
    for d, s, counts in zip(
        diagonals, shifts, count_below(diagonals, -0.7, shifts), strict=True
    ):
        matrix = np.diag(d) - 0.7 * (np.eye(12, k=1) + np.eye(12, k=-1))
        below = np.linalg.eigvalsh(matrix) < s[:, None]
        np.testing.assert_array_equal(counts, below.sum(1))


def test_energies_are_enclosed_whatever_is_claimed() -> None:
    well = QuantumWell(resolution=(65,))
    rng = np.random.default_rng(0)
    inputs = {"potential": np.stack([well.sample(rng)["potential"] for _ in range(20)])}
    true = well.solve(inputs).outputs["energies"]
    swapped = true[:, [1, 0, 3, 2]]
    for claimed in (
        true + 0.3 * rng.standard_normal(true.shape),
        100 * rng.standard_normal(true.shape),
        swapped,
        true,
    ):
        low, high = well.enclosures(inputs, {"energies": claimed})["energies"]
        assert ((low <= true) & (true <= high)).all()
        # at most twice the distance, or what rounding makes of a matrix of norm 4/h²
        assert (high - claimed <= 3 * np.abs(true - claimed) + 1e-9).all()
    close = true + 1e-3
    low, high = well.enclosures(inputs, {"energies": close})["energies"]
    # two steps of inverse iteration so close: the bound is the distance
    np.testing.assert_allclose(high - close, 1e-3, rtol=1e-4)


def test_the_residual_sees_energies_and_densities() -> None:
    well = QuantumWell(resolution=(33,), states=2)
    inputs = {"potential": np.zeros((1, 33))}
    outputs = dict(well.solve(inputs).outputs)
    assert well.residual(inputs, outputs)[0] == 0
    wrong = outputs | {"energies": outputs["energies"] + 0.1 * np.pi**2}
    assert well.residual(inputs, wrong)[0] == pytest.approx(0.1)
    wrong = outputs | {"density_1": 1.2 * outputs["density_1"]}
    assert well.residual(inputs, wrong)[0] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": (32,)}, "odd"),
        ({"resolution": (9,), "states": 4}, "at most 3"),
        ({"distribution": {"widths": (0.5, 0.4)}}, "low <= high"),
        ({"distribution": {"kinds": ()}}, "at least one"),
    ],
)
def test_bad_parameters(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        QuantumWell(**{"resolution": (33,)} | changes)


def test_bad_inputs() -> None:
    well = QuantumWell(resolution=(33,))
    with pytest.raises(OpkitInputError, match="potential is missing"):
        well.solve({})
    with pytest.raises(OpkitInputError, match="give as many of each"):
        well.enclosures(
            {"potential": np.zeros((2, 33))}, {"energies": np.zeros((1, 4))}
        )
