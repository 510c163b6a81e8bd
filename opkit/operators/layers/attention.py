"""Attention by scalar products, defined for empty batches as well."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """Return softmax(s Q Kᵀ + B) V, (batch, head, query, channel).

    Args:
        query: (batch, head, query, width).
        key: (batch, head, key, width).
        value: (batch, head, key, channel).
        bias: B, (batch, head, query, key) or a shape that broadcasts to it.
        scale: s, 1/√width if None.
    """
    if query.numel() == 0:  # not every fused kernel takes an empty batch
        empty: Tensor = query @ key.transpose(-1, -2) @ value
        return empty
    return F.scaled_dot_product_attention(query, key, value, bias, scale=scale)
