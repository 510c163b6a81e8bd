"""Perceptrons of coordinates, with activations made for them.

    sine      sin(ω z), weights from U(±√(6/n) / ω), those of the first layer U(±1/n)
    cauchy    (λ₁ z + λ₂) / (z² + d²), the three numbers of each layer learnt

References: Sitzmann et al., Implicit Neural Representations with Periodic Activation
Functions, NeurIPS 2020, arXiv:2006.09661; Li, Xia, Zhang, Cauchy activation function
and XNet, arXiv:2409.19221.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from opkit.operators.layers.convolutions import mlp

Activation = Literal["gelu", "sine", "cauchy"]
FREQUENCY = 10.0
"""ω; 30 in the paper, whose images are rougher than solutions of PDEs."""


class Sine(nn.Module):
    """sin(ω z)."""

    def forward(self, z: Tensor) -> Tensor:
        """Map values of any shape."""
        return torch.sin(FREQUENCY * z)


class Cauchy(nn.Module):
    """(λ₁ z + λ₂) / (z² + d²), which begins with all three numbers 1."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = nn.Parameter(torch.ones(3))

    def forward(self, z: Tensor) -> Tensor:
        """Map values of any shape."""
        slope, height, width = self.numbers
        bent: Tensor = (slope * z + height) / (z.square() + width.square() + 1e-6)
        return bent


KINDS: dict[Activation, type[nn.Module]] = {
    "gelu": nn.GELU,
    "sine": Sine,
    "cauchy": Cauchy,
}


def coordinate_mlp(sizes: Sequence[int], activation: Activation) -> nn.Sequential:
    """Return linear layers of these widths, started as their activation wants it.

    Args:
        sizes: widths, the coordinates first.
        activation: between the layers.
    """
    network = mlp(sizes, KINDS[activation])
    if activation == "sine":
        first, *others = (m for m in network if isinstance(m, nn.Linear))
        nn.init.uniform_(first.weight, -1 / sizes[0], 1 / sizes[0])
        for layer in others:
            bound = math.sqrt(6 / layer.in_features) / FREQUENCY
            nn.init.uniform_(layer.weight, -bound, bound)
    return network
