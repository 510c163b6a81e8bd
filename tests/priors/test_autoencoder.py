"""Functional auto-encoders against principal components, on any points."""

import math

import pytest
import torch
from torch import Tensor

from opkit.errors import OpkitInputError
from opkit.priors.autoencoder import FunctionalAutoencoder, Training
from opkit.priors.waves import shares, waves


def ring(n: int) -> Tensor:
    return (torch.arange(n) / n)[:, None]


K = torch.arange(1, 33).double()
SIZE = 1 / ((2 * math.pi * K) ** 2 + 0.01)
"""Square roots of the eigenvalues of a law with 32 modes."""


def factors(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 32, generator=generator).double() * SIZE


def sines(factors: Tensor, points: Tensor) -> Tensor:
    sine = 2**0.5 * torch.sin(2 * math.pi * points.double() * K)
    return (factors @ sine.T).float()


def bumps(count: int, seed: int, points: Tensor, width: float = 0.06) -> Tensor:
    at = torch.rand(count, 1, generator=torch.Generator().manual_seed(seed))
    gap = (points[:, 0] - at + 0.5) % 1 - 0.5
    return torch.exp(-((gap / width) ** 2) / 2)


@pytest.fixture(scope="module")
def gaussian() -> FunctionalAutoencoder:
    u = sines(factors(600, 0), ring(128))
    return FunctionalAutoencoder.fit(u, ring(128), 8, [True], Training(steps=25))


def test_reaches_the_best_linear_code_of_a_gaussian_law(
    gaussian: FunctionalAutoencoder,
) -> None:
    """The optimum for 8 numbers loses the modes from the ninth on, no less."""
    drawn = factors(300, 1)
    codes, ratios = [], []
    for n in (64, 256):
        true = sines(drawn, ring(n))
        with torch.no_grad():
            off = gaussian(true, ring(n), torch.ones(n))[..., 0] - true
            codes.append(gaussian.encode(true, ring(n)))
        lost = off.square().mean(1).mean() / drawn[:, 8:].square().sum(1).mean()
        ratios.append(lost.item())
    assert max(ratios) < 1.2
    # the wanted invariance: 1 %; 64 points resolve all that the code looks at
    assert abs(ratios[0] / ratios[1] - 1) < 0.01
    assert (codes[0] - codes[1]).norm() < 0.01 * codes[1].norm()


def test_fill_is_the_conditional_mean_of_a_gaussian_law() -> None:
    """Untrained, the model is linear; its answer is that of the normal equations."""
    u = sines(factors(600, 0), ring(64))
    model = FunctionalAutoencoder.fit(u, ring(64), 8, [True], Training(steps=0))
    at = torch.tensor([3, 10, 22, 23, 41, 60])
    seen = sines(factors(1, 5), ring(64))[:, at]
    code = model.fill(seen, ring(64)[at], noise=0.001)
    with torch.no_grad():
        zero = model.decode(torch.zeros(1, 8), ring(64)[at])[0, :, 0]
        rows = model.decode(torch.eye(8), ring(64)[at])[..., 0] - zero
    variance = 0.001**2 + float(model.lost * model.scale[0] ** 2)
    gram = rows @ rows.T / variance + model.whiten.T @ model.whiten
    right = rows @ (seen[0] - zero) / variance
    right = right + model.whiten.T @ model.whiten @ model.centre
    torch.testing.assert_close(
        code[0], torch.linalg.solve(gram, right), rtol=1e-3, atol=1e-3
    )


@pytest.mark.slow
def test_beats_every_linear_code_where_fields_travel() -> None:
    """One number says all; two linear ones leave 73 % of the bump."""
    u = bumps(500, 0, ring(128))
    training = Training(steps=1500, rate=3e-3)
    model = FunctionalAutoencoder.fit(u, ring(128), 2, [True], training)
    true = bumps(100, 1, ring(64))
    with torch.no_grad():
        off = model(true, ring(64), torch.ones(64))[..., 0] - true
    assert off.norm() < 0.05 * (true - u.mean()).norm()
    wider = bumps(100, 2, ring(64), width=0.09)
    assert model.novelty(wider, ring(64)).min() > model.novelty(true, ring(64)).max()


def test_a_larger_field_is_newer_than_all_of_the_samples(
    gaussian: FunctionalAutoencoder,
) -> None:
    u = sines(factors(200, 3), ring(64))
    usual = gaussian.novelty(u, ring(64))
    assert 0.7 < usual.mean() < 1.3  # 1 for the training samples by its scale
    assert gaussian.novelty(5 * u, ring(64)).median() > usual.max()


def test_drawn_fields_have_the_covariance_of_the_law(
    gaussian: FunctionalAutoencoder,
) -> None:
    """Of 4,000 draws; 8 modes hold 99.95 % of the variance, sampling leaves 5 %."""
    drawn = gaussian.draw(4000, ring(64))[..., 0].double()
    sine = 2**0.5 * torch.sin(2 * math.pi * ring(64).double() * K)
    true = (sine * SIZE**2) @ sine.T
    assert (torch.cov(drawn.T) - true).norm() < 0.1 * true.norm()


def test_variational_codes_are_standard_normal() -> None:
    u = sines(factors(300, 0), ring(64))
    training = Training(steps=30, kl=1e-3)
    model = FunctionalAutoencoder.fit(u, ring(64), 4, [True], training, width=32)
    code = model.encode(u, ring(64)).detach()
    # the divergence pulls z towards N(0, I), from which it begins
    assert code.std(0).sub(1).abs().max() < 0.25


def test_waves_are_orthonormal_and_shares_are_lengths() -> None:
    x = torch.tensor([[0.0], [0.5], [0.75]])
    # nearest parts of a closed axis: 0 owns (0.875, 0.25), 0.5 owns (0.25, 0.625)
    expected = torch.tensor([0.375, 0.375, 0.25])
    torch.testing.assert_close(shares(x, [True]), expected, atol=1e-3, rtol=0)
    grid = (torch.arange(64).double()[:, None] + 0.5) / 64
    for closed in (True, False):
        b = waves(grid, 5, [closed])
        eye = torch.eye(b.shape[1]).double()
        torch.testing.assert_close(b.T @ b / 64, eye, atol=1e-12, rtol=0)


def test_what_it_refuses() -> None:
    with pytest.raises(OpkitInputError, match="give two samples or more"):
        FunctionalAutoencoder.fit(torch.ones(4, 9), ring(8), 2, [True])
    with pytest.raises(OpkitInputError, match="not finite"):
        FunctionalAutoencoder.fit(torch.full((4, 8), math.nan), ring(8), 2, [True])
    with pytest.raises(OpkitInputError, match=r"give \(point, 2\)"):
        waves(ring(8), 2, [True, True])
