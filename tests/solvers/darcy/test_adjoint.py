"""The differentiable Darcy solver: values of the solver, gradients of differences."""

import numpy as np
import pytest
import torch

from opkit.errors import OpkitInputError
from opkit.solvers.darcy.adjoint import pressure
from opkit.solvers.darcy.solver import Darcy


def permeability(shape: tuple[int, int]) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(np.exp(0.5 * rng.standard_normal(shape)))


@pytest.mark.parametrize("shape", [(9, 9), (8, 13)])
def test_values_are_the_solvers(shape: tuple[int, int]) -> None:
    a = permeability(shape)
    solver = Darcy(resolution=shape, forcing=2.5, rtol=1e-10)
    expected = solver.solve({"permeability": a.numpy()[None]}).outputs["pressure"][0]
    np.testing.assert_allclose(pressure(a, 2.5), expected, atol=1e-9)


def test_gradients_are_those_of_central_differences() -> None:
    a = permeability((7, 6)).requires_grad_()
    # differences over 2e-5 of solves to 1e-10: rounding 1e-5, truncation below it
    assert torch.autograd.gradcheck(pressure, (a,), eps=1e-5, atol=1e-5, rtol=1e-4)


def test_the_gradient_has_the_scaling_of_the_equation() -> None:
    """p(c a) = p(a) / c, so Σ a ∂p/∂a = -p: an identity at every node."""
    a = permeability((9, 9)).requires_grad_()
    p = pressure(a)
    (slope,) = torch.autograd.grad(p[4, 3], a)
    assert float((a * slope).sum().detach()) == pytest.approx(
        -float(p[4, 3].detach()), rel=1e-8
    )


@pytest.mark.parametrize(
    "bad", [torch.zeros(5, 5), torch.ones(2, 5), torch.ones(1, 5, 5)]
)
def test_bad_permeability_is_refused(bad: torch.Tensor) -> None:
    with pytest.raises(OpkitInputError, match="permeability of shape"):
        pressure(bad)
