"""Darcy's classical solver as a differentiable function: gradients by the adjoint.

    A(a) p = f,   dℓ/da = -∂(λᵀ A(a) p)/∂a,   A(a) λ = dℓ/dp

A is symmetric, so the adjoint is one more solve. Source: implicit differentiation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from opkit.errors import NotConvergedError, OpkitInputError
from opkit.solvers.darcy.iteration import solve_one

RTOL = 1e-10


def pressure(permeability: Tensor, forcing: float = 1.0) -> Tensor:
    """Solve -∇·(a ∇p) = f with zero Dirichlet values; differentiable in a.

    Args:
        permeability: a (y, x) > 0 on the nodes of the unit square, on a CPU. Faces take
            harmonic means.
        forcing: f, constant.

    Returns:
        p (y, x) in float64, boundary included.

    Raises:
        OpkitInputError: a is not two-dimensional, positive and finite.
        NotConvergedError: the solver, or its adjoint, did not converge.
    """
    a = permeability.double()
    if a.ndim != 2 or min(a.shape) < 3 or not bool((a.isfinite() & (a > 0)).all()):
        raise OpkitInputError(
            f"permeability of shape {tuple(a.shape)}: give one field (y, x), finite "
            "and above zero everywhere"
        )
    result: Tensor = _Solve.apply(a, forcing)
    return result


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, forcing: float) -> Tensor:
        p = _solve(a, torch.full_like(a, forcing))
        ctx.save_for_backward(a, p)
        return p

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        a, p = ctx.saved_tensors
        adjoint = _solve(a, gradient)
        with torch.enable_grad():
            a = a.detach().requires_grad_()
            (slope,) = torch.autograd.grad(_form(a, p, adjoint), a)
        return -slope, None


def _solve(a: Tensor, right: Tensor) -> Tensor:
    f = right[1:-1, 1:-1].numpy()
    p, iterations, error = solve_one(a.detach().numpy(), f, np.zeros_like(f), rtol=RTOL)
    if not error <= RTOL:
        raise NotConvergedError(
            f"Darcy stopped at relative residual {error:.1e} in {iterations} iterations"
        )
    return torch.nn.functional.pad(torch.from_numpy(p), (1, 1, 1, 1))


def _form(a: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """Return qᵀ A(a) p, a sum over faces; p and q are zero on the boundary."""
    total = a.new_zeros(())
    for axis, n in enumerate(a.shape):
        left, right = a.narrow(axis, 0, n - 1), a.narrow(axis, 1, n - 1)
        face = 2 * left * right / (left + right) * (n - 1) ** 2
        total = total + (face * p.diff(dim=axis) * q.diff(dim=axis)).sum()
    return total
