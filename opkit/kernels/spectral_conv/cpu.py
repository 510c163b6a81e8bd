"""The truncated transforms and the mixing as real matrix products.

A field is (batch, channel, *space); a spectrum is (mode, 2, batch, channel) with the
real and the imaginary plane, modes in the order of `modes.wavenumbers`. The axes are
transformed from first to last, so that every product but the last reads the field as it
lies in memory, in wide rows; the ones that follow work on what little is left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from opkit.kernels.buffers import empty
from opkit.kernels.spectral_conv.matrices import full_axis, real_axis
from opkit.kernels.spectral_conv.modes import highest, split


def is_channels_last(x: Tensor) -> bool:
    """Whether the channels of a field lie next to each other in memory."""
    return not x.is_contiguous() and x.movedim(1, -1).is_contiguous()


def analysis(
    x: Tensor, modes: Sequence[int], scale: float, doubled: bool, precision: str
) -> Tensor:
    """Z_k = w_k Σ_n x_n exp(-2πi k·n/N) on the kept modes."""
    batch, channels, *grid = x.shape
    x = x.float() if x.dtype == torch.bfloat16 else x
    like = (x.dtype, x.device)
    last = is_channels_last(x)
    outer, inner = (batch, channels) if last else (batch * channels, 1)
    part = x.movedim(1, -1) if last else x.contiguous()
    sizes: list[int] = []
    for axis, count in enumerate(modes[:-1]):
        matrix = full_axis(count, grid[axis], *like)
        blocks = outer * math.prod(sizes)
        rest = math.prod(grid[axis + 1 :]) * inner
        part = _apply(matrix, part.view(blocks, grid[axis], rest))
        sizes.append(len(matrix))
    rows = real_axis(modes[-1], grid[-1], scale, doubled, *like)
    if last:
        planes = _apply(rows, part.view(batch * math.prod(sizes), grid[-1], channels))
        planes = planes.view(batch, *sizes, modes[-1], 2, channels).movedim(0, -2)
    else:
        part = part.view(outer, math.prod(sizes), grid[-1]).transpose(0, 1)
        planes = rows @ part.reshape(-1, grid[-1]).T
        planes = planes.view(modes[-1], 2, *sizes, batch, channels)
        planes = planes.movedim((0, 1), (-4, -3))
    for axis, count in enumerate(modes[:-1]):
        planes = _to_signed(planes, axis, count)
    return planes.reshape(math.prod(modes), 2, batch, channels)


def synthesis(
    spectrum: Tensor,
    modes: Sequence[int],
    grid: Sequence[int],
    scale: float,
    doubled: bool,
    last: bool,
    precision: str,
) -> Tensor:
    """y_n = Σ_k w_k Re(U_k exp(2πi k·n/N)), the adjoint of `analysis`.

    With ``last`` the result is (batch, *space, channel).
    """
    _, _, batch, channels = spectrum.shape
    like = (spectrum.dtype, spectrum.device)
    planes = spectrum.reshape(*modes, 2, batch, channels)
    for axis, count in enumerate(modes[:-1]):
        planes = _from_signed(planes, axis, count)
    sizes = planes.shape[: len(modes) - 1]
    rows = real_axis(modes[-1], grid[-1], scale, doubled, *like)
    outer, inner = (batch, channels) if last else (batch * channels, 1)
    blocks = outer * math.prod(sizes)
    if last:
        planes = planes.movedim(-2, 0).reshape(blocks, len(rows), channels)
        part = _apply(rows.T, planes)
    else:
        planes = planes.view(math.prod(sizes) * len(rows), outer).T
        planes = planes.reshape(blocks, len(rows))
        part = torch.mm(planes, rows, out=empty((blocks, grid[-1]), planes))
    rest = grid[-1] * inner
    for axis in reversed(range(len(sizes))):
        blocks //= sizes[axis]
        matrix = full_axis(modes[axis], grid[axis], *like).T
        part = _apply(matrix, part.view(blocks, sizes[axis], rest))
        rest *= grid[axis]
    part = part.bfloat16() if precision == "bf16" else part
    if last:
        return part.view(batch, *grid, channels)
    return part.view(batch, channels, *grid)


def _apply(matrix: Tensor, blocks: Tensor) -> Tensor:
    out = empty((len(blocks), len(matrix), blocks.shape[2]), blocks)
    return torch.bmm(matrix.expand(len(blocks), *matrix.shape), blocks, out=out)


def _to_signed(planes: Tensor, axis: int, count: int) -> Tensor:
    """Turn the cosine and sine sums of an axis into its modes +m and -m."""
    positive, negative = split(count)
    high = highest(count)
    out = planes.new_empty(*planes.shape[:axis], count, *planes.shape[axis + 1 :])
    cosine, sine = planes.narrow(axis, 0, high + 1), planes.narrow(axis, high + 1, high)
    out.select(axis, 0).copy_(cosine.select(axis, 0))
    for first, length, sign in ((1, positive - 1, 1), (positive, negative, -1)):
        even_re, even_im = cosine.narrow(axis, 1, length).unbind(-3)
        odd_re, odd_im = sine.narrow(axis, 0, length).unbind(-3)
        out_re, out_im = out.narrow(axis, first, length).unbind(-3)
        # (re + i im)(cos - i sin) for +m; the sine changes sign for -m
        torch.add(even_re, odd_im, alpha=sign, out=out_re)
        torch.sub(even_im, odd_re, alpha=sign, out=out_im)
    return out


def _from_signed(planes: Tensor, axis: int, count: int) -> Tensor:
    """Apply the adjoint of `_to_signed`."""
    positive, negative = split(count)
    high = highest(count)
    shape = (*planes.shape[:axis], 2 * high + 1, *planes.shape[axis + 1 :])
    out = planes.new_empty(shape)
    cosine, sine = out.narrow(axis, 0, high + 1), out.narrow(axis, high + 1, high)
    pairs = positive - 1
    plus, minus = planes.narrow(axis, 1, pairs), planes.narrow(axis, positive, pairs)
    cosine.select(axis, 0).copy_(planes.select(axis, 0))
    torch.add(plus, minus, out=cosine.narrow(axis, 1, pairs))
    (plus_re, plus_im), (minus_re, minus_im) = plus.unbind(-3), minus.unbind(-3)
    sine_re, sine_im = sine.narrow(axis, 0, pairs).unbind(-3)
    torch.sub(minus_im, plus_im, out=sine_re)
    torch.sub(plus_re, minus_re, out=sine_im)
    if negative > pairs:  # even count: the mode -Q has no partner
        alone = planes.select(axis, count - 1)
        cosine.select(axis, high).copy_(alone)
        alone_re, alone_im = alone.unbind(-3)
        sine_re, sine_im = sine.select(axis, high - 1).unbind(-3)
        sine_re.copy_(alone_im)
        torch.neg(alone_re, out=sine_im)
    return out


def mix(spectrum: Tensor, weight: Tensor, precision: str) -> Tensor:
    """Y_k = Z_k W_k, with weight (mode, in_channel, 2, out_channel)."""
    modes, _, batch, channels = spectrum.shape
    product = torch.bmm(spectrum.reshape(modes, 2 * batch, channels), weight.flatten(2))
    outputs = weight.shape[3]
    product = product.view(modes, 2, batch, 2, outputs)
    out = product.new_empty(modes, 2, batch, outputs)
    torch.sub(product[:, 0, :, 0], product[:, 1, :, 1], out=out[:, 0])
    torch.add(product[:, 0, :, 1], product[:, 1, :, 0], out=out[:, 1])
    return out


def mix_input(grad: Tensor, weight: Tensor, precision: str) -> Tensor:
    """Z̄_k = Ȳ_k W_kᴴ, the adjoint of `mix` in the spectrum."""
    modes, _, batch, _ = grad.shape
    channels = weight.shape[1]
    spread = _spread(grad)
    out = torch.bmm(spread, weight.flatten(2).transpose(1, 2))
    return out.view(modes, 2, batch, channels)


def mix_weight(spectrum: Tensor, grad: Tensor, precision: str) -> Tensor:
    """W̄_k = Z_kᴴ Ȳ_k, the adjoint of `mix` in the weight."""
    modes, _, batch, channels = spectrum.shape
    flat = spectrum.reshape(modes, 2 * batch, channels)
    out = torch.bmm(flat.transpose(1, 2), _spread(grad))
    return out.view(modes, channels, 2, grad.shape[3])


def _spread(grad: Tensor) -> Tensor:
    modes, _, batch, channels = grad.shape
    out = grad.new_empty(modes, 2, batch, 2, channels)
    out[:, 0, :, 0] = grad[:, 0]
    torch.neg(grad[:, 0], out=out[:, 1, :, 1])
    out[:, 0, :, 1] = grad[:, 1]
    out[:, 1, :, 0] = grad[:, 1]
    return out.view(modes, 2 * batch, 2 * channels)
