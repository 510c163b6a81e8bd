"""Swin stages on channel-last grids: attention in shifted windows, then a merge by 2.

Liu et al., Swin Transformer, ICCV 2021, arXiv:2103.14030. Windows never exceed the
grid; where one window covers the grid it is not shifted.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from opkit.operators.layers.attention import attend


class WindowAttention(nn.Module):
    """Multi-head attention in windows w x w with a learned bias per relative position.

    Args:
        channels: of the tokens.
        heads: dividing the channels.
        window: side of the window.
    """

    index: Tensor

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.bias = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.bias, std=0.02)
        place = torch.cartesian_prod(torch.arange(window), torch.arange(window))
        apart = place[:, None] - place[None] + window - 1
        index = apart[..., 0] * (2 * window - 1) + apart[..., 1]
        self.register_buffer("index", index, persistent=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Map tokens (batch · windows, w², channel); mask is (windows, w², w²)."""
        tokens = x.shape[1]
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.bias[self.index.flatten()].reshape(tokens, tokens, -1)
        bias = bias.permute(2, 0, 1)[None]
        if mask is not None:
            bias = (bias + mask[:, None]).repeat(len(x) // len(mask), 1, 1, 1)
        mixed = attend(q, k, v, bias)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class SwinBlock(nn.Module):
    """x + attention(norm x), then x + mlp(norm x), on a grid of fixed size.

    Args:
        channels: of the tokens.
        heads: of the attention.
        size: tokens along y and x, multiples of the window.
        window: side of the window.
        shifted: whether windows are moved by half their side.
        mlp_ratio: hidden channels of the mlp over channels.
    """

    mask: Tensor | None

    def __init__(
        self,
        channels: int,
        heads: int,
        size: int,
        window: int,
        shifted: bool,
        mlp_ratio: float,
    ) -> None:
        super().__init__()
        self.window = min(window, size)
        self.shift = self.window // 2 if shifted and self.window < size else 0
        hidden = int(channels * mlp_ratio)
        self.norm1 = nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, heads, self.window)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels)
        )
        mask = shift_mask(size, self.window, self.shift) if self.shift else None
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, y, x, channel) to the same shape."""
        moved = self.norm1(x)
        if self.shift:
            moved = moved.roll((-self.shift, -self.shift), (1, 2))
        tokens = split_windows(moved, self.window)
        tokens = self.attention(tokens, self.mask)
        moved = join_windows(tokens, self.window, x.shape[1])
        if self.shift:
            moved = moved.roll((self.shift, self.shift), (1, 2))
        x = x + moved
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class SwinStage(nn.Module):
    """An optional merge of 2 x 2 tokens, then blocks with windows shifted in turn.

    Args:
        channels: out of this stage; in, half as many where it merges.
        heads: of every block.
        depth: number of blocks.
        size: tokens along an axis after the merge.
        window: side of the windows.
        merge: whether the stage begins with a merge.
        mlp_ratio: of every block.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        depth: int,
        size: int,
        window: int,
        merge: bool,
        mlp_ratio: float,
    ) -> None:
        super().__init__()
        self.merge = (
            nn.Sequential(
                nn.LayerNorm(2 * channels),
                nn.Linear(2 * channels, channels, bias=False),
            )
            if merge
            else None
        )
        self.blocks = nn.Sequential(
            *(
                SwinBlock(channels, heads, size, window, bool(k % 2), mlp_ratio)
                for k in range(depth)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, y, x, channel); a merge halves y and x and doubles channels."""
        if self.merge is not None:
            corners = [x[:, i::2, j::2] for j in range(2) for i in range(2)]
            x = self.merge(torch.cat(corners, -1))
        out: Tensor = self.blocks(x)
        return out


def split_windows(x: Tensor, window: int) -> Tensor:
    """Cut (batch, y, x, channel) into tokens (batch · windows, window², channel)."""
    batch, rows, columns, channels = x.shape
    x = x.reshape(batch, rows // window, window, columns // window, window, channels)
    return x.transpose(2, 3).reshape(-1, window * window, channels)


def join_windows(tokens: Tensor, window: int, size: int) -> Tensor:
    """Inverse of `split_windows` for a grid of size x size."""
    count, channels = size // window, tokens.shape[-1]
    x = tokens.reshape(-1, count, count, window, window, channels)
    return x.transpose(2, 3).reshape(-1, size, size, channels)


def shift_mask(size: int, window: int, shift: int) -> Tensor:
    """-100 between tokens of a shifted window that come from opposite borders.

    Returns:
        (windows, window², window²).
    """
    place = torch.arange(size)
    zone = (place >= size - window).long() + (place >= size - shift).long()
    region = (3 * zone[:, None] + zone[None])[None, ..., None].float()
    tokens = split_windows(region, window)[..., 0]
    return torch.where(tokens[:, None] == tokens[..., None], 0.0, -100.0)
