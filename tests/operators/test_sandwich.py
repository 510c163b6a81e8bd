"""Layers with a Lipschitz constant: it holds, and it is reached."""

import pytest
import torch
from torch import Tensor

from opkit.operators.deeponet.deeponet import DeepONet
from opkit.operators.layers.sandwich import LipschitzMLP, Sandwich
from opkit.operators.shapes import DataShape


def trained(bound: float, target: Tensor, x: Tensor) -> LipschitzMLP:
    torch.manual_seed(0)
    model = LipschitzMLP([1, 16, 16, 1], bound)
    search = torch.optim.Adam(model.parameters(), 2e-2)
    for _ in range(300):
        loss = (model(x) - target).square().mean()
        search.zero_grad()
        loss.backward()
        search.step()
    return model


def test_halves_are_rows_of_an_orthogonal_matrix() -> None:
    layer = Sandwich(7, 5).double()
    a, b = layer.halves()
    eye = torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close(a @ a.T + b @ b.T, eye, atol=1e-12, rtol=0)


@pytest.mark.parametrize("widths", [[40, 32, 32, 6], [40, 6], [3, 64, 80]])
def test_no_step_is_longer_than_the_bound(widths: list[int]) -> None:
    """Not where the gradient goes either: x' is sought that is as far as can be."""
    torch.manual_seed(1)
    model = LipschitzMLP(widths, 3.0).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter += torch.randn_like(parameter) * (2 if "size" in name else 1)
    x = torch.randn(30, widths[0], dtype=torch.float64)
    step = 1e-3 * torch.randn_like(x)
    for _ in range(60):
        step.requires_grad_()
        moved = (model(x + step) - model(x)).norm(dim=1)
        ratio = moved / step.norm(dim=1)
        (slope,) = torch.autograd.grad(ratio.sum(), step)
        step = (step + 0.3 * step.norm(dim=1, keepdim=True) * slope).detach()
    bound = 3.0 / widths[0] ** 0.5
    assert ratio.max() <= bound * (1 + 1e-9)
    if len(widths) == 2:  # B of one linear layer: its norm is known
        _, b = model.layers[0].halves()
        top = torch.linalg.matrix_norm(b, 2) * bound
        assert 0.99 * top < ratio.max() <= top * (1 + 1e-9)


def test_a_bound_below_the_slope_costs_what_it_must() -> None:
    """Of y = x on (-1, 1) half of the slope leaves ∫ (x / 2)² = 1/12; all, nothing."""
    x = torch.linspace(-1, 1, 201)[:, None]
    half = (trained(0.5, x, x)(x) - x).square().mean()
    whole = (trained(1.0, x, x)(x) - x).square().mean()
    exact = (x / 2).square().mean()
    assert exact <= half < 1.05 * exact
    assert whole < 1e-3 * exact


def test_gain_of_a_deeponet_is_the_norm_of_a_linear_one() -> None:
    """With one layer and one basis function the map is t bᵀ: |t| |b|, and no less."""
    torch.manual_seed(0)
    options = DeepONet.Options(
        branch="sandwich", branch_widths=(), branch_bound=3.0, n_basis=1
    )
    data = DataShape(1, 1, (12,), (True,), (1.0,))
    model = DeepONet(data, options).double()
    x = torch.zeros(1, 1, 12, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(model, x).reshape(12, 12)
    layer = model.branch.network[-1].layers[0]
    reached = torch.linalg.matrix_norm(layer.halves()[1], 2)  # of the bound, at most 1
    norm = torch.linalg.matrix_norm(jacobian, 2)
    assert norm.item() == pytest.approx(model.gain() * reached.item(), rel=1e-10)
    other = DeepONet.Options(branch="sandwich", branch_widths=(), sensors=(6,))
    assert DeepONet(data, other).gain() == float("inf")  # interpolation has a norm too
