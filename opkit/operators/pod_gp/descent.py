"""L-BFGS for many small problems at once, each with its own step.

One evaluation serves all problems: those whose trial point is accepted (Armijo's rule)
go on from it, the others try half the step. Source: Nocedal, Wright, Numerical
Optimization, 2nd edition, algorithms 7.4 and 3.1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Points (b, q) and which problems they are of (b,), to values (b,) and gradients."""

MEMORY = 8
ARMIJO = 1e-4
FARTHEST = 2.0
"""Longest step of a coordinate; they are logarithms."""
SHORTEST = 1e-6
"""Length below which a step is given up."""


def minimise(
    objective: Objective, start: Tensor, evaluations: int, tolerance: float
) -> tuple[Tensor, Tensor]:
    """Minimise f_b(z_b) for all b.

    Args:
        objective: values and gradients; a value that is not finite is refused.
        start: (b, q), where the objective is finite.
        evaluations: most calls of the objective.
        tolerance: a problem has ended when two steps in a row lower its value by less.

    Returns:
        The points (b, q) and their values (b,).
    """
    z = start.clone()
    everyone = torch.arange(len(z), device=z.device)
    value, slope = objective(z, everyone)
    steps = z.new_zeros(len(z), MEMORY, z.shape[1])
    changes = torch.zeros_like(steps)
    small = torch.zeros_like(everyone)
    direction, length = _capped(-slope), z.new_ones(len(z))
    going = torch.ones_like(value, dtype=torch.bool)
    for _ in range(evaluations - 1):
        rows = going.nonzero()[:, 0]
        if not len(rows):
            break
        move = length[rows, None] * direction[rows]
        trial = z[rows] + move
        new_value, new_slope = objective(trial, rows)
        expected = (slope[rows] * move).sum(1)
        good = new_value <= value[rows] + ARMIJO * expected
        length[rows[~good]] /= 2
        short = move.abs().amax(1) < SHORTEST
        going[rows[~good & short]] = False

        done, move, new_slope = rows[good], move[good], new_slope[good]
        change = new_slope - slope[done]
        curved = (change * move).sum(1) > 1e-10 * change.square().sum(1)
        pushed = done[curved]
        steps[pushed] = torch.cat([steps[pushed, 1:], move[curved, None]], 1)
        changes[pushed] = torch.cat([changes[pushed, 1:], change[curved, None]], 1)
        gain = value[done] - new_value[good]
        small[done] = torch.where(gain < tolerance, small[done] + 1, 0)
        going[done] = small[done] < 2
        z[done], value[done], slope[done] = trial[good], new_value[good], new_slope
        direction[done] = _direction(new_slope, steps[done], changes[done])
        length[done] = 1.0
    return z, value


def _direction(slope: Tensor, steps: Tensor, changes: Tensor) -> Tensor:
    """Return -H g by the two loops; pairs of zeros, not yet filled, do nothing."""
    products = (steps * changes).sum(2)
    rho = torch.where(products > 0, 1 / products, 0.0)
    q, alphas = slope.clone(), []
    for k in reversed(range(MEMORY)):
        alpha = rho[:, k] * (steps[:, k] * q).sum(1)
        q -= alpha[:, None] * changes[:, k]
        alphas.append(alpha)
    size = changes[:, -1].square().sum(1)
    q *= torch.where(size > 0, products[:, -1] / size, 1.0)[:, None]
    for k, alpha in enumerate(reversed(alphas)):
        beta = rho[:, k] * (changes[:, k] * q).sum(1)
        q += (alpha - beta)[:, None] * steps[:, k]
    downhill = (q * slope).sum(1, keepdim=True) > 0
    return _capped(-torch.where(downhill, q, slope))


def _capped(direction: Tensor) -> Tensor:
    largest = direction.abs().amax(1, keepdim=True)
    return direction * (FARTHEST / largest.clamp(min=FARTHEST))
