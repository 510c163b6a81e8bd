"""BENO as its authors' code has it, whose weights load here.

Both branches see the same edge features, f among them; edge features double with every
layer instead of being updated; positions make the boundary vector depend on where the
numbering of the curve starts; and values are shifted by means, so that the "zero" of a
branch is the mean of the data. Batches of several graphs are right here.

Source: Wang et al., ICLR 2024, arXiv:2401.09323, and the published code.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opkit.operators.beno.layers import gather_sum
from opkit.operators.beno.published_features import (
    EDGE_FEATURES,
    NODE_FEATURES,
    FeatureScales,
    Graphs,
)
from opkit.operators.layers.attention import attend
from opkit.operators.layers.boundary_curve import Curve

_FEED = 16  # width between the 1x1 convolutions of a Transformer layer


def perceptron(n_in: int, width: int, hidden: int, n_out: int) -> nn.Sequential:
    """``hidden`` layers with SiLU, then a linear one."""
    sizes = [n_in, *([width] * hidden)]
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], n_out))


class TransformerLayer(nn.Module):
    """Attention and a narrow feed-forward part, normalised afterwards."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (
            nn.Linear(width, width) for _ in range(4)
        )
        self.widen, self.narrow = nn.Conv1d(width, _FEED, 1), nn.Conv1d(_FEED, width, 1)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, face, width) to the same."""
        q, k, v = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        mixed = attend(q, k, v).transpose(1, 2).flatten(2)
        x = self.norm1(x + self.out(mixed))
        fed = self.narrow(F.gelu(self.widen(x.transpose(1, 2)))).transpose(1, 2)
        result: Tensor = self.norm2(x + fed)
        return result


class BoundaryVector(nn.Module):
    """Positions and values (batch, face, 3) to one vector (batch, width)."""

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.embed = nn.Conv1d(
            3, width, 3, padding=1, padding_mode="circular", bias=False
        )
        self.layers = nn.ModuleList(
            TransformerLayer(width, heads) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Maximum over the faces of the encoded tokens."""
        x = self.embed(tokens.transpose(1, 2)).transpose(1, 2)
        x = x + _sinusoids(x)
        for layer in self.layers:
            x = layer(x)
        return torch.amax(self.norm(x), dim=1)


def _sinusoids(like: Tensor) -> Tensor:
    faces, width = like.shape[1:]
    place = torch.arange(faces, device=like.device, dtype=like.dtype)[:, None]
    even = torch.arange(0, width, 2, device=like.device, dtype=like.dtype)
    angle = place * torch.exp(even * (-math.log(10000.0) / width))
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :width]


class MessageLayer(nn.Module):
    """x_i ← x_i + LN(MLP([mean_j m_ij, x_i, B])),  m_ij = LN(MLP([x_i, x_j, e_ij]))."""

    def __init__(
        self, width: int, mlp_layers: int, transformer_layers: int, heads: int
    ) -> None:
        super().__init__()
        self.node = perceptron(3 * width, width, mlp_layers, width)
        self.node_norm = nn.LayerNorm(width)
        self.edge = perceptron(3 * width, width, mlp_layers, width)
        self.edge_norm = nn.LayerNorm(width)
        self.boundary = BoundaryVector(width, transformer_layers, heads)

    def forward(self, x: Tensor, e: Tensor, tokens: Tensor, graphs: Graphs) -> Tensor:
        """Node features (node, width) to the same; e (edge, width)."""
        # the first linear layer on [x_i, x_j, e], node by node before it is gathered
        first = cast("nn.Linear", self.edge[0])
        to, come, own = torch.split(first.weight, x.shape[1], dim=1)
        hidden = (x @ to.T)[graphs.target] + (x @ come.T)[graphs.source]
        hidden = hidden + F.linear(e, own, first.bias)
        passed = self.edge_norm(self.edge[1:](hidden))
        mean = gather_sum(passed, graphs.target, len(x)) / graphs.degree[:, None]
        vector = self.boundary(tokens)[graphs.sample]
        update = self.node_norm(self.node(torch.cat([mean, x, vector], dim=-1)))
        result: Tensor = x + update
        return result


class Branch(nn.Module):
    """Encode, pass messages, decode."""

    def __init__(
        self,
        outputs: int,
        width: int,
        n_layers: int,
        mlp_layers: int,
        transformer_layers: int,
        heads: int,
    ) -> None:
        super().__init__()
        self.node = perceptron(NODE_FEATURES, width, mlp_layers, width)
        self.node_norm = nn.LayerNorm(width)
        self.edge = perceptron(EDGE_FEATURES, width, mlp_layers, width)
        self.edge_norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(
            MessageLayer(width, mlp_layers, transformer_layers, heads)
            for _ in range(n_layers)
        )
        self.decode = perceptron(width, width, mlp_layers, outputs)

    def forward(
        self, nodes: Tensor, edges: Tensor, tokens: Tensor, graphs: Graphs
    ) -> Tensor:
        """(node, 10), (edge, 7) and (batch, face, 3) to (node, output)."""
        x = self.node_norm(self.node(nodes))
        e = self.edge_norm(self.edge(edges))
        for layer in self.layers:
            x = layer(x, e, tokens, graphs)
            e = 2 * e  # the published residual adds edge features to themselves
        u: Tensor = self.decode(x)
        return u


class PublishedBENO(nn.Module):
    """The two branches, their features and their normalisation.

    Args:
        outputs: channels of u.
        width: of everything inside, published 128.
        n_layers: message-passing layers, published 10.
        mlp_layers: hidden layers of every perceptron, published 3.
        transformer_layers: of every boundary encoder, published 3.
        heads: published 2.
    """

    def __init__(
        self,
        outputs: int,
        width: int,
        n_layers: int,
        mlp_layers: int,
        transformer_layers: int,
        heads: int,
    ) -> None:
        super().__init__()
        sizes = (outputs, width, n_layers, mlp_layers, transformer_layers, heads)
        self.source, self.data = Branch(*sizes), Branch(*sizes)
        self.scales = FeatureScales()

    def fit(
        self, source: Tensor, inside: Tensor, curve: Curve, outputs: Tensor
    ) -> None:
        """Take means and standard deviations from all training samples."""
        self.scales.fit(source, inside, curve, outputs)

    def forward(self, source: Tensor, inside: Tensor, curve: Curve) -> Tensor:
        """Return u (batch, output, y, x), 0 outside, in physical units."""
        graphs = Graphs.of(inside)
        nodes, edges, tokens = self.scales.features(source, inside, curve, graphs)
        u = self.scales.decode(self.branches(nodes, edges, tokens, graphs))
        whole = u.new_zeros(inside.numel(), u.shape[1])
        whole = whole.index_copy(0, graphs.flat, u)
        return whole.view(*inside.shape, u.shape[1]).permute(0, 3, 1, 2)

    def branches(
        self, nodes: Tensor, edges: Tensor, tokens: Tensor, graphs: Graphs
    ) -> Tensor:
        """Sum of the source branch and the data branch, normalised (node, output)."""
        keep = nodes.new_ones(nodes.shape[1])
        keep[2:6] = 0  # f, smoothed f and its gradient
        still = tokens * tokens.new_tensor([1.0, 1.0, 0.0])
        of_source = self.source(nodes, edges, still, graphs)
        u: Tensor = of_source + self.data(nodes * keep, edges, tokens, graphs)
        return u
