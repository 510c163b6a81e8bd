"""Lyapunov exponents and statistics against known ones; what is refused."""

import numpy as np
import pytest
import torch

from opkit.errors import NonFiniteError, OpkitInputError
from opkit.metrics.chaos import climate, lyapunov_exponents, wasserstein
from opkit.solvers.semilinear import Semilinear


def test_a_linear_map_has_the_logarithms_of_its_eigenvalues() -> None:
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]
    matrix = basis @ np.diag([1.5, 0.9, 0.5, 0.1]) @ basis.T
    found = lyapunov_exponents(
        lambda u: 0.5 * u @ matrix,
        np.ones((2, 4)), 0.25, count=3, steps=20, transient=60,
    )  # fmt: skip
    expected = np.log(0.5 * np.array([1.5, 0.9, 0.5])) / 0.25
    # differences of linear maps are exact; directions settle as (0.9/1.5)^60
    np.testing.assert_allclose(found.exponents, expected, rtol=0, atol=1e-6)
    assert found.time == np.inf


def test_lorenz_96() -> None:
    """F = 8, 40 variables: 1.67 to 1.7 (Lorenz and Emanuel 1998; Karimi, Paul 2010)."""

    def rate(x: np.ndarray) -> np.ndarray:
        slope: np.ndarray = (
            (np.roll(x, -1, -1) - np.roll(x, 2, -1)) * np.roll(x, 1, -1) - x + 8
        )
        return slope

    def step(x: np.ndarray) -> np.ndarray:
        k1 = rate(x)
        k2 = rate(x + 0.025 * k1)
        k3 = rate(x + 0.025 * k2)
        return x + 0.05 / 6 * (k1 + 2 * k2 + 2 * k3 + rate(x + 0.05 * k3))

    states = 8 + np.random.default_rng(0).standard_normal((32, 40))
    found = lyapunov_exponents(step, states, 0.05, steps=600, transient=300)
    assert found.errors[0] < 0.03
    assert found.exponents[0] == pytest.approx(1.685, abs=0.015 + 2 * found.errors[0])


def test_kuramoto_sivashinsky() -> None:
    """L = 22: 0.043 to 0.048 (Cvitanović, Davidchack, Siminos 2010; Edson et al. 2019).

    The second and third are zero, of shifts in time and space.
    """
    solver = Semilinear(
        resolution=(32,), length=22.0, convection=1.0, diffusion=-1.0,
        hyperdiffusion=1.0, record_interval=1.0,
    )  # fmt: skip
    draw = np.random.default_rng(0).standard_normal((16, 32))
    states = draw - draw.mean(1, keepdims=True)
    found = lyapunov_exponents(
        solver.forecast(2), states, 1.0, steps=600, transient=200
    )
    assert found.errors[0] < 0.003
    assert 0.043 - 2 * found.errors[0] < found.exponents[0]
    assert found.exponents[0] < 0.048 + 2 * found.errors[0]


def test_distances_of_statistics() -> None:
    draw = np.random.default_rng(0).standard_normal((2, 4000))
    assert wasserstein(draw[0] + 1, draw[0]) == pytest.approx(1 / draw[0].std())
    assert wasserstein(draw[0], draw[1]) < 0.05  # 1/√4000, a few times
    assert wasserstein([np.nan], draw[0]) == np.inf
    states = torch.randn(200, 1, 32, generator=torch.Generator().manual_seed(0))
    same = climate(states, states.flip(0))
    assert (same.values, same.energy, same.spectrum) == pytest.approx((0, 0, 0))
    assert same.variance == pytest.approx(1)
    twice = climate(2 * states, states)
    assert twice.spectrum == pytest.approx(np.log10(4))
    assert twice.variance == pytest.approx(4)
    assert climate(states * torch.nan, states).spectrum == np.inf


def test_what_is_refused() -> None:
    states = np.ones((1, 3))
    with pytest.raises(OpkitInputError, match="1 to 3 exponents"):
        lyapunov_exponents(lambda u: u, states, 1.0, count=4)
    with pytest.raises(OpkitInputError, match=r"\(trajectory, \*space\)"):
        lyapunov_exponents(lambda u: u, np.ones(3), 1.0)
    with pytest.raises(OpkitInputError, match="keep the shape"):
        lyapunov_exponents(lambda u: u[:1], states, 1.0)
    with pytest.raises(NonFiniteError, match="at step 0"):
        lyapunov_exponents(lambda u: u * np.nan, states, 1.0)
