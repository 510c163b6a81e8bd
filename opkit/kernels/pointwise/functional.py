"""The pointwise part of a Fourier layer.

    mlp(x) = W₂ σ(W₁ x + b₁) + b₂,      layer(y, v) = σ(mlp(σ(u)) + g ⊙ v),  u = y + W v

σ is GELU; fields are (point, channel). On a CPU block by block, see
`pointwise_blocks`; elsewhere, under autocast and under tracing as plain operations.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from opkit.kernels.pointwise import blocks as pointwise_blocks
from opkit.kernels.pointwise.blocks import (
    Act,
    LayerFunction,
    Mlp,
    MlpFunction,
    plain_mlp,
    plain_rest,
)

__all__ = ["Act", "Mlp", "layer", "mlp"]


def mlp(x: Tensor, p: Mlp) -> Tensor:
    """Apply two linear layers with GELU between to every point.

    Args:
        x: (point, channel).
        p: parameters.
    """
    if not _blockwise(x, *p):
        return plain_mlp(x, p)
    if not torch.is_grad_enabled():
        return pointwise_blocks.mlp(x, p)
    result: Tensor = MlpFunction.apply(x, *p)
    return result


def layer(y: Tensor, v: Tensor, skip: Tensor, gate: Tensor, act: Act, p: Mlp) -> Tensor:
    """Apply all of a Fourier layer that follows its convolution.

    Args:
        y: convolution of v, (point, channel).
        v: input of the layer, (point, channel).
        skip: W, (channel, channel).
        gate: g, (channel,).
        act: where σ is applied; elsewhere it is the identity.
        p: parameters of the MLP.
    """
    if not _blockwise(y, v, skip, gate, *p):
        return plain_rest(torch.addmm(y, v, skip.T), v, gate, act, p)
    if not torch.is_grad_enabled():
        return pointwise_blocks.layer(y, v, skip, gate, act, p)
    result: Tensor = LayerFunction.apply(y, v, skip, gate, act, *p)[0]
    return result


def _blockwise(*tensors: Tensor) -> bool:
    """Whether these are plain tensors of one type on a CPU, and nobody traces."""
    if (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch.is_autocast_enabled("cpu")
        or torch._C._are_functorch_transforms_active()
        or any(type(t) not in (Tensor, nn.Parameter) for t in tensors)
    ):
        return False
    kinds = {(t.device.type, t.dtype) for t in tensors}
    return kinds in ({("cpu", torch.float32)}, {("cpu", torch.float64)})
