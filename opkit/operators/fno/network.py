"""The Fourier neural operator in channels-last memory.

    v_{l+1} = σ(M(σ(W v_l + R_l ∗ v_l + b)) + g ⊙ v_l),    M(v) = W₂ σ(W₁ v + b₁) + b₂

Pointwise layers are then plain matrix products over all points, the skip connection W
is accumulated onto the spectral convolution's output in the same product, and the
spectral convolution works in wide rows. Names and shapes of the parameters are those of
``neuralop.models.FNO`` 2.0.0: `SpectralConv` loads its weights.

Reference: Li et al., ICLR 2021, arXiv:2010.08895.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from opkit.errors import OpkitInputError
from opkit.kernels.pointwise.functional import (
    Act,
    Mlp,
    layer,
    mlp,
)
from opkit.operators.layers.spectral_conv import SpectralConv

Norm = Literal["group_norm", "instance_norm"]


def rows(x: Tensor) -> Tensor:
    """View a field (batch, channel, *space) as (point, channel)."""
    return x.movedim(1, -1).reshape(-1, x.shape[1])


def field(points: Tensor, like: Tensor) -> Tensor:
    """View (point, channel) as a field on the batch and grid of ``like``."""
    shape = (like.shape[0], *like.shape[2:], points.shape[1])
    return points.view(shape).movedim(-1, 1)


class PointwiseMLP(nn.Module):
    """Two linear layers over channels with GELU between: the same map at every point.

    Args:
        channels: width of the input, of the hidden layer and of the output.
    """

    def __init__(self, channels: tuple[int, int, int]) -> None:
        super().__init__()
        self.fcs = nn.ModuleList(nn.Conv1d(a, b, 1) for a, b in pairwise(channels))

    @property
    def matrices(self) -> Mlp:
        """The parameters, convolutions of one point as matrices."""
        first, second = self.fcs
        assert isinstance(first, nn.Conv1d) and first.bias is not None
        assert isinstance(second, nn.Conv1d) and second.bias is not None
        return Mlp(first.weight[..., 0], first.bias, second.weight[..., 0], second.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channel, *space) to the same grid.

        Raises:
            OpkitInputError: another number of channels, or numbers that are not real.
        """
        expected = self.matrices.first.shape[1]
        if x.ndim < 3 or x.shape[1] != expected or not x.is_floating_point():
            raise OpkitInputError(
                f"expected real floating-point fields (batch, {expected}, *space), got "
                f"{x.dtype} of shape {tuple(x.shape)}: convert with .float(), or check "
                "the number of channels"
            )
        return field(mlp(rows(x), self.matrices), x)


class LinearSkip(nn.Module):
    """The matrix W of u + W v on points."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, 1, bias=False)

    @property
    def matrix(self) -> Tensor:
        """W as a matrix."""
        return self.conv.weight[..., 0]


class SoftGating(nn.Module):
    """The numbers g of u + g ⊙ v on points, one per channel."""

    def __init__(self, channels: int, axes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, channels, *(1,) * axes))


class InstanceNorm(nn.Module):
    """Zero mean and unit variance of every sample and channel."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise a field."""
        result: Tensor = F.instance_norm(x)
        return result


