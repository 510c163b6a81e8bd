"""Attention by scalar products, with derivatives of every order."""

from __future__ import annotations

from torch import Tensor


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """Return softmax(s Q Kᵀ + B) V, (batch, head, query, channel).

    PyTorch's fused kernels have neither forward nor second derivatives, and not all
    take an empty batch.

    Args:
        query: (batch, head, query, width).
        key: (batch, head, key, width).
        value: (batch, head, key, channel).
        bias: B, (batch, head, query, key) or a shape that broadcasts to it.
        scale: s, 1/√width if None.
    """
    if scale is None:
        scale = query.shape[-1] ** -0.5
    scores = (scale * query) @ key.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias
    return scores.softmax(-1) @ value
