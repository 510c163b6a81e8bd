"""Integrals with learnt kernels, on pairs of points or by a few products.

    (K v)_c(x) = ∫ κ_c(x, y) v_c(y) dμ(y)

with a kernel for each channel c, a small network of the places x and y; as of low rank,
κ_c(x, y) = Σ_r φ_cr(x) ψ_cr(y), it costs a sum over all points instead of one over all
pairs. Source: Kovachki et al., "Neural Operator", JMLR 24, 2023, arXiv:2108.08481.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from opkit.operators.gno.neighbours import Pairs

FIRST = 1.5
"""Spread of the slopes of a kernel's first layer."""
BLOCK = 2**18
"""Pairs whose products are held at once, where no gradient is asked for."""


class KernelIntegral(nn.Module):
    """Integral over the neighbours of each point.

    Args:
        columns: numbers of a place.
        width: channels, each with a kernel of its own.
        hidden: width of the kernel's network.
    """

    def __init__(self, columns: int, width: int, hidden: int) -> None:
        super().__init__()
        self.net = network(2 * columns + 1, hidden, width)

    def forward(self, v: Tensor, pairs: Pairs) -> Tensor:
        """Map (source, batch, width) to (target, batch, width)."""
        # sums over many points: in float32 whatever autocast says
        kind = torch.promote_types(v.dtype, torch.float32)
        v = v.to(kind)
        total = v.new_zeros(pairs.count, *v.shape[1:])
        for start in range(0, len(pairs.target), BLOCK):
            some = slice(start, start + BLOCK)
            kernel = self.net(pairs.features[some]).to(kind)
            kernel = kernel * pairs.weights[some, None]
            part = v[pairs.source[some]] * kernel[:, None]
            total = total.index_add(0, pairs.target[some], part)
        return total


class LowRank(nn.Module):
    """Integral over all points with a kernel of low rank.

    Args:
        columns: numbers of a place.
        width: channels, each with a kernel of its own.
        hidden: width of the networks.
        rank: of the kernels.
    """

    def __init__(self, columns: int, width: int, hidden: int, rank: int) -> None:
        super().__init__()
        self.left = network(columns, hidden, width * rank)
        self.right = network(columns, hidden, width * rank)
        self.rank = rank

    def forward(
        self, v: Tensor, places: Tensor, weights: Tensor, sample: Tensor
    ) -> Tensor:
        """Map (point, batch, width) to the same.

        Args:
            v: features.
            places: (point, column).
            weights: (point,), which sum to 1 in each sample.
            sample: (point,) which sample each belongs to.
        """
        kind = torch.promote_types(v.dtype, torch.float32)
        left, right = (
            net(places).to(kind).unflatten(1, (-1, self.rank))
            for net in (self.left, self.right)
        )
        part = torch.einsum("pbc,pcr,p->pbcr", v.to(kind), right, weights.to(kind))
        count = int(sample[-1]) + 1
        sums = part.new_zeros(count, *part.shape[1:]).index_add(0, sample, part)
        u: Tensor = torch.einsum("pbcr,pcr->pbc", sums[sample], left)
        return u / math.sqrt(self.rank)


def network(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Return a network with two hidden layers, whose values begin about one in size.

    Places lie within a unit box, where layers as torch starts them hardly vary.
    """
    net = nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.GELU(),
        nn.Linear(hidden, hidden),
        nn.GELU(),
        nn.Linear(hidden, outputs),
    )
    for k, spread in ((0, FIRST), (2, 1.5), (4, 1.5)):
        layer = net[k]
        assert isinstance(layer, nn.Linear)
        inside = inputs if k == 0 else hidden
        nn.init.normal_(layer.weight, std=spread / inside**0.5)
    return net
