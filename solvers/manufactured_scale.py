"""The size of a problem, and problems brought to unit size.

With k = π/2, the lowest wave number of the square,

    λ = |c_0| + k (|c_1| + |c_2|) + k² (|c_3| + |c_4|)

is the size of L on the smoothest functions, and max(|g|, |h| / k, rms f / λ) estimates
that of u. The problem is linear, so both may be divided out and put back: a network
then reads every problem at one size, whatever its units.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from opkit.problems import Problems

WAVE_NUMBER = math.pi / 2
UNIT = 4.0  # λ of a problem of unit size


def operator_size(coefficients: Tensor) -> Tensor:
    """λ (batch,) of coefficients (batch, 5)."""
    k = WAVE_NUMBER
    powers = coefficients.new_tensor([1.0, k, k, k * k, k * k])
    return (coefficients.abs() * powers).sum(-1)


def operator_factor(coefficients: Tensor) -> Tensor:
    """What to multiply L and f by for λ = `UNIT` and a positive u_xx, (batch,)."""
    return UNIT / operator_size(coefficients) * coefficients[:, 3].sign()


def data_size(coefficients: Tensor, grids: Tensor, inside: Tensor) -> Tensor:
    """Estimate |u| (batch,) as max(|g|, |h| / k, rms f / λ); 1 where all data are 0.

    Args:
        coefficients: (batch, 5).
        grids: (batch, 5, y, x) as in `Problems`.
        inside: (batch, y, x), whether a grid point lies in the domain.
    """
    source = grids[:, 4] * inside
    count = inside.sum((1, 2)).clamp_min(1)
    rms = (source.square().sum((1, 2)) / count).sqrt() / operator_size(coefficients)
    value, flux = grids[:, 2:4].abs().amax((2, 3)).unbind(1)
    size = torch.stack([value, flux / WAVE_NUMBER, rms]).amax(0)
    return torch.where(size > 0, size, 1.0)


def scale_data(grids: Tensor, factor: Tensor) -> Tensor:
    """Multiply g, h and f of grids (batch, 5, y, x) by (batch,), not their masks."""
    masks, data = grids[:, :2], grids[:, 2:]
    return torch.cat([masks, data * factor[:, None, None, None]], 1)


def normalise(problems: Problems) -> Problems:
    """The same problems with λ = `UNIT`, c_3 > 0 and data of size 1."""
    factor = operator_factor(problems.coefficients)
    size = data_size(problems.coefficients, problems.grids, problems.inside)
    shrink = 1 / size
    grids = scale_data(problems.grids, shrink)
    grids[:, 4] *= factor[:, None, None]
    return replace(
        problems,
        coefficients=problems.coefficients * factor[:, None],
        grids=grids,
        source=problems.source * (factor * shrink)[:, None],
        solution=problems.solution * shrink[:, None],
        solution_grid=problems.solution_grid * shrink[:, None, None],
        dirichlet_values=problems.dirichlet_values * shrink[:, None],
        neumann_values=problems.neumann_values * shrink[:, None],
    )