class FNOBlocks(nn.Module):
    """The Fourier layers, called one at a time.

    Args:
        channels: width.
        n_modes: modes kept along each axis.
        n_layers: number of layers.
        channel_mlp: whether each layer ends with an MLP over channels and a gated skip.
        channel_mlp_expansion: hidden width of that MLP over the width.
        norm: normalisation after the convolution and after the MLP, or None.
        compat: see `SpectralConv`.
    """

    def __init__(
        self,
        channels: int,
        n_modes: Sequence[int],
        n_layers: int,
        channel_mlp: bool = True,
        channel_mlp_expansion: float = 0.5,
        norm: Norm | None = None,
        compat: str | None = None,
    ) -> None:
        super().__init__()
        if norm not in (None, "group_norm", "instance_norm"):
            raise OpkitInputError(
                f"norm {norm!r} is unknown: use group_norm, instance_norm or None"
            )
        layers = range(n_layers)
        hidden = round(channels * channel_mlp_expansion)
        self.convs = nn.ModuleList(
            SpectralConv(channels, channels, n_modes, compat=compat) for _ in layers
        )
        self.fno_skips = nn.ModuleList(LinearSkip(channels) for _ in layers)
        self.channel_mlp: nn.ModuleList | None = None
        self.channel_mlp_skips: nn.ModuleList | None = None
        self.norm: nn.ModuleList | None = None
        if channel_mlp:
            self.channel_mlp = nn.ModuleList(
                PointwiseMLP((channels, hidden, channels)) for _ in layers
            )
            self.channel_mlp_skips = nn.ModuleList(
                SoftGating(channels, len(n_modes)) for _ in layers
            )
        if norm == "group_norm":
            self.norm = nn.ModuleList(
                nn.GroupNorm(1, channels) for _ in range(2 * n_layers)
            )
        elif norm == "instance_norm":
            self.norm = nn.ModuleList(InstanceNorm() for _ in range(2 * n_layers))

    def forward(self, x: Tensor, index: int) -> Tensor:
        """Apply layer ``index`` to a field (batch, channel, *space)."""
        last = index == len(self.convs) - 1
        v = rows(x)
        x = field(v, x)
        y = rows(self._normalised(self.convs[index](x), 2 * index))
        skip = self.fno_skips[index]
        assert isinstance(skip, LinearSkip)
        if self.channel_mlp is None or self.channel_mlp_skips is None:
            u = torch.addmm(y, v, skip.matrix.T)
            u = u if last else F.gelu(u)
        else:
            part, gating = self.channel_mlp[index], self.channel_mlp_skips[index]
            assert isinstance(part, PointwiseMLP) and isinstance(gating, SoftGating)
            act = Act(u=not last, z=not last and self.norm is None)
            gate = gating.weight.flatten()
            u = layer(y, v, skip.matrix, gate, act, part.matrices)
            if self.norm is None:
                return field(u, x)
        y = self._normalised(field(u, x), 2 * index + 1)
        return y if last else F.gelu(y)

    def _normalised(self, x: Tensor, index: int) -> Tensor:
        if self.norm is None:
            return x
        result: Tensor = self.norm[index](x)
        return result


class ChannelsLastFNO(nn.Module):
    """Lifting, Fourier layers, projection, as ``neuralop.models.FNO`` has them.

    Same function and same parameters as
    ``neuralop.models.FNO(..., positional_embedding=None)``, whose state dict loads;
    `spectral_conv.neuralop_state_dict` converts back.

    Args:
        n_modes: modes kept along each of 1 to 3 axes.
        in_channels: channels of the input.
        out_channels: channels of the output.
        hidden_channels: width.
        n_layers: number of Fourier layers.
        lifting_channel_ratio: hidden width of the lifting over the width.
        projection_channel_ratio: hidden width of the projection over the width.
        channel_mlp: see `FNOBlocks`.
        channel_mlp_expansion: see `FNOBlocks`.
        norm: see `FNOBlocks`.
        compat: see `SpectralConv`.
    """

    def __init__(
        self,
        n_modes: Sequence[int],
        in_channels: int,
        out_channels: int,
        hidden_channels: int,
        n_layers: int = 4,
        lifting_channel_ratio: float = 2,
        projection_channel_ratio: float = 2,
        channel_mlp: bool = True,
        channel_mlp_expansion: float = 0.5,
        norm: Norm | None = None,
        compat: str | None = None,
    ) -> None:
        super().__init__()
        width = hidden_channels
        wide = int(lifting_channel_ratio * width)
        self.lifting = PointwiseMLP((in_channels, wide, width))
        self.fno_blocks = FNOBlocks(
            width, n_modes, n_layers, channel_mlp, channel_mlp_expansion, norm, compat
        )
        wide = int(projection_channel_ratio * width)
        self.projection = PointwiseMLP((width, wide, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channel, *space) to (batch, out_channel, *space)."""
        x = self.lifting(x)
        for index in range(len(self.fno_blocks.convs)):
            x = self.fno_blocks(x, index)
        y: Tensor = self.projection(x)
        return y
