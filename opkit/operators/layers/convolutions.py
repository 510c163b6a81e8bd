"""Convolutions in one, two and three dimensions that respect the boundary."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from opkit.operators.layers.grids import (
    Boundary,
    crop,
    pad,
    resample,
)

CONV: tuple[type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d], ...] = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
)
TRANSPOSED: tuple[type[nn.Module], ...] = (
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


class Pad(nn.Module):
    """`pad` as a layer."""

    def __init__(self, width: int, modes: Sequence[Boundary]) -> None:
        super().__init__()
        self.width, self.modes = width, tuple(modes)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, n, ...) to (batch, channel, n + 2 width, ...)."""
        return pad(x, self.width, self.modes)


def convolution(
    in_channels: int,
    out_channels: int,
    kernel: int,
    modes: Sequence[Boundary],
    *,
    stride: int = 1,
    bias: bool = True,
) -> nn.Module:
    """Return a convolution that keeps the grid (stride 1) or halves it (stride 2).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: odd width.
        modes: how each axis continues beyond the boundary.
        stride: 1, or 2 for n -> ceil(n/2) points.
        bias: whether a constant is added.
    """
    conv, width = CONV[len(modes) - 1], kernel // 2
    if width == 0 or len(set(modes)) == 1:
        return conv(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=width,
            bias=bias,
            padding_mode=modes[0],
        )
    inner = conv(in_channels, out_channels, kernel, stride=stride, bias=bias)
    return nn.Sequential(Pad(width, modes), inner)


class Prolongation(nn.Module):
    """Transposed convolution of stride 2 onto a given finer grid.

    Kernel 4; the coarse field is continued beyond the boundary like everywhere else,
    so that a periodic field stays periodic. Coarse point i lies on fine point 2i.

    Args:
        channels: of input and output.
        modes: how each axis continues beyond the boundary.
    """

    def __init__(self, channels: int, modes: Sequence[Boundary]) -> None:
        super().__init__()
        self.modes = tuple(modes)
        # one point of continuation is two fine points: 1 + 2 are cut off again
        self.conv = TRANSPOSED[len(modes) - 1](
            channels, channels, 4, stride=2, padding=3, bias=False
        )

    def forward(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """(batch, channel, *coarse) to (batch, channel, *shape)."""
        return crop(self.conv(pad(x, 1, self.modes)), shape)


def mlp(sizes: Sequence[int], activation: type[nn.Module] = nn.GELU) -> nn.Sequential:
    """Return linear layers of these widths with an activation between them."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), activation()]
    return nn.Sequential(*layers[:-1])


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation in any dimension that bears a single value a channel.

    One value has no variance: a batch of one on a grid of one point is normalised by
    the running statistics, in training too, and leaves them as they are.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any number of axes."""

    def forward(self, input: Tensor) -> Tensor:
        """(batch, channel, *space) to the same."""
        if self.training and input.numel() == input.shape[1]:
            return F.batch_norm(
                input,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                eps=self.eps,
            )
        return super().forward(input)


def normalisation(kind: str, channels: int) -> nn.Module:
    """Return the layer for ``"batch"``, ``"group"`` or ``"none"``.

    None of them depends on the size of the grid. Group normalisation uses the largest
    number of groups up to 8 that divides the channels.
    """
    if kind == "batch":
        return BatchNorm(channels)
    if kind == "group":
        groups = max(g for g in range(1, 9) if channels % g == 0)
        return nn.GroupNorm(groups, channels)
    return nn.Identity()


def interpolate(x: Tensor, shape: Sequence[int], modes: Sequence[Boundary]) -> Tensor:
    """Interpolate linearly onto ``shape``, around on axes with mode circular."""
    if "circular" in modes:
        return resample(x, shape, [mode == "circular" for mode in modes])
    kind = ("linear", "bilinear", "trilinear")[len(shape) - 1]
    return F.interpolate(x, tuple(shape), mode=kind, align_corners=True)
