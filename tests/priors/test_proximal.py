"""Learned proximal networks, and inversions with proximal operators."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from opkit.errors import NotConvergedError, OpkitInputError
from opkit.priors.proximal import Matching, ProximalNetwork
from opkit.priors.splitting import (
    TotalVariation,
    half_quadratic,
    proximal_gradient,
)


def any_network(shape: tuple[int, ...], seed: int = 0) -> ProximalNetwork:
    """A network in float64 that nobody trained, its weights of both signs."""
    torch.manual_seed(seed)
    network = ProximalNetwork(shape, width=8, layers=3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape) * parameter.std().nan_to_num(1))
    return network.double().eval()


SHAPES = [(5,), (6, 7)]


@pytest.mark.parametrize("shape", SHAPES)
def test_is_convex_whatever_its_weights(shape: tuple[int, ...]) -> None:
    network = any_network(shape)
    generator = torch.Generator().manual_seed(1)
    a, b = 3 * torch.randn(2, 200, *shape, generator=generator).double()
    t = torch.rand(200, generator=generator).double()
    s = t.view(-1, *[1] * len(shape))
    with torch.no_grad():
        chord = t * network.potential(a) + (1 - t) * network.potential(b)
        middle = network.potential(s * a + (1 - s) * b)
    # strongly convex: ψ - ½ α |y|² is convex; rounding of sums of order 1e3
    least = network.alpha / 2 * t * (1 - t) * (a - b).flatten(1).square().sum(1)
    assert (chord - middle - least).min() > -1e-10


@pytest.mark.parametrize("shape", SHAPES)
def test_slope_has_a_symmetric_positive_jacobian(shape: tuple[int, ...]) -> None:
    network = any_network(shape).train()
    y = torch.randn(1, *shape, generator=torch.Generator().manual_seed(2)).double()
    jacobian = torch.autograd.functional.jacobian(network, y)
    matrix = jacobian.reshape(y.numel(), y.numel())
    size = matrix.abs().max()
    assert (matrix - matrix.T).abs().max() < 1e-12 * size
    assert torch.linalg.eigvalsh(matrix).min() > network.alpha - 1e-12 * size
    # f is the gradient of ψ: central differences, third derivatives of order β²
    step = 1e-5 * torch.ones_like(y)
    with torch.no_grad():
        rise = network.potential(y + step) - network.potential(y - step)
    expected = (network(y) * step).sum() * 2
    assert abs(rise - expected) < 1e-6 * abs(expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_is_the_proximal_operator_of_its_penalty(shape: tuple[int, ...]) -> None:
    """½|x - y|² + R(x) is least at f(y), against f of 60 others; exact but rounding."""
    network = any_network(shape)
    generator = torch.Generator().manual_seed(3)
    y = 2 * torch.randn(60, *shape, generator=generator).double()
    point, penalty = network.proximal(y)
    off = (point[None] - y[:, None]).flatten(2).square().sum(2) / 2
    worth = off + penalty
    assert (worth - worth.diagonal()[:, None]).min() > -1e-9 * worth.abs().max()
    torch.testing.assert_close(
        network.penalty(point[:3]), penalty[:3], rtol=1e-6, atol=1e-6
    )


@pytest.fixture(scope="module")
def gaussian() -> ProximalNetwork:
    x = torch.randn(100_000, 1, generator=torch.Generator().manual_seed(1))
    matching = Matching(
        0.5, [1.0, 0.5], steps=200, warm_steps=200, rate=1e-2, batch=500
    )
    return ProximalNetwork.fit(x, matching, width=16, layers=2).double()


def test_shrinks_a_gaussian_law_and_finds_its_quadratic(
    gaussian: ProximalNetwork,
) -> None:
    """s = 1, σ = 1/2: f(y) = y s²/(s² + σ²) whatever γ, and R = σ²x²/(2s²) + const."""
    y = torch.linspace(-2, 2, 41)[:, None].double()
    f, penalty = gaussian.proximal(y)
    # 500 samples per step, 2 % of them within 0.1 of ±2, spread 0.45 each: 0.14
    # for a step, less after the last few hundred with small rates
    assert (f - 0.8 * y).abs().max() < 0.06
    off = penalty - 0.125 * f[:, 0].square()
    # R' = y - f⁻¹'s error: at most 0.06 / 0.8 over a way of 1.6
    assert off.max() - off.min() < 0.12
    x = torch.tensor([[-1.0], [0.0], [1.5]]).double()
    exact = gaussian.penalty(x)
    torch.testing.assert_close(
        exact - exact[1], 0.125 * x[:, 0].square(), rtol=0, atol=0.1
    )


@pytest.mark.slow
def test_learns_soft_thresholding_of_a_laplace_law() -> None:
    """p ~ exp(-|x|), σ = 1: the most probable x is y less 1 in size, or zero.

    Source: Fang et al., section 5.1.
    """
    u = torch.rand(200_000, 1, generator=torch.Generator().manual_seed(0)) - 0.5
    x = -u.sign() * torch.log1p(-2 * u.abs())
    matching = Matching(
        1.0, [1.0, 0.5, 0.25], steps=500, warm_steps=500, rate=1e-2, batch=500
    )
    network = ProximalNetwork.fit(x, matching, width=32, layers=2).double()
    y = torch.linspace(-3, 3, 61)[:, None].double()
    f, penalty = network.proximal(y)
    soft = y.sign() * (y.abs() - 1).clamp(min=0)
    # with γ = 1/4 the best f is 0.21 from soft thresholding at its corners
    assert (f - soft).abs().max() < 0.21 + 0.05
    assert (f - soft).square().mean().sqrt() < 0.1
    mean = conditional_mean(y)
    assert (f - soft).norm() < 0.4 * (mean - soft).norm()
    off = penalty - f[:, 0].abs()
    assert off.std() < 0.06  # R = |x| + const; R' is off by 0.26 near zero only


def conditional_mean(y: Tensor) -> Tensor:
    """E[x | y] of the Laplace law, by the trapezoidal rule."""
    x = torch.linspace(-15, 15, 3001).double()
    p = torch.exp(-((x - y) ** 2) / 2 - x.abs())
    return (p * x).sum(1, keepdim=True) / p.sum(1, keepdim=True)


class Ridge:
    """R(x) = w |x|² / 2."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def proximal(self, v: Tensor) -> tuple[Tensor, Tensor]:
        x = v / (1 + self.weight)
        return x, self.weight / 2 * x.square().flatten(1).sum(1)


