"""Unbiased estimates of differential operators in many dimensions, from Taylor series.

    d^k/dt^k u(x + t v) at t = 0,   k = 0, 1, ...

are the derivatives along one direction v, by nested forward mode: their cost and memory
do not depend on the dimension d. Sums over all directions become means over a few,

    Σ_i ∂_i^k u = E[d ∂_j^k u],   j uniform on 1, ..., d   (k = 2: the Laplacian),
    Δ²u = E[D⁴u(v, v, v, v)] / 3,   v ~ N(0, I).

Coordinates are drawn without repetition, so that d draws are the exact sum. A squared
residual needs two independent estimates: E[r s] = E[r] E[s], but E[r²] > E[r]².

Source: Shi, Hu, Lin, Kawaguchi, Stochastic Taylor Derivative Estimator, NeurIPS 2024,
arXiv:2412.00088; Hu, Shukla, Karniadakis, Kawaguchi, Neural Networks 176, 106369 (2024)
(draws of coordinates).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from opkit.errors import OpkitInputError

Function = Callable[[Tensor], Tensor]


def along(u: Function, x: Tensor, v: Tensor, order: int) -> list[Tensor]:
    """Derivatives of t ↦ u(x + t v) at 0, of orders 0 to ``order``, (point,) each.

    Args:
        u: maps (point, d) to (point,), each point for itself.
        x: (point, d).
        v: directions (point, d).
        order: the highest.
    """

    def lower(k: int) -> Callable[[Tensor], tuple[Tensor, ...]]:
        if k == 0:
            return lambda y: (u(y),)
        below = lower(k - 1)

        def derivatives(y: Tensor) -> tuple[Tensor, ...]:
            pushed = torch.func.jvp(below, (y,), (v,))
            return (*pushed[0], pushed[1][-1])

        return derivatives

    # forward mode writes beside x: its entries must not share memory
    return list(lower(order)(x.contiguous()))


def pure_sum(
    u: Function,
    x: Tensor,
    draws: int,
    order: int = 2,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Estimate Σ_i ∂_i^k u, such as the Laplacian.

    Args:
        u: maps (point, d) to (point,), each point for itself.
        x: (point, d).
        draws: of coordinates, for each point its own; d of them are all.
        order: k.
        generator: of the draws.

    Returns:
        Values of u, and the estimate, (point,) each.

    Raises:
        OpkitInputError: no draw, or more than there are coordinates.
    """
    value, estimates = _estimates(u, x, draws, 1, order, generator)
    return value, estimates[0]


def _estimates(
    u: Function,
    x: Tensor,
    draws: int,
    count: int,
    order: int,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """Values of u (point,), and independent estimates (count, point), in one pass."""
    points, d = x.shape
    if not 1 <= draws <= d:
        raise OpkitInputError(f"draws {draws}: give 1 to {d}, the number of dimensions")
    if draws == 1:
        chosen = torch.randint(d, (count, points, 1), generator=generator)
    else:
        order_of = torch.rand(count, points, d, generator=generator).argsort(2)
        chosen = order_of[..., :draws]
    several = x.expand(count, draws, points, d).reshape(-1, d)
    where = chosen.transpose(1, 2).reshape(-1, 1).to(x.device)
    v = torch.zeros_like(several).scatter(1, where, 1.0)
    derivatives = along(u, several, v, order)
    sums = derivatives[-1].view(count, draws, points).sum(1)
    return derivatives[0][:points], sums * (d / draws)


def biharmonic(
    u: Function, x: Tensor, draws: int, generator: torch.Generator | None = None
) -> Tensor:
    """Estimate Δ²u = Σ_ij ∂_i² ∂_j² u, (point,), from normal directions.

    Args:
        u: maps (point, d) to (point,), each point for itself.
        x: (point, d).
        draws: of directions, for each point its own.
        generator: of the draws.
    """
    several = x.expand(draws, *x.shape).reshape(-1, x.shape[1])
    v = torch.randn(several.shape, generator=generator, dtype=x.dtype).to(x.device)
    fourth = along(u, several, v, 4)[-1]
    return fourth.view(draws, len(x)).mean(0) / 3


def residual_loss(
    u: Function,
    x: Tensor,
    rest: Callable[[Tensor, Tensor], Tensor],
    draws: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Estimate the mean square of Δu + rest(x, u) without bias, with gradients.

    Args:
        u: maps (point, d) to (point,), each point for itself.
        x: (point, d).
        rest: of the equation, from points and values of u.
        draws: of coordinates, in each of two independent estimates.
        generator: of the draws.
    """
    # all coordinates are exact: two estimates would be the same
    count = 1 if draws == x.shape[1] else 2
    value, estimates = _estimates(u, x, draws, count, 2, generator)
    residuals = estimates + rest(x, value)
    return (residuals[0] * residuals[-1]).mean()
