"""The neural spectral block of LSM (Wu et al., ICML 2023, arXiv:2301.12664)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from opkit.operators.layers.attention import attend


def to_patches(x: Tensor, patch: Sequence[int]) -> Tensor:
    """Cut (batch, channel, *space) into (batch * patches, channel, points)."""
    batch, channels, *space = x.shape
    counts = [n // p for n, p in zip(space, patch, strict=True)]
    x = x.reshape(batch, channels, *chain(*zip(counts, patch, strict=True)))
    d = len(space)
    x = x.permute(0, *range(2, 2 + 2 * d, 2), 1, *range(3, 3 + 2 * d, 2))
    return x.reshape(batch * math.prod(counts), channels, math.prod(patch))


def from_patches(x: Tensor, patch: Sequence[int], space: Sequence[int]) -> Tensor:
    """Inverse of `to_patches` for a field on the grid ``space``."""
    channels, d = x.shape[1], len(space)
    counts = [n // p for n, p in zip(space, patch, strict=True)]
    x = x.reshape(-1, *counts, channels, *patch)
    pairs = chain(*((1 + axis, 2 + d + axis) for axis in range(d)))
    return x.permute(0, 1 + d, *pairs).reshape(-1, channels, *space)


class NeuralSpectralBlock(nn.Module):
    """Attend to latent tokens, solve among them in a trigonometric basis, attend back.

    On every patch, for each head (softmax over the points, then over the tokens):

    1. T = softmax(T0 Kᵀ) V + T0, with K, V = 1x1 convolutions of x;
    2. T ← T + Σ_{m=0}^{N-1} w_{c,m} sin(πmT/N) + w_{c,N+m} cos(πmT/N), for channel c;
    3. x ← x + softmax(Q Tᵀ) T, with Q a 1x1 convolution of x.

    There is no 1/√d in the softmax, as published. Step 1 is a mean over the patch, so
    the block does not depend on the density of points.

    Args:
        channels: a multiple of ``n_heads``.
        n_tokens: latent tokens of a patch.
        n_basis: N; the sine of m = 0 vanishes, its weight is kept as published.
        n_heads: heads.
    """

    def __init__(
        self, channels: int, n_tokens: int = 4, n_basis: int = 12, n_heads: int = 8
    ) -> None:
        super().__init__()
        self.n_heads = n_heads
        shape = (n_heads, n_tokens, channels // n_heads)
        self.tokens = nn.Parameter(torch.rand(shape) / channels)
        self.weights = nn.Parameter(torch.rand(channels, 2 * n_basis) / channels)
        self.key_value = nn.Conv1d(channels, 2 * channels, 1)
        self.query = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor, patch: Sequence[int]) -> Tensor:
        """(batch, channel, *space) to the same; ``patch`` divides the grid."""
        space = x.shape[2:]
        points = to_patches(x, patch)
        tokens = self.solve(self.encode(points))
        return from_patches(self.decode(points, tokens), patch, space)

    def encode(self, x: Tensor) -> Tensor:
        """Points (patch, channel, point) to tokens (patch, head, token, channel)."""
        count = x.shape[0]
        # channel (head, c, key or value): keys and values are interleaved
        pairs = self.key_value(x).unflatten(1, (self.n_heads, -1, 2))
        key, value = pairs.permute(3, 0, 1, 4, 2)
        latent = self.tokens.expand(count, *self.tokens.shape)
        return latent + attend(latent, key, value, scale=1.0)

    def solve(self, tokens: Tensor) -> Tensor:
        """Add the trigonometric series to every token."""
        # Horner's rule for Re Σ_m (w_cos - i w_sin)_m z^m, with z = exp(iπT/N): twice
        # as fast as evaluating and storing 2N functions of every token
        weights = self.weights.view(self.n_heads, 1, tokens.shape[-1], -1)
        sines, cosines = (half.unbind(-1) for half in weights.chunk(2, dim=-1))
        angle = (math.pi / len(sines)) * tokens
        cos, sin = angle.cos(), angle.sin()
        # tracing forward derivatives of addcmul(..., value=-1) ends the process
        minus = -sin
        real, imaginary = cosines[-1], -sines[-1]
        for m in reversed(range(len(sines) - 1)):
            real, imaginary = (
                torch.addcmul(torch.addcmul(cosines[m], real, cos), imaginary, minus),
                torch.addcmul(torch.addcmul(-sines[m], real, sin), imaginary, cos),
            )
        return tokens + real

    def decode(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Add to every point what it reads from the tokens of its patch."""
        count, channels, n = x.shape
        query = self.query(x).unflatten(1, (self.n_heads, -1)).transpose(2, 3)
        read = attend(query, tokens, tokens, scale=1.0)
        return x + read.transpose(2, 3).reshape(count, channels, n)