A = torch.randn(4, 6, generator=torch.Generator().manual_seed(4)).double()
D = torch.randn(4, generator=torch.Generator().manual_seed(5)).double()
CURVATURE = float(torch.linalg.matrix_norm(A, 2) ** 2)


def misfit(u: Tensor) -> Tensor:
    return (A @ u.flatten() - D).square().sum() / 2


def test_inversions_solve_the_normal_equations() -> None:
    """With R = w|x|²/2: λw, and ρw / (1 + w) of the envelope, beside AᵀA."""
    eye, start = torch.eye(6).double(), torch.zeros(6).double()
    weight = 1.1 * CURVATURE
    found = proximal_gradient(misfit, Ridge(0.01), start, weight, 20_000, 1e-12)
    expected = torch.linalg.solve(A.T @ A + 0.01 * weight * eye, A.T @ D)
    assert found.converged
    # the last change bounds the error by 1e-12 (1 + 1/w)
    torch.testing.assert_close(found.field, expected, rtol=0, atol=1e-9)
    found = half_quadratic(misfit, Ridge(0.5), start, 0.3, 200, 1e-8)
    v = torch.linalg.solve(A.T @ A + 0.3 * 0.5 / 1.5 * eye, A.T @ D)
    assert found.converged
    # |∇J| over the least curvature, 0.1
    torch.testing.assert_close(found.field, v / 1.5, rtol=0, atol=1e-6)


