"""Perceptrons with a Lipschitz constant that is set, not measured: sandwich layers.

    h ↦ √2 Aᵀ Ψ s(√2 Ψ⁻¹ B h + b),     A Aᵀ + B Bᵀ = I,     Ψ = diag(e^d)

A layer changes distances by a factor of 1 at most where the slopes of the activation s
lie in [0, 1], as those of ELU do. A and B are halves of a matrix with orthonormal
columns, by Cayley's transform of free parameters, so that training needs no
constraint. The last layer is B alone.

Reference: Wang, Manchester, Direct Parameterization of Lipschitz-Bounded Deep
Networks, ICML 2023, arXiv:2301.11526.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Sandwich(nn.Module):
    """One layer whose Lipschitz constant is 1 at most.

    Args:
        n_in: width of what it takes.
        n_out: width of what it gives.
        last: whether it is linear, B h + b.
    """

    def __init__(self, n_in: int, n_out: int, last: bool = False) -> None:
        super().__init__()
        self.last = last
        self.square = nn.Parameter(torch.empty(n_out, n_out))
        self.tall = nn.Parameter(torch.empty(n_in, n_out))
        for free in (self.square, self.tall):
            nn.init.xavier_normal_(free)
        # size and direction of the free matrix are learnt apart: weight normalisation
        self.size = nn.Parameter(self._norm().detach())
        self.bias = nn.Parameter(torch.zeros(n_out))
        self.width = nn.Parameter(torch.zeros(n_out))

    def _norm(self) -> Tensor:
        return (self.square.square().sum() + self.tall.square().sum()).sqrt()

    def halves(self) -> tuple[Tensor, Tensor]:
        """Return A (n_out, n_out) and B (n_out, n_in)."""
        factor = self.size / self._norm()
        square, tall = factor * self.square, factor * self.tall
        eye = torch.eye(len(square), dtype=square.dtype, device=square.device)
        z = square - square.T + tall.T @ tall
        inverse = torch.linalg.inv(eye + z)
        return ((eye - z) @ inverse).T, (-2 * tall @ inverse).T

    def forward(self, h: Tensor) -> Tensor:
        """Map (batch, n_in) to (batch, n_out)."""
        a, b = self.halves()
        if self.last:
            return F.linear(h, b, self.bias)
        stretch = self.width.exp()
        inner = math.sqrt(2) * F.linear(h, b) / stretch + self.bias
        return math.sqrt(2) * (F.elu(inner) * stretch) @ a


class LipschitzMLP(nn.Module):
    """Perceptron with |y(x) - y(x')| ≤ γ |x - x'| / √n, n the width of its input.

    γ belongs to the root mean square of the input, so that it means the same for any
    number of sensors.

    Args:
        sizes: widths, that of the input first.
        bound: γ.
    """

    def __init__(self, sizes: Sequence[int], bound: float) -> None:
        super().__init__()
        self.bound = bound / math.sqrt(sizes[0])
        pairs = list(pairwise(sizes))
        layers = [Sandwich(*pair, last=pair is pairs[-1]) for pair in pairs]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, n_in) to (batch, n_out)."""
        scale = math.sqrt(self.bound)
        y: Tensor = self.layers(scale * x)
        return scale * y
