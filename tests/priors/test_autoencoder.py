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


def test_variational_codes_are_those_of_the_linear_gaussian_optimum() -> None:
    """Its optimum is known: principal components seen through noise of variance kl / 2.

    Of the variance, 1 in all, the first mode holds λ = 0.924 and the second 0.058. A
    mode with λ > 0.1 = kl / 2 has the posterior variance 0.1 / λ = 0.108 and the mean
    code √(1 - 0.108) = 0.944 per standard deviation; the others are not worth their
    divergence, and their code says nothing: mean 0, variance 1.
    """
    drawn = factors(1000, 0)
    training = Training(steps=400, rate=2e-2, batch=64, kl=0.2)
    model = FunctionalAutoencoder.fit(
        sines(drawn, ring(64)), ring(64), 2, [True], training, count=4, width=16
    )
    drawn = factors(500, 1)
    u, even = sines(drawn, ring(64))[..., None], torch.full((64,), 1 / 64)
    with torch.no_grad():
        code, spread = model._encode(u, model._waves(ring(64)), even)
    first = (drawn / SIZE)[:, 0].float()
    slope = (code[:, 0] @ first / (first @ first)).abs().item()
    # 1,000 samples know λ to 4.5 %; Adam is stopped before the second code is at rest
    assert slope == pytest.approx(0.944, abs=0.03)
    seen, unseen = spread.exp().mean(0)
    assert seen.item() == pytest.approx(0.108, abs=0.012)
    assert unseen > 0.85 and code[:, 1].var() < 0.3


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
    fit = FunctionalAutoencoder.fit
    with pytest.raises(OpkitInputError, match="one sample: give two or more"):
        fit(torch.ones(1, 8), ring(8), 2, [True])
    model = fit(bumps(4, 0, ring(8)), ring(8), 2, [True], Training(steps=0))
    bad = [
        (
            torch.ones(4, 9),
            r"\(4, 9\) at 8 points: give \(sample, point\[, channel\]\)",
        ),
        (torch.full((4, 8), math.nan), "not finite"),
    ]
    for values, message in bad:
        with pytest.raises(OpkitInputError, match=message):
            fit(values, ring(8), 2, [True])
        for door in (model.encode, model.fill, model.novelty):
            with pytest.raises(OpkitInputError, match=message):
                door(values, ring(8))
    zero = torch.zeros(8)
    for weights in (zero, zero - 1, zero + math.nan, torch.ones(7)):
        with pytest.raises(OpkitInputError, match="one for each, 0 or more"):
            model.encode(torch.ones(4, 8), ring(8), weights)
    with pytest.raises(OpkitInputError, match="the points are not finite"):
        model.encode(torch.ones(4, 8), ring(8) + math.inf)
    with pytest.raises(OpkitInputError, match="of 1 channels"):
        model.encode(torch.ones(4, 8, 2), ring(8))
    with pytest.raises(OpkitInputError, match=r"give \(point, 2\)"):
        waves(ring(8), 2, [True, True])