def test_learned_prior_converges_to_a_stationary_point() -> None:
    """J falls in each step by at least (1 - L/λ) λ/2 |change|²; a theorem."""
    network, weight = any_network((2, 3)), 1.5 * CURVATURE
    start = torch.ones(2, 3).double()
    found = proximal_gradient(misfit, network, start, weight, 4000, 1e-9)
    assert found.converged
    fall = -torch.tensor(found.objective, dtype=torch.float64).diff()
    change = torch.tensor(found.residual, dtype=torch.float64)[1:]
    assert (fall - weight / 6 * change.square()).min() > -1e-9
    u = found.field.requires_grad_()
    (slope,) = torch.autograd.grad(misfit(u), u)
    # stationary: u is the proximal point of u - ∇D/λ
    again = network((u - slope / weight)[None].detach())[0]
    torch.testing.assert_close(again, u.detach(), rtol=0, atol=1e-7)
    smooth = half_quadratic(misfit, network, start, 0.1, 500, 1e-6)
    assert smooth.converged
    assert all(b < a for a, b in pairwise(smooth.objective))


def test_a_weight_below_the_curvature_is_refused() -> None:
    with pytest.raises(NotConvergedError, match="give a larger one"):
        proximal_gradient(
            misfit, Ridge(1e-3), torch.ones(6).double(), CURVATURE / 4, 500
        )
    with pytest.raises(OpkitInputError, match="above zero"):
        half_quadratic(misfit, Ridge(1.0), torch.ones(6).double(), 0.0)


def test_total_variation_moves_two_halves_towards_each_other() -> None:
    """A straight step: each half of 8 x 4 nodes moves by w · 8 / 32."""
    v = torch.ones(1, 8, 8).double()
    v[:, :, :4] = -1
    x, size = TotalVariation(1.2).proximal(v)
    # gap 64e-10 = ½|x - x*|² at most: 1.2e-4 in the sum of squares
    torch.testing.assert_close(x, 0.7 * v, rtol=0, atol=2e-4)
    torch.testing.assert_close(
        size, torch.tensor([1.2 * 8 * 1.4]).double(), rtol=1e-3, atol=0
    )
    x, size = TotalVariation(10.0).proximal(v + 0.3)
    torch.testing.assert_close(x, torch.full_like(v, 0.3), rtol=0, atol=2e-4)


def test_total_variation_forgets_what_it_was_asked_before() -> None:
    generator = torch.Generator().manual_seed(6)
    first, second = torch.randn(2, 1, 9, 8, generator=generator).double()
    prior = TotalVariation(0.4)
    prior.proximal(first)
    x, size = prior.proximal(second)
    fresh, known = TotalVariation(0.4).proximal(second)
    # each within a gap of 72e-10 = ½|x - x*|²
    assert (x - fresh).norm() < 2.5e-4
    assert abs(size - known) < 1e-3 * known
    # optimal: no smaller ½|x - v|² + R among 200 points nearby
    near = x + 0.1 * torch.randn(200, 9, 8, generator=generator).double()
    down, along = near.diff(dim=1), near.diff(dim=2)
    rise = torch.nn.functional.pad(down, (0, 0, 0, 1)).square()
    rise = rise + torch.nn.functional.pad(along, (0, 1)).square()
    worth = (near - second).square().sum((1, 2)) / 2 + 0.4 * rise.sqrt().sum((1, 2))
    assert worth.min() > (x - second).square().sum() / 2 + size.item()


def test_refuses_what_it_cannot_use() -> None:
    matching = Matching(0.5, steps=1, warm_steps=1)
    with pytest.raises(OpkitInputError, match="not finite"):
        ProximalNetwork.fit(torch.full((4, 3), math.nan), matching)
    with pytest.raises(OpkitInputError, match="two or more"):
        ProximalNetwork.fit(torch.ones(1, 3), matching)
    with pytest.raises(OpkitInputError, match=r"give \(n,\) or \(y, x\)"):
        ProximalNetwork.fit(torch.ones(4, 3, 3, 3), matching)
    with pytest.raises(OpkitInputError, match="above zero"):
        ProximalNetwork.fit(torch.ones(4, 3), Matching(0.0))
    with pytest.raises(OpkitInputError, match="above zero"):
        ProximalNetwork((3,), alpha=0.0)
    network = any_network((6, 7))
    with pytest.raises(OpkitInputError, match=r"give \(sample, 6, 7\)"):
        network(torch.ones(1, 7, 6))
    with pytest.raises(OpkitInputError, match="not finite"):
        network.proximal(torch.full((1, 6, 7), math.inf))
    with pytest.raises(OpkitInputError, match=r"\(batch, y, x\)"):
        TotalVariation(1.0).proximal(torch.ones(6, 7))
