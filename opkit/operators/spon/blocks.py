"""Processors on one level: fixed operators, or message passing.

Features are (node, batch, channel), so that products with sparse matrices act on
(node, batch · channel).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor, nn

from opkit.elements import SparseMatrix
from opkit.operators.spon.levels import Space


class FixedOperators(nn.Module):
    """h ← h + W gelu(Σ_k A_k h W_k + b), A_0 = I, A_k the operators of the level.

    Args:
        channels: of h.
        operators: number of A_k with k ≥ 1.
    """

    def __init__(self, channels: int, operators: int) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.empty(operators + 1, channels, channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.out = nn.Linear(channels, channels)
        nn.init.normal_(self.mix, std=(channels * (operators + 1)) ** -0.5)

    def forward(self, h: Tensor, level: OperatorGraph) -> Tensor:
        """Update features (node, batch, channel)."""
        flat = h.flatten(0, 1)
        near = level.operators(h).view(len(self.mix) - 1, *flat.shape)
        mixed = _Mix.apply(flat, near, self.mix, self.bias)
        change: Tensor = self.out(F.gelu(mixed))
        return h + change.view_as(h)


class _Mix(torch.autograd.Function):
    """x W_0 + Σ_k y_k W_k + b without a copy of the y_k side by side."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, y, weight)
        total = torch.addmm(bias, x, weight[0])
        for k in range(len(y)):
            total.addmm_(y[k], weight[k + 1])
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        x, y, weight = ctx.saved_tensors
        to_x = gradient @ weight[0].T
        to_y = torch.matmul(gradient, weight[1:].transpose(1, 2))
        others = torch.matmul(y.transpose(1, 2), gradient)
        to_weight = torch.cat([(x.T @ gradient)[None], others])
        return to_x, to_y, to_weight, gradient.sum(0)


class OperatorGraph(nn.Module):
    """The stacked operators A_1, A_2, … of one level."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.operators = SparseMatrix(sparse.vstack(space.operators()))


class MessagePassing(nn.Module):
    """h_i ← h_i + W gelu(U h_i + mean_j V gelu(A h_i + B h_j + C e_ij) + b).

    Args:
        channels: of h.
        features: numbers of an edge, d + 1.
    """

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.ends = nn.Linear(channels, 2 * channels, bias=False)
        self.edge = nn.Linear(features, channels)
        self.message = nn.Linear(channels, channels, bias=False)
        self.own = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, h: Tensor, level: EdgeGraph) -> Tensor:
        """Update features (node, batch, channel)."""
        ends = torch.cat(self.ends(h).chunk(2, dim=2))
        sent = F.gelu(level.gather(ends) + self.edge(level.features)[:, None])
        # the mean is linear: average first, then V, on six times fewer rows
        received = self.message(level.mean(sent))
        change: Tensor = self.out(F.gelu(self.own(h) + received))
        return h + change


class EdgeGraph(nn.Module):
    """Edges of one level: features, both ends of each, means over each node's."""

    features: Tensor

    def __init__(self, space: Space) -> None:
        super().__init__()
        ends, features = space.edges()
        count, nodes = len(ends), len(space.points)
        rows = np.arange(count)
        ones = np.ones(count)
        to = sparse.csr_array((ones, (rows, ends[:, 0])), shape=(count, nodes))
        start = sparse.csr_array((ones, (rows, ends[:, 1])), shape=(count, nodes))
        degree = np.maximum(np.asarray(to.sum(axis=0)).ravel(), 1)
        self.gather = SparseMatrix(sparse.hstack([to, start]))
        self.mean = SparseMatrix(sparse.diags_array(1 / degree) @ to.T)
        self.register_buffer(
            "features", torch.from_numpy(features).float(), persistent=False
        )
