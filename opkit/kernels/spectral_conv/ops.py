"""The truncated transforms and the mixing as differentiable primitives.

Two families, each closed under differentiation, so that gradients of any order exist:
`analysis` and `synthesis` are each other's adjoint; `mix`, `mix_input` and `mix_weight`
are the three contractions of one trilinear form. All hold real tensors only.
`analysis_mix` is mix ∘ analysis that keeps the field, and not its spectrum, for the
gradient of the weight.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from opkit.kernels.primitive import Primitive
from opkit.kernels.spectral_conv import cpu


def _kernels(backend: str) -> Any:
    if backend == "cpu":
        return cpu
    from opkit.kernels.spectral_conv import launch

    return launch


def _analysis(
    x: Tensor,
    modes: list[int],
    scale: float,
    doubled: bool,
    precision: str,
    backend: str,
) -> Tensor:
    spectrum: Tensor = _kernels(backend).analysis(x, modes, scale, doubled, precision)
    return spectrum


def _analysis_fake(
    x: Tensor,
    modes: list[int],
    scale: float,
    doubled: bool,
    precision: str,
    backend: str,
) -> Tensor:
    work = torch.float64 if x.dtype == torch.float64 else torch.float32
    return x.new_empty(math.prod(modes), 2, x.shape[0], x.shape[1], dtype=work)


def _analysis_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, *ctx.arguments = inputs
    ctx.grid = list(x.shape[2:])
    ctx.last = cpu.is_channels_last(x)


def _analysis_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    modes, scale, doubled, precision, backend = ctx.arguments
    back = synthesis(
        grad, modes, ctx.grid, scale, doubled, ctx.last, precision, backend
    )
    back = back.movedim(-1, 1) if ctx.last else back
    return back, None, None, None, None, None


def _synthesis(
    spectrum: Tensor,
    modes: list[int],
    grid: list[int],
    scale: float,
    doubled: bool,
    last: bool,
    precision: str,
    backend: str,
) -> Tensor:
    field: Tensor = _kernels(backend).synthesis(
        spectrum, modes, grid, scale, doubled, last, precision
    )
    return field


def _synthesis_fake(
    spectrum: Tensor,
    modes: list[int],
    grid: list[int],
    scale: float,
    doubled: bool,
    last: bool,
    precision: str,
    backend: str,
) -> Tensor:
    batch, channels = spectrum.shape[2:]
    dtype = torch.bfloat16 if precision == "bf16" else spectrum.dtype
    if last:
        return spectrum.new_empty(batch, *grid, channels, dtype=dtype)
    return spectrum.new_empty(batch, channels, *grid, dtype=dtype)


def _synthesis_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    _, ctx.modes, _, ctx.scale, ctx.doubled, ctx.last, *ctx.how = inputs


def _synthesis_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    grad = grad.movedim(-1, 1) if ctx.last else grad
    back = analysis(grad, ctx.modes, ctx.scale, ctx.doubled, *ctx.how)
    return back, None, None, None, None, None, None, None


def _mix(spectrum: Tensor, weight: Tensor, precision: str, backend: str) -> Tensor:
    mixed: Tensor = _kernels(backend).mix(spectrum, weight, precision)
    return mixed


def _mix_fake(spectrum: Tensor, weight: Tensor, precision: str, backend: str) -> Tensor:
    return spectrum.new_empty(*spectrum.shape[:3], weight.shape[3])


def _mix_input(grad: Tensor, weight: Tensor, precision: str, backend: str) -> Tensor:
    back: Tensor = _kernels(backend).mix_input(grad, weight, precision)
    return back


def _mix_input_fake(
    grad: Tensor, weight: Tensor, precision: str, backend: str
) -> Tensor:
    return grad.new_empty(*grad.shape[:3], weight.shape[1])


def _mix_weight(spectrum: Tensor, grad: Tensor, precision: str, backend: str) -> Tensor:
    back: Tensor = _kernels(backend).mix_weight(spectrum, grad, precision)
    return back


def _mix_weight_fake(
    spectrum: Tensor, grad: Tensor, precision: str, backend: str
) -> Tensor:
    return grad.new_empty(spectrum.shape[0], spectrum.shape[3], 2, grad.shape[3])


def _save_both(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.how = inputs[2:]


# Of the trilinear form Re Σ conj(Ȳ) Z W each contraction's gradients are the other two.
def _mix_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    spectrum, weight = ctx.saved_tensors
    needs = ctx.needs_input_grad
    return (
        mix_input(grad, weight, *ctx.how) if needs[0] else None,
        mix_weight(spectrum, grad, *ctx.how) if needs[1] else None,
        None,
        None,
    )


def _mix_input_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    outer, weight = ctx.saved_tensors
    needs = ctx.needs_input_grad
    return (
        mix(grad, weight, *ctx.how) if needs[0] else None,
        mix_weight(grad, outer, *ctx.how) if needs[1] else None,
        None,
        None,
    )


def _mix_weight_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    spectrum, outer = ctx.saved_tensors
    needs = ctx.needs_input_grad
    return (
        mix_input(outer, grad, *ctx.how) if needs[0] else None,
        mix(spectrum, grad, *ctx.how) if needs[1] else None,
        None,
        None,
    )


def _analysis_mix(
    x: Tensor,
    weight: Tensor,
    modes: list[int],
    scale: float,
    precision: str,
    backend: str,
) -> Tensor:
    kernels = _kernels(backend)
    spectrum = kernels.analysis(x, modes, scale, False, precision)
    mixed: Tensor = kernels.mix(spectrum, weight, precision)
    return mixed


def _analysis_mix_fake(
    x: Tensor,
    weight: Tensor,
    modes: list[int],
    scale: float,
    precision: str,
    backend: str,
) -> Tensor:
    spectrum = _analysis_fake(x, modes, scale, False, precision, backend)
    return _mix_fake(spectrum, weight, precision, backend)


def _analysis_mix_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, weight, ctx.modes, ctx.scale, *ctx.how = inputs
    ctx.save_for_backward(x, weight)


def _analysis_mix_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    x, weight = ctx.saved_tensors
    modes, scale, last = ctx.modes, ctx.scale, cpu.is_channels_last(x)
    for_x = for_weight = None
    if ctx.needs_input_grad[0]:
        inner = mix_input(grad, weight, *ctx.how)
        grid = list(x.shape[2:])
        for_x = synthesis(inner, modes, grid, scale, False, last, *ctx.how)
        for_x = for_x.movedim(-1, 1) if last else for_x
    if ctx.needs_input_grad[1]:
        spectrum = analysis(x, modes, scale, False, *ctx.how)
        for_weight = mix_weight(spectrum, grad, *ctx.how)
    return for_x, for_weight, None, None, None, None


analysis = Primitive(
    "spectral_analysis", _analysis, _analysis_fake, _analysis_setup, _analysis_backward
)
synthesis = Primitive(
    "spectral_synthesis",
    _synthesis,
    _synthesis_fake,
    _synthesis_setup,
    _synthesis_backward,
)
mix = Primitive("spectral_mix", _mix, _mix_fake, _save_both, _mix_backward)
mix_input = Primitive(
    "spectral_mix_input", _mix_input, _mix_input_fake, _save_both, _mix_input_backward
)
mix_weight = Primitive(
    "spectral_mix_weight",
    _mix_weight,
    _mix_weight_fake,
    _save_both,
    _mix_weight_backward,
)
analysis_mix = Primitive(
    "spectral_analysis_mix",
    _analysis_mix,
    _analysis_mix_fake,
    _analysis_mix_setup,
    _analysis_mix_backward,
)
