"""Darcy flow: random permeability, and inputs that must be refused."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from opkit.case import load_case
from opkit.errors import CaseError, OpkitInputError
from opkit.solvers.darcy.solver import Darcy
from opkit.solvers.laws.cosine_fields import cosine_field, shell_order
from opkit.solvers.laws.permeability import LogNormal, TwoPhase


def test_cosine_field_is_its_series() -> None:
    shape, alpha, tau = (7, 5), 2.0, 3.0
    xi = np.random.default_rng(1).standard_normal(7 * 7 - 1)
    x, y = np.linspace(0, 1, 5), np.linspace(0, 1, 7)[:, None]
    expected = np.zeros(shape)
    for k_y, k_x, value in zip(*shell_order(7), xi, strict=True):
        if k_x < 5:
            root = np.sqrt(2.0) ** (int(k_x > 0) + int(k_y > 0))
            amplitude = tau ** (alpha - 1) * (
                np.pi**2 * (k_x**2 + k_y**2) + tau**2
            ) ** (-alpha / 2)
            wave = np.cos(np.pi * k_x * x) * np.cos(np.pi * k_y * y)
            expected += value * amplitude * root * wave
    field = cosine_field(np.random.default_rng(1), shape, alpha, tau)
    assert field == pytest.approx(expected, abs=1e-12)


def test_a_seed_means_the_same_field_at_every_resolution() -> None:
    def field(n: int, alpha: float) -> np.ndarray:
        return cosine_field(np.random.default_rng(7), (n, n), alpha, 3.0)

    # α = 6: modes above 20 weigh less than 3⁵ Σ_{k>20} k (π k)⁻⁶ < 1e-5.
    assert field(121, 6.0)[::3, ::3] == pytest.approx(field(41, 6.0), abs=1e-5)
    assert field(121, 6.0)[::6, ::6] == pytest.approx(field(21, 6.0), abs=1e-4)
    # α = 2: the missing tail has standard deviation τ / √(2π · 2) / (π K) = 0.27 / K.
    difference = field(421, 2.0)[::5, ::5] - field(85, 2.0)
    assert np.sqrt(np.mean(difference**2)) < 3 * 0.27 / 85


def test_variance_of_the_published_field() -> None:
    """Mean square Σ τ² (π²|k|² + τ²)⁻²; 0.292 was measured on a cell-centred grid."""
    n, samples = 33, 400
    k = np.pi**2 * (np.arange(n)[:, None] ** 2 + np.arange(n) ** 2) + 9.0
    expected = 9.0 * ((k**-2).sum() - 1 / 81)
    weights = np.ones(n)
    weights[[0, -1]] = 0.5  # trapezoidal rule, exact for products of resolved modes
    weights = np.outer(weights, weights) / (n - 1) ** 2
    squares = [
        (weights * cosine_field(np.random.default_rng(i), (n, n), 2.0, 3.0) ** 2).sum()
        for i in range(samples)
    ]
    # The modes k = 1 dominate: relative deviation of one square about 1, so 5 % here.
    assert np.mean(squares) == pytest.approx(expected, rel=0.15)
    assert np.sqrt(expected) == pytest.approx(0.292, abs=0.003)


def test_two_phase_permeability_takes_two_values_in_equal_shares() -> None:
    fields = [TwoPhase().draw(np.random.default_rng(i), (43, 43)) for i in range(200)]
    assert set(np.unique(fields)) == {3.0, 12.0}
    # g and -g are equally likely; one sample's share deviates by about 0.2.
    assert np.mean(np.array(fields) == 12.0) == pytest.approx(0.5, abs=0.05)


def test_log_normal_permeability() -> None:
    law = LogNormal(mean=0.5, scale=2.0)
    field = cosine_field(np.random.default_rng(3), (20, 20), 2.0, 3.0)
    drawn = law.draw(np.random.default_rng(3), (20, 20))
    assert np.log(drawn) == pytest.approx(0.5 + 2.0 * field)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a * 0, "above zero"),
        (lambda a: np.where(a > 5, -a, a), "above zero"),
        (lambda a: np.where(a > 5, np.nan, a), "NaN"),
        (lambda a: np.where(a > 5, np.inf, a), "infinity"),
        (lambda a: a[0], "shape"),
        (lambda a: a[:, :-1], "shape"),
        (lambda a: a[None], "shape"),
    ],
)
def test_bad_permeability_is_refused(change: Any, message: str) -> None:
    solver = Darcy(resolution=(20, 20))
    a = solver.sample(np.random.default_rng(0))["permeability"][None]
    with pytest.raises(OpkitInputError, match=message) as caught:
        solver.solve({"permeability": change(a)})
    assert "\n" not in str(caught.value)
    with pytest.raises(OpkitInputError, match=message):
        solver.residual({"permeability": change(a)}, {"pressure": a})


def test_missing_and_mismatched_fields_are_refused() -> None:
    solver = Darcy(resolution=(9, 9))
    a = np.ones((2, 9, 9))
    with pytest.raises(OpkitInputError, match="permeability is missing"):
        solver.solve({"a": a})
    with pytest.raises(
        OpkitInputError, match="permeability has 2 samples and pressure 1"
    ):
        solver.solve_from({"permeability": a}, {"pressure": a[:1]})
    with pytest.raises(OpkitInputError, match="NaN"):
        solver.solve_from({"permeability": a}, {"pressure": a * np.nan})


@pytest.mark.parametrize(
    "override",
    [
        "resolution=2",
        "resolution=[85]",
        "solver.parameters.forcing=0",
        "solver.parameters.rtol=0",
        "solver.parameters.rtol=1e-14",
        "solver.parameters.faces=arithmetic",
        "solver.parameters.preconditioner=ilu",
        "distribution.low=0",
        "distribution.low=20",
        "distribution.alpha=1",
        "distribution.kind=three-phase",
        "distribution.tua=3",
    ],
)
def test_bad_parameters_are_refused_in_one_line(override: str) -> None:
    with pytest.raises(CaseError) as caught:
        load_case("darcy", (override,)).build_solver()
    assert "\n" not in str(caught.value)


def test_smallest_grid() -> None:
    """One unknown: 4 a p / h² = f, h = 1/2."""
    solution = Darcy(resolution=(3, 3)).solve({"permeability": np.full((1, 3, 3), 2.0)})
    assert solution.outputs["pressure"][0, 1, 1] == pytest.approx(1 / 32)
    with pytest.raises(ValidationError):
        Darcy(resolution=(2, 3))
