"""Physics attention: attention among a few slices that the points belong to.

    s_ng = softmax_g(W x_n / τ),   z_g = Σ_n w_n s_ng v_n / Σ_n w_n s_ng,
    z' = softmax(Q Kᵀ / √d) V,     y_n = Σ_g s_ng z'_g

for each head; Q, K, V are linear in z, τ is learnt. With quadrature weights w_n the
slices are means over the domain, whatever the density of points; with w_n = 1 this is
the published layer. Source: Wu, Luo, Wang, Wang, Long, "Transolver", ICML 2024,
arXiv:2402.02366.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from opkit.operators.layers.attention import attend

START = 0.5
"""Temperature at the start."""
COLDEST = 0.05
"""Temperature that slices do not fall below: they would become steps."""
PUBLISHED_EPS = 1e-5
"""What the published layer adds to the size of a slice, in points."""
EPS = 1e-8
"""The same with weights, whose sum is 1: too little to be seen, enough to divide by."""


class PhysicsAttention(nn.Module):
    """Attention among slices.

    Args:
        width: features of a point.
        heads: that share the features.
        slices: of each head.
    """

    def __init__(self, width: int, heads: int, slices: int) -> None:
        super().__init__()
        self.heads = heads
        each = width // heads
        self.temperature = nn.Parameter(torch.full((heads, 1, 1), START))
        self.to_place = nn.Linear(width, width)
        self.to_value = nn.Linear(width, width)
        self.to_slice = nn.Linear(each, slices)
        self.to_q = nn.Linear(each, each, bias=False)
        self.to_k = nn.Linear(each, each, bias=False)
        self.to_v = nn.Linear(each, each, bias=False)
        self.out = nn.Linear(width, width)

    def reset(self) -> None:
        """Start the slices apart: orthogonal directions."""
        nn.init.orthogonal_(self.to_slice.weight)

    def forward(
        self, x: Tensor, weights: Tensor | None, counts: list[int] | None = None
    ) -> Tensor:
        """Map (batch, point, width) to the same.

        Args:
            x: features; of a ragged batch (1, all points, width).
            weights: (batch, point), which sum to 1 in each sample; None for the
                published sums.
            counts: points of each sample of a ragged batch; None for other batches.
        """
        place, value = self._split(self.to_place(x)), self._split(self.to_value(x))
        temperature = self.temperature.clamp(min=COLDEST)
        share = (self.to_slice(place) / temperature).softmax(-1)
        if counts is None:
            tokens = self._tokens(share, value, weights)
        else:
            parts = zip(
                torch.split(share, counts, 2),
                torch.split(value, counts, 2),
                [None] * len(counts)
                if weights is None
                else torch.split(weights, counts, 1),
                strict=True,
            )
            tokens = torch.cat([self._tokens(*part) for part in parts])
        tokens = attend(self.to_q(tokens), self.to_k(tokens), self.to_v(tokens))
        if counts is None:
            mixed = share @ tokens
        else:
            pairs = zip(torch.split(share, counts, 2), tokens, strict=True)
            mixed = torch.cat([own @ token for own, token in pairs], 2)
        joined = mixed.transpose(1, 2).flatten(2)
        result: Tensor = self.out(joined)
        return result

    def _split(self, x: Tensor) -> Tensor:
        """Return (batch, head, point, width / heads)."""
        batch, points, width = x.shape
        return x.view(batch, points, self.heads, width // self.heads).transpose(1, 2)

    def _tokens(self, share: Tensor, value: Tensor, weights: Tensor | None) -> Tensor:
        """Mean value of each slice, (batch, head, slice, width / heads)."""
        # sums over many points: in float32 whatever autocast says
        with torch.autocast(share.device.type, enabled=False):
            kind = torch.promote_types(value.dtype, torch.float32)
            share, value = share.to(kind), value.to(kind)
            eps = PUBLISHED_EPS
            if weights is not None:
                share, eps = share * weights.to(kind)[:, None, :, None], EPS
            size = share.sum(2)[..., None] + eps
            return (share.transpose(2, 3) @ value) / size
