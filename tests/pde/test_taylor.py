"""Estimates of differential operators against closed forms."""

import pytest
import torch
from torch import Tensor

from opkit.errors import OpkitInputError
from opkit.pde.taylor import along, biharmonic, pure_sum, residual_loss


def quartic(x: Tensor) -> Tensor:
    return x.pow(4).sum(-1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_laplacian_of_ten_quartics_at_a_hundred_thousand_draws() -> None:
    """Δ Σ x_i⁴ = 12 |x|²; one draw has 12 d x_j², of relative deviation below 1."""
    x = torch.linspace(0.5, 1.5, 10, dtype=torch.float64).expand(100_000, 10)
    value, estimate = pure_sum(quartic, x, 1, generator=seeded())
    exact = 12 * x[0].square().sum()
    assert torch.allclose(value, quartic(x))
    # one draw deviates by 0.6 of its mean: 0.2 % is one deviation of the mean
    assert abs(estimate.mean() / exact - 1) < 0.01
    assert abs(estimate.std() / exact - 0.57) < 0.02


def test_all_coordinates_are_exact() -> None:
    x = torch.randn(5, 7, dtype=torch.float64, generator=seeded())
    for order, exact in ((2, 12 * x.square()), (3, 24 * x), (4, 24 + 0 * x)):
        _, found = pure_sum(quartic, x, 7, order, seeded())
        torch.testing.assert_close(found, exact.sum(1))


def test_some_coordinates_are_unbiased_where_the_rest_is_not_zero() -> None:
    """Means over all pairs of 4 coordinates are exact: 6 pairs, 12 orders of them."""
    x = torch.tensor([[0.3, -1.0, 2.0, 0.7]], dtype=torch.float64).expand(24_000, 4)
    _, found = pure_sum(quartic, x, 2, generator=seeded())
    exact = 12 * x[0].square().sum()
    assert abs(found.mean() / exact - 1) < 4 * found.std() / exact / 24_000**0.5


def test_derivatives_along_a_direction() -> None:
    """u = sin(a·x): the kth derivative along v is (a·v)^k sin(a·x + k π / 2)."""
    a, v = torch.tensor([0.4, -1.1, 0.9]), torch.tensor([1.0, 2.0, -0.5])
    x = torch.randn(6, 3, generator=seeded())
    found = along(lambda y: torch.sin(y @ a), x, v.expand(6, 3), 4)
    for k, values in enumerate(found):
        exact = (a @ v) ** k * torch.sin(x @ a + k * torch.pi / 2)
        torch.testing.assert_close(values, exact, rtol=1e-4, atol=1e-5)


def test_the_biharmonic_of_a_mixed_product() -> None:
    """Δ² (x² y² + z⁴) = 8 + 24; the 4th power of a normal number is 105 at order 8."""
    x = torch.randn(1, 3, dtype=torch.float64, generator=seeded()).expand(20_000, 3)

    def u(y: Tensor) -> Tensor:
        return y[:, 0].square() * y[:, 1].square() + y[:, 2].pow(4)

    found = biharmonic(u, x, 1, seeded())
    deviation = found.std() / 20_000**0.5
    assert abs(found.mean() - 32) < 4 * deviation
    assert deviation < 1


def test_the_loss_and_its_gradient_are_unbiased() -> None:
    """u = w Σ x_i⁴, Δu - 12: loss (12 w |x|² - 12)², also where one draw is biased."""
    w = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    x = torch.tensor([[0.2, 1.0, -0.6]], dtype=torch.float64).expand(60_000, 3)
    loss = residual_loss(
        lambda y: w * quartic(y), x, lambda y, u: 0 * u - 12, 1, seeded()
    )
    (slope,) = torch.autograd.grad(loss, w)
    square = x[0].square().sum()
    exact = (12 * w * square - 12) ** 2
    # three deviations of the mean; the square of one draw would give much more
    torch.testing.assert_close(loss, exact, rtol=0.03, atol=0)
    torch.testing.assert_close(
        slope, 24 * square * (12 * w * square - 12), rtol=0.03, atol=0
    )


def test_too_many_draws_are_refused() -> None:
    with pytest.raises(OpkitInputError, match="give 1 to 3"):
        pure_sum(quartic, torch.zeros(2, 3), 4)
