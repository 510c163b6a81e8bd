"""The spectral convolution as a function of a field and its mode-major weight."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from opkit.errors import OpkitInputError
from opkit.kernels.spectral_conv import reference
from opkit.kernels.spectral_conv.cpu import is_channels_last
from opkit.kernels.spectral_conv.dispatch import COMPATS, choose_backend
from opkit.kernels.spectral_conv.modes import available, scales

PRECISIONS = ("fp32", "tf32", "bf16")


def spectral_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    out_shape: Sequence[int] | None = None,
    norm: str = "forward",
    compat: str | None = None,
    precision: str = "fp32",
    recompute: bool = False,
    backend: str | None = None,
) -> Tensor:
    """Truncated Fourier transform, per-mode mixing of channels, transform back.

    y_n = Σ_k c_k Re(exp(2πi k·n/N) Σ_i W_k,i,o x̂_k,i), with x̂ the discrete Fourier
    transform of x, k over the kept modes and c_k = 2 where mode -k is implied.

    Args:
        x: field (batch, in_channel, *space), 1 to 3 space axes, any number of points.
        weight: real tensor (*modes, in_channel, 2, out_channel), real and imaginary
            parts along the axis of length 2; (*modes, channel, 2) for a separable
            convolution. Modes are ordered as in `modes.wavenumbers`; the last axis is
            that of the real transform.
        bias: one number per output channel, added to the result.
        out_shape: grid of the result; that of ``x`` where None.
        norm: normalisation of torch.fft: ``forward``, ``ortho`` or ``backward``.
        compat: ``"neuralop-2.0"`` reproduces neuraloperator 2.0.0 where it misplaces
            modes: odd sizes, and changes of size in more than one dimension.
        precision: of products on tensor cores: ``fp32`` (error of fp32 arithmetic),
            ``tf32``, or ``bf16`` (bf16 field in and out, fp32 sums).
        recompute: keep ``x`` for the backward pass and transform it again there, not
            its spectrum; saves memory where ``x`` is kept anyway, as by a skip
            connection. The reference and separable weights take no notice.
        backend: ``reference``, ``cpu`` or ``triton``; chosen for the device where None.

    Returns:
        The field (batch, out_channel, *out_shape), of the floating type of ``x``;
        float32 inside torch.autocast unless the precision is bf16.

    Raises:
        OpkitInputError: shapes, types or options that do not fit together.

    Source:
        Z. Li et al., Fourier neural operator for parametric partial differential
        equations, ICLR 2021, arXiv:2010.08895.
    """
    grid = list(x.shape[2:])
    target = grid if out_shape is None else [int(size) for size in out_shape]
    _check(x, weight, target, compat, precision)
    modes = list(weight.shape[: len(grid)])
    dtype = x.dtype
    work = torch.float64 if dtype == torch.float64 else torch.float32
    if backend is None and torch._C._are_functorch_transforms_active():
        backend = "reference"  # vmap and jvp need plain torch operations
    choice = choose_backend(x.device, work, modes, grid, target, compat, backend)
    if precision == "bf16" and work == torch.float32:
        x, result = x.bfloat16(), torch.bfloat16
    else:
        autocast = torch.is_autocast_enabled(x.device.type)
        x, result = x.to(work), work if autocast else dtype
        precision = "fp32" if work == torch.float64 else precision
    weight = weight.to(work)
    if choice.name == "reference":
        y = reference.spectral_conv(x.to(work), weight, target, norm, compat)
        if bias is not None:
            y = y + bias.to(work).view(-1, *(1,) * len(grid))
        return y.to(result)
    from opkit.kernels.spectral_conv import ops

    how = (precision, choice.name)
    forward, inverse = scales(norm, grid, target)
    flat = weight.flatten(0, len(grid) - 1)
    if recompute and weight.ndim == len(grid) + 3:
        spectrum = ops.analysis_mix(x, flat, modes, forward, *how)
    elif weight.ndim == len(grid) + 3:
        spectrum = ops.mix(ops.analysis(x, modes, forward, False, *how), flat, *how)
    else:
        spectrum = ops.analysis(x, modes, forward, False, *how)
        spectrum = _scale_channels(spectrum, flat.unsqueeze(1))
    if bias is not None:  # a constant is the mode zero, mode 0 in storage order
        spectrum[0, 0] += bias.to(work).flatten() / inverse
    last = is_channels_last(x)
    y = ops.synthesis(spectrum, modes, target, inverse, True, last, *how)
    y = y.movedim(-1, 1) if last else y
    return y.to(result)


def _scale_channels(spectrum: Tensor, weight: Tensor) -> Tensor:
    real, imaginary = spectrum.unbind(1)
    a, b = weight.unbind(-1)
    return torch.stack([real * a - imaginary * b, real * b + imaginary * a], dim=1)


def _check(
    x: Tensor, weight: Tensor, target: list[int], compat: str | None, precision: str
) -> None:
    if not x.is_floating_point():
        raise OpkitInputError(
            f"spectral_conv takes real floating-point fields, got {x.dtype}: "
            "convert with .float(), or pass real and imaginary parts as channels"
        )
    if weight.is_complex():
        raise OpkitInputError(
            "spectral_conv takes its weight as a real tensor (*modes, in, 2, out): "
            "convert a complex one with "
            "opkit.operators.layers.spectral_conv.from_complex"
        )
    if compat not in COMPATS:
        raise OpkitInputError(f"compat {compat!r} is unknown: use one of {COMPATS}")
    if precision not in PRECISIONS:
        raise OpkitInputError(
            f"precision {precision!r} is unknown: use one of {PRECISIONS}"
        )
    dims = x.ndim - 2
    if not 1 <= dims <= 3:
        raise OpkitInputError(
            f"spectral_conv takes (batch, channel, *space) with 1 to 3 space axes, got "
            f"a tensor of shape {tuple(x.shape)}"
        )
    if weight.ndim not in (dims + 2, dims + 3):
        raise OpkitInputError(
            f"weight of shape {tuple(weight.shape)} does not fit a field with {dims} "
            "space axes: expected (*modes, in, 2, out), or (*modes, channel, 2)"
        )
    if weight.shape[dims + 1] != 2:
        raise OpkitInputError(
            f"weight of shape {tuple(weight.shape)} needs real and imaginary parts "
            f"along axis {dims + 1}, of length 2: (*modes, in, 2, out) or "
            "(*modes, channel, 2)"
        )
    if weight.shape[dims] != x.shape[1]:
        raise OpkitInputError(
            f"the field has {x.shape[1]} channels but the weight takes "
            f"{weight.shape[dims]}: shapes {tuple(x.shape)} and {tuple(weight.shape)}"
        )
    if len(target) != dims or min(target) < 1 or min(x.shape[2:]) < 1:
        raise OpkitInputError(
            f"cannot go from the grid {tuple(x.shape[2:])} to {tuple(target)}: "
            "both need the same number of axes with at least one point each"
        )
    holds = available(x.shape[2:])
    if compat is None:
        holds = [*map(min, holds, available(target))]
    if any(
        mode > most
        for mode, most in zip(weight.shape[: len(holds)], holds, strict=True)
    ):
        raise OpkitInputError(
            f"{tuple(weight.shape[:dims])} modes do not fit the grids "
            f"{tuple(x.shape[2:])} and {tuple(target)}, which hold {tuple(holds)}: "
            "keep fewer modes or use a finer grid"
        )
