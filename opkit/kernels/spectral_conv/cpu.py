"""The truncated transforms and the mixing as real matrix products.

A field is (batch, channel, *space); a spectrum is (mode, 2, batch, channel) with the
real and the imaginary plane, modes in the order of `modes.wavenumbers`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from opkit.kernels.spectral_conv.matrices import full_axis, real_axis
from opkit.kernels.spectral_conv.modes import highest, split


def analysis(x: Tensor, modes: Sequence[int], scale: float, doubled: bool) -> Tensor:
    """Z_k = w_k Σ_n x_n exp(-2πi k·n/N) on the kept modes."""
    batch, channels, *grid = x.shape
    like = (x.dtype, x.device)
    rows = real_axis(modes[-1], grid[-1], scale, doubled, *like)
    planes = rows @ x.reshape(-1, grid[-1]).T
    for count, num_points in zip(modes[-2::-1], grid[-2::-1], strict=True):
        matrix = full_axis(count, num_points, *like)
        planes = matrix @ planes.view(-1, num_points).T
    sizes = [2 * highest(count) + 1 for count in modes[:-1]]
    planes = planes.view(*sizes, modes[-1], 2, batch * channels)
    for axis, count in enumerate(modes[:-1]):
        planes = _to_signed(planes, axis, count)
    return planes.reshape(math.prod(modes), 2, batch, channels)


def synthesis(
    spectrum: Tensor,
    modes: Sequence[int],
    grid: Sequence[int],
    scale: float,
    doubled: bool,
) -> Tensor:
    """y_n = Σ_k w_k Re(U_k exp(2πi k·n/N)), the adjoint of `analysis`."""
    _, _, batch, channels = spectrum.shape
    like = (spectrum.dtype, spectrum.device)
    planes = spectrum.reshape(*modes, 2, batch * channels)
    for axis, count in enumerate(modes[:-1]):
        planes = _from_signed(planes, axis, count)
    for count, num_points in zip(modes[:-1], grid[:-1], strict=True):
        matrix = full_axis(count, num_points, *like)
        planes = planes.reshape(len(matrix), -1).T @ matrix
    rows = real_axis(modes[-1], grid[-1], scale, doubled, *like)
    field = planes.reshape(len(rows), -1).T @ rows
    return field.view(batch, channels, *grid)


def _to_signed(planes: Tensor, axis: int, count: int) -> Tensor:
    """Turn the cosine and sine sums of an axis into its modes +m and -m."""
    positive, negative = split(count)
    high = highest(count)
    out = planes.new_empty(*planes.shape[:axis], count, *planes.shape[axis + 1 :])
    cosine, sine = planes.narrow(axis, 0, high + 1), planes.narrow(axis, high + 1, high)
    out.select(axis, 0).copy_(cosine.select(axis, 0))
    for first, length, sign in ((1, positive - 1, 1), (positive, negative, -1)):
        even, odd = cosine.narrow(axis, 1, length), sine.narrow(axis, 0, length)
        block = out.narrow(axis, first, length)
        # (a + ib)(cos - i sin) for +m; the sine changes sign for -m
        torch.add(even[..., 0, :], odd[..., 1, :], alpha=sign, out=block[..., 0, :])
        torch.sub(even[..., 1, :], odd[..., 0, :], alpha=sign, out=block[..., 1, :])
    return out


def _from_signed(planes: Tensor, axis: int, count: int) -> Tensor:
    """Apply the adjoint of `_to_signed`."""
    positive, negative = split(count)
    high = highest(count)
    shape = (*planes.shape[:axis], 2 * high + 1, *planes.shape[axis + 1 :])
    out = planes.new_empty(shape)
    out.select(axis, 0).copy_(planes.select(axis, 0))
    both = min(positive - 1, negative)
    plus, minus = planes.narrow(axis, 1, both), planes.narrow(axis, positive, both)
    even, odd = out.narrow(axis, 1, both), out.narrow(axis, high + 1, both)
    torch.add(plus, minus, out=even)
    torch.sub(minus[..., 1, :], plus[..., 1, :], out=odd[..., 0, :])
    torch.sub(plus[..., 0, :], minus[..., 0, :], out=odd[..., 1, :])
    if negative > both:  # even count: the mode -Q has no partner
        last = planes.select(axis, positive + both)
        out.select(axis, high).copy_(last)
        odd = out.select(axis, 2 * high)
        odd[..., 0, :] = last[..., 1, :]
        torch.neg(last[..., 0, :], out=odd[..., 1, :])
    return out


def mix(spectrum: Tensor, weight: Tensor) -> Tensor:
    """Y_k = Z_k W_k, with weight (mode, in_channel, 2, out_channel)."""
    modes, _, batch, channels = spectrum.shape
    product = torch.bmm(spectrum.reshape(modes, 2 * batch, channels), weight.flatten(2))
    product = product.view(modes, 2, batch, 2, -1)
    out = product.new_empty(modes, 2, batch, product.shape[-1])
    torch.sub(product[:, 0, :, 0], product[:, 1, :, 1], out=out[:, 0])
    torch.add(product[:, 0, :, 1], product[:, 1, :, 0], out=out[:, 1])
    return out


def mix_input(grad: Tensor, weight: Tensor) -> Tensor:
    """Z̄_k = Ȳ_k W_kᴴ, the adjoint of `mix` in the spectrum."""
    modes, _, batch, _ = grad.shape
    channels = weight.shape[1]
    spread = _spread(grad)
    out = torch.bmm(spread, weight.flatten(2).transpose(1, 2))
    return out.view(modes, 2, batch, channels)


def mix_weight(spectrum: Tensor, grad: Tensor) -> Tensor:
    """W̄_k = Z_kᴴ Ȳ_k, the adjoint of `mix` in the weight."""
    modes, _, batch, channels = spectrum.shape
    flat = spectrum.reshape(modes, 2 * batch, channels)
    out = torch.bmm(flat.transpose(1, 2), _spread(grad))
    return out.view(modes, channels, 2, -1)


def _spread(grad: Tensor) -> Tensor:
    modes, _, batch, channels = grad.shape
    out = grad.new_empty(modes, 2, batch, 2, channels)
    out[:, 0, :, 0] = grad[:, 0]
    torch.neg(grad[:, 0], out=out[:, 1, :, 1])
    out[:, 0, :, 1] = grad[:, 1]
    out[:, 1, :, 0] = grad[:, 1]
    return out.view(modes, 2 * batch, 2 * channels)
