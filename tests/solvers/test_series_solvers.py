"""Solvers from series, and to numbers and series, against closed forms."""

import numpy as np
import pytest

from opkit.errors import NotConvergedError, OpkitInputError
from opkit.solvers.conductivity_cell import ConductivityCell
from opkit.solvers.heat_rod import HeatRod

KAPPA = 0.4


def rod(points: int = 33, intervals: int = 40, **options: float) -> HeatRod:
    return HeatRod(
        **{"diffusivity": KAPPA, "rtol": 1e-8} | options,
        resolution=(points,),
        intervals=intervals,
    )


def duhamel(
    g: np.ndarray, t: np.ndarray, x: np.ndarray, modes: int = 20_000
) -> tuple[np.ndarray, np.ndarray]:
    """Temperature at the last time and flux by Duhamel's series, g linear in pieces."""
    k = np.arange(1, modes + 1)
    rate, c = KAPPA * (k * np.pi) ** 2, 2 / (k * np.pi)
    b = np.zeros(modes)
    flux = [0.0]
    for dt, change, value in zip(np.diff(t), np.diff(g), g[1:], strict=True):
        b = b * np.exp(-rate * dt) + change / dt * c * np.expm1(-rate * dt) / rate
        flux.append(KAPPA * (value - (b * k * np.pi * (-1.0) ** k).sum()))
    few = slice(2000)  # the field's terms fall as k^-3
    field = g[-1] * (1 - x) + np.sin(np.outer(x, k[few]) * np.pi) @ b[few]
    return field, np.array(flux)


@pytest.fixture(scope="module")
def history() -> tuple[np.ndarray, np.ndarray]:
    t = np.linspace(0.0, 1.0, 41)
    g = np.random.default_rng(0).standard_normal(41).cumsum() / 6
    return t, g - g[0]


def test_the_rod_follows_duhamels_series(
    history: tuple[np.ndarray, np.ndarray],
) -> None:
    t, g = history
    solution = rod().solve({"end_temperature": g[None]})
    field, flux = duhamel(g, t, np.linspace(0, 1, 33))
    found = {name: values[0] for name, values in solution.outputs.items()}
    # the sum of 2,000 terms k^-3 is cut off at 1e-7
    assert np.abs(found["temperature"] - field).max() < 3e-7
    # terms of the flux alternate, the last of 20,000 is 1e-9 of it
    assert np.abs(found["flux"] - flux).max() < 1e-8
    # the heat is the integral of the flux; the trapezoidal rule is off by dt² / 12 q''
    assert found["heat"] == pytest.approx(np.trapezoid(flux, t), abs=2e-3)
    assert (solution.error <= 1e-8).all()


def test_heat_is_conserved(history: tuple[np.ndarray, np.ndarray]) -> None:
    """A long constant temperature: flux κ g / L, heat grows at that rate."""
    t = np.linspace(0, 1, 41)
    steady = rod(duration=40.0).solve({"end_temperature": np.ones((1, 41))}).outputs
    # the slowest mode has decayed by exp(-κ π² 40) = 1e-69
    np.testing.assert_allclose(steady["temperature"][0], 1 - np.linspace(0, 1, 33))
    assert steady["flux"][0, -1] == pytest.approx(KAPPA)
    # heat = κ t - 1/6 in the limit: Σ 2 (-1)^k / (k π)² = -1/6
    assert steady["heat"][0] == pytest.approx(KAPPA * 40 - 1 / 6)
    assert t[-1] == 1.0


def test_differences_are_of_second_order(
    history: tuple[np.ndarray, np.ndarray],
) -> None:
    t, g = history
    solver = rod()
    _, exact = duhamel(g, t, np.zeros(1))
    errors = [
        np.abs(solver._on(g[None], count)[1][0] - exact).max()
        for count in (32, 64, 128)
    ]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, 2.0, atol=0.05)


def test_a_rod_whose_sample_has_its_own_diffusivity() -> None:
    g = np.linspace(0, 1, 41)[None].repeat(2, 0)
    both = rod().solve({"end_temperature": g, "diffusivity": np.array([0.2, 0.8])})
    alone = rod(diffusivity=0.8).solve({"end_temperature": g[:1]})
    np.testing.assert_array_equal(both.outputs["flux"][1], alone.outputs["flux"][0])
    residual = rod().residual(
        {"end_temperature": g, "diffusivity": np.array([0.2, 0.8])},
        {name: v.astype(np.float32) for name, v in both.outputs.items()},
    )
    assert (residual < 1e-6).all()  # float32
    wrong = dict(both.outputs, heat=both.outputs["heat"] * 1.1)
    assert rod(diffusivity=0.2).residual(
        {"end_temperature": g[:1]}, {k: v[:1] for k, v in wrong.items()}
    ) == pytest.approx(0.1, rel=1e-3)


def test_a_series_of_another_length_is_refused() -> None:
    with pytest.raises(OpkitInputError, match=r"end_temperature has shape \(1, 7\)"):
        rod().solve({"end_temperature": np.zeros((1, 7))})
    with pytest.raises(NotConvergedError, match="sample 0 of the batch: changes by"):
        rod(rtol=1e-11, diffusivity=1e-3).solve(
            {"end_temperature": np.linspace(0, 1, 41)[None]}
        )


def test_laminates_have_the_means_of_their_closed_form() -> None:
    """Arithmetic mean along the layers, harmonic mean across."""
    a = np.where(np.arange(16) < 4, 1.0, 10.0) * np.ones((16, 1))
    cell = ConductivityCell(resolution=(16, 16))
    found = cell.solve({"conductivity": np.stack([a, a.T])})
    along, across = 0.25 + 7.5, 1 / (0.25 + 0.075)
    # faces are harmonic means: exact up to the tolerance of the iteration
    expected = [[across, 0, along], [along, 0, across]]
    np.testing.assert_allclose(
        found.outputs["effective_conductivity"], expected, atol=1e-7
    )


def test_a_checkerboard_comes_near_the_geometric_mean() -> None:
    """√(a₁ a₂) = 2 (Dykhne); corners make the order about 1.2."""
    errors = []
    for n in (16, 32, 64):
        board = (np.arange(n)[:, None] // (n // 2) + np.arange(n) // (n // 2)) % 2
        cell = ConductivityCell(resolution=(n, n))
        found = cell.solve({"conductivity": np.where(board, 1.0, 4.0)[None]})
        xx, xy, yy = found.outputs["effective_conductivity"][0]
        assert xx == pytest.approx(yy)
        assert abs(xy) < 1e-9
        errors.append(abs(xx - 2.0))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (orders > 1.1).all()
    assert errors[-1] < 0.011


def test_cells_stay_within_the_bounds_and_turn_with_the_medium() -> None:
    """Voigt and Reuss bound every direction; the transposed medium swaps xx and yy."""
    cell = ConductivityCell(resolution=(16, 16))
    a = cell.sample(np.random.default_rng(3))["conductivity"]
    found = cell.solve({"conductivity": np.stack([a, a.T])})
    here, turned = found.outputs["effective_conductivity"]
    np.testing.assert_allclose(here[[2, 1, 0]], turned, atol=1e-6)
    assert (here[[0, 2]] < a.mean()).all()
    assert (here[[0, 2]] > 1 / (1 / a).mean()).all()
    assert (found.error <= 1e-8).all()
    assert cell.residual(
        {"conductivity": a[None]}, {"effective_conductivity": 1.1 * here[None]}
    ) == pytest.approx(0.1, rel=1e-5)
