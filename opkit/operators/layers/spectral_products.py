"""The spectral convolution as constant matrices, for programs without FFT.

    Z = A_1 (… (A_d x)),    Y_k = Z_k W_k,    y = S_d (… (S_1 Y)) + b

A_j and S_j are the truncated Fourier transform and its inverse along axis j, as real
matrices that act on (real, imaginary) pairs. On a given grid this is `SpectralConv`, up
to rounding, in nothing but real matrix products, sums and changes of shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from opkit.errors import OpkitInputError
from opkit.kernels.spectral_conv.matrices import real_axis
from opkit.kernels.spectral_conv.modes import scales, wavenumbers
from opkit.operators.layers.spectral_conv import SpectralConv


class SpectralProducts(nn.Module):
    """A `SpectralConv` on one grid as real matrix products.

    Args:
        conv: the layer.
        grid: points of the input along each axis.
        target: points of the result along each axis.

    Raises:
        OpkitInputError: a layer that reproduces neuraloperator's displaced modes.
    """

    weight: Tensor

    def __init__(
        self, conv: SpectralConv, grid: Sequence[int], target: Sequence[int]
    ) -> None:
        super().__init__()
        if conv.compat is not None:
            raise OpkitInputError(
                f"a convolution with compat={conv.compat} has no form as matrix "
                "products here: build it with compat=None"
            )
        weight = conv._cropped(grid, target).detach()
        self.grid, self.target = tuple(grid), tuple(target)
        self.modes = tuple(weight.shape[: conv.order])
        forward, inverse = scales(conv.fft_norm, grid, target)
        device = torch.device("cpu")
        for axis, (count, n, m) in enumerate(
            zip(self.modes, self.grid, self.target, strict=True)
        ):
            if axis == conv.order - 1:  # real: cos and -sin, mode by mode
                rows = real_axis(count, n, forward, False, torch.float64, device)
                analysis = torch.cat([rows[0::2], rows[1::2]])
                rows = real_axis(count, m, inverse, True, torch.float64, device)
                synthesis = torch.cat([rows[0::2], rows[1::2]]).T
            else:
                analysis = _pairs(count, n)
                synthesis = _pairs(count, m).T
            self.register_buffer(f"analysis{axis}", analysis.to(weight).contiguous())
            self.register_buffer(f"synthesis{axis}", synthesis.to(weight).contiguous())
        flat = weight.flatten(0, conv.order - 1)
        self.register_buffer("weight", flat.contiguous().clone())
        self.bias = None if conv.bias is None else nn.Buffer(conv.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channel, *grid) to (batch, out_channel, *target)."""
        order, batch = len(self.modes), x.shape[0]
        x = x.movedim(1, -1)
        channels = x.shape[-1]
        # from the last axis to the first, in rows as wide as possible; after each
        # product a pair axis (re, im) stands before the modes done
        for axis in reversed(range(order)):
            columns = self.grid[axis] * (1 if axis == order - 1 else 2)
            x = x.reshape(
                batch * math.prod(self.grid[:axis]),
                columns,
                math.prod(self.modes[axis + 1 :]) * channels,
            )
            x = torch.matmul(self.get_buffer(f"analysis{axis}"), x)
        x = self._mixed(x.reshape(batch, 2, math.prod(self.modes), channels))
        channels = x.shape[-1]
        for axis in range(order):
            x = x.reshape(
                batch * math.prod(self.target[:axis]),
                2 * self.modes[axis],
                math.prod(self.modes[axis + 1 :]) * channels,
            )
            x = torch.matmul(self.get_buffer(f"synthesis{axis}"), x)
        x = x.reshape(batch, *self.target, channels)
        if self.bias is not None:
            x = x + self.bias.flatten()
        return x.movedim(-1, 1)

    def _mixed(self, z: Tensor) -> Tensor:
        """(batch, 2, mode, in_channel) to (batch, 2, mode, out_channel)."""
        if self.weight.ndim == 3:  # separable: one complex number a mode and channel
            re, im = z.unbind(1)
            a, b = self.weight.unbind(-1)
            return torch.stack([re * a - im * b, re * b + im * a], 1)
        modes, channels = z.shape[2:]
        rows = z.permute(2, 1, 0, 3).reshape(modes, -1, channels)
        product = torch.bmm(rows, self.weight.flatten(2))
        parts = product.reshape(modes, 2, -1, 2, self.weight.shape[3])
        re_a, re_b = parts.select(1, 0).unbind(2)
        im_a, im_b = parts.select(1, 1).unbind(2)
        return torch.stack([re_a - im_b, re_b + im_a]).permute(2, 0, 1, 3)


def _pairs(count: int, n: int) -> Tensor:
    """exp(-2πi k·n/N) as a real matrix: rows (re or im, k), columns (n, re or im).

    Its transpose is the adjoint, exp(2πi k·n/N).
    """
    turn = torch.outer(torch.tensor(wavenumbers(count)), torch.arange(n)) % n
    angle = turn.double() * (2 * torch.pi / n)  # below 2π: precise for any N
    cos, sin = angle.cos(), angle.sin()
    sin[(2 * turn) % n == 0] = 0.0
    # (cos - i sin)(re + i im) = (cos re + sin im) + i (cos im - sin re)
    re, im = torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)
    return torch.cat([re.flatten(1), im.flatten(1)])
