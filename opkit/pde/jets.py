"""Jets: a function of (x, y) carried with its first and second derivatives.

A jet is one tensor whose leading axis holds (u, u_x, u_y, u_xx, u_yy). Sums, affine
maps and constants act on a jet as on any tensor; products and compositions follow the
product and chain rules below. The mixed derivative u_xy is not carried: no operation
here needs it, and the operators of `opkit.hypino` have no such term.
"""

from __future__ import annotations

import torch
from torch import Tensor

NAMES = ("u", "u_x", "u_y", "u_xx", "u_yy")


def coordinates(points: Tensor) -> Tensor:
    """Jet (5, ..., 2) of the coordinate functions x and y at points (..., 2)."""
    jet = points.new_zeros(5, *points.shape)
    jet[0] = points
    jet[1, ..., 0] = 1.0
    jet[2, ..., 1] = 1.0
    return jet


def constant(value: Tensor) -> Tensor:
    """Jet (5, ...) of a function that is constant in x and y."""
    jet = value.new_zeros(5, *value.shape)
    jet[0] = value
    return jet


def product(u: Tensor, v: Tensor) -> Tensor:
    """Jet of u v: (uv)_x = u_x v + u v_x, (uv)_xx = u_xx v + 2 u_x v_x + u v_xx."""
    value, slope, bend = u[:1], u[1:3], u[3:]
    other, other_slope, other_bend = v[:1], v[1:3], v[3:]
    return torch.cat(
        [
            value * other,
            slope * other + value * other_slope,
            bend * other + 2 * slope * other_slope + value * other_bend,
        ]
    )


def compose(f0: Tensor, f1: Tensor, f2: Tensor, u: Tensor) -> Tensor:
    """Jet of f(u): f' u_x and f'' u_x² + f' u_xx.

    Args:
        f0: f at the values u[0], shape (...).
        f1: f' there.
        f2: f'' there.
        u: jet (5, ...).
    """
    slope = u[1:3]
    return torch.cat([f0[None], f1 * slope, f2 * slope.square() + f1 * u[3:]])


def tanh(u: Tensor) -> Tensor:
    """Jet of the hyperbolic tangent t of u, with t' = 1 - t² and t'' = -2 t t'."""
    f0 = torch.tanh(u[0])
    f1 = 1 - f0.square()
    return compose(f0, f1, -2 * f0 * f1, u)


def cauchy(u: Tensor) -> Tensor:
    """Jet of f(u) = (u + 1) / q, q = u² + 1: the Cauchy activation of weights one.

    f' = (1 - 2 u f) / q and f'' = -(2 f + 4 u f') / q, from f q = u + 1.
    """
    q = u[0].square() + 1
    f0 = (u[0] + 1) / q
    f1 = (1 - 2 * u[0] * f0) / q
    return compose(f0, f1, -(2 * f0 + 4 * u[0] * f1) / q, u)


def sine_cosine(u: Tensor) -> tuple[Tensor, Tensor]:
    """Jets of sin(u) and cos(u)."""
    s, c = torch.sin(u[0]), torch.cos(u[0])
    return compose(s, c, -s, u), compose(c, -s, -c, u)


def apply_operator(coefficients: Tensor, jet: Tensor) -> Tensor:
    """L[u] = c_0 u + c_1 u_x + c_2 u_y + c_3 u_xx + c_4 u_yy.

    Args:
        coefficients: (batch, 5).
        jet: (5, batch, ...).

    Returns:
        (batch, ...).
    """
    return torch.einsum("bk,kb...->b...", coefficients, jet)
