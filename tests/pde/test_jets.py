"""Closed-form derivatives against automatic differentiation."""

import pytest
import torch

from opkit.pde import jets
from opkit.solvers.manufactured.draws import Draw
from opkit.solvers.manufactured.programs import FUNCTIONS, draw_programs


def autograd_jet(function, points):
    """u, u_x, u_y, u_xx, u_yy of a scalar function by nested differentiation."""
    points = points.clone().requires_grad_()
    u = function(points)
    (slope,) = torch.autograd.grad(u.sum(), points, create_graph=True)
    bends = [
        torch.autograd.grad(slope[..., k].sum(), points, retain_graph=True)[0][..., k]
        for k in range(2)
    ]
    return torch.stack([u, slope[..., 0], slope[..., 1], *bends]).detach()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def assert_close(values, expected, tolerance):
    scale = expected.abs().amax(-1, keepdim=True).clamp_min(1.0)
    assert ((values - expected).abs() / scale).max() < tolerance


def test_programs_have_the_derivatives_of_autograd():
    programs = draw_programs(64, (6, 10), 4.0, Draw(generator(), torch.float64))
    points = 2 * torch.rand(64, 20, 2, generator=generator(1), dtype=torch.float64) - 1
    expected = autograd_jet(lambda p: programs.evaluate(p)[0], points)
    good = expected.isfinite().all(2).all(0) & (expected.abs() < 1e6).all(2).all(0)
    assert good.sum() > 40
    assert_close(programs.evaluate(points)[:, good], expected[:, good], 1e-10)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_derivatives_of_each_function(function):
    z = torch.linspace(-4, 4, 81, dtype=torch.float64, requires_grad=True)
    f0, f1, f2 = function(z)
    slope = torch.zeros_like(z)
    bend = torch.zeros_like(z)
    (slope,) = torch.autograd.grad(f0.sum(), z, create_graph=True)
    if slope.requires_grad:
        (bend,) = torch.autograd.grad(slope.sum(), z, allow_unused=True)
        bend = torch.zeros_like(z) if bend is None else bend
    torch.testing.assert_close(f1, slope)
    torch.testing.assert_close(f2, bend)


def test_rules_of_jets():
    points = 2 * torch.rand(50, 2, generator=generator(2), dtype=torch.float64) - 1

    def by_hand(p):
        s = torch.sin(3 * p[..., 0]) * torch.cos(2 * p[..., 1])
        return torch.tanh(s * p[..., 0] + 0.3)

    x, y = jets.coordinates(points).unbind(-1)
    sine, _ = jets.sine_cosine(3 * x)
    _, cosine = jets.sine_cosine(2 * y)
    inner = jets.product(jets.product(sine, cosine), x)
    shifted = inner + jets.constant(torch.full((50,), 0.3, dtype=torch.float64))
    assert_close(jets.tanh(shifted), autograd_jet(by_hand, points), 1e-12)


def test_operator_of_a_jet():
    # L = 1 + 2 ∂x + 3 ∂y + 4 ∂xx + 5 ∂yy on u = x² y: x²y + 4xy + 3x² + 8y
    points = torch.tensor([[[0.5, -0.25], [1.0, 2.0]]])
    x, y = jets.coordinates(points).unbind(-1)
    u = jets.product(jets.product(x, x), y)
    c = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])
    px, py = points.unbind(-1)
    expected = px**2 * py + 4 * px * py + 3 * px**2 + 8 * py
    torch.testing.assert_close(jets.apply_operator(c, u), expected)
