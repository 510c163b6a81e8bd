"""The spectral convolution by torch.fft: plain, slow, any float type, any device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from opkit.kernels.spectral_conv.modes import wavenumbers


def spectral_conv(
    x: Tensor,
    weight: Tensor,
    out_shape: Sequence[int],
    norm: str,
    compat: str | None = None,
) -> Tensor:
    """Compute irfftn(W rfftn(x)) on the kept modes, with zeros elsewhere.

    Args:
        x: (batch, in_channel, *space), real.
        weight: (*modes, in_channel, 2, out_channel), or (*modes, channel, 2).
        out_shape: grid of the result.
        norm: normalisation of torch.fft.
        compat: ``"neuralop-2.0"`` for the placement of modes of neuraloperator 2.0.0.
    """
    if not x.shape[0]:  # not every build of torch.fft takes an empty batch
        one = torch.cat([x, x.new_zeros(1, *x.shape[1:])])
        return spectral_conv(one, weight, out_shape, norm, compat)[:0]
    dims = tuple(range(2, x.ndim))
    grid = x.shape[2:]
    modes = weight.shape[: len(grid)]
    rows = [
        torch.tensor(wavenumbers(count), device=x.device) % num_points
        for count, num_points in zip(modes[:-1], grid[:-1], strict=True)
    ]
    rows.append(torch.arange(modes[-1], device=x.device))
    coefficients = torch.fft.rfftn(x, dim=dims, norm=norm)[..., *_mesh(rows)]
    coefficients = coefficients.permute(
        *range(2, x.ndim), 0, 1
    )  # (*modes, batch, in_channel)
    if weight.ndim == len(grid) + 3:
        mixed = coefficients @ torch.complex(weight[..., 0, :], weight[..., 1, :])
    else:
        mixed = coefficients * torch.complex(weight[..., 0], weight[..., 1]).unsqueeze(
            -2
        )

    columns = out_shape[-1] // 2 + 1
    if compat is None:
        full = [*out_shape[:-1], columns]
        placed = [
            torch.tensor(wavenumbers(count), device=x.device) % num_points
            for count, num_points in zip(modes[:-1], out_shape[:-1], strict=True)
        ]
    else:
        # neuraloperator 2.0.0 undoes fftshift by a second fftshift (one wavenumber off
        # where N is odd) and leaves changes of size to the inverse transform.
        full = [*grid[:-1], grid[-1] // 2 + 1]
        placed = [
            (row + 2 * (num_points // 2)) % num_points
            for row, num_points in zip(rows[:-1], grid[:-1], strict=True)
        ]
    spectrum = mixed.new_zeros(x.shape[0], mixed.shape[-1], *full)
    back = mixed.permute(-2, -1, *range(len(grid)))
    spectrum[..., *_mesh([*placed, rows[-1]])] = back
    y: Tensor = torch.fft.irfftn(spectrum, s=tuple(out_shape), dim=dims, norm=norm)
    return y


def _mesh(rows: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.meshgrid(*rows, indexing="ij")
