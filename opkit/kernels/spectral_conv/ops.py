"""The truncated transforms and the mixing as PyTorch operators.

Three families, each closed under differentiation, so that gradients of any order exist:
analysis and synthesis are each other's adjoint; `mix`, `mix_input` and `mix_weight` are
the three contractions of one trilinear form. They are opaque to torch.compile and
torch.export, and hold real tensors only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from opkit.kernels.spectral_conv import cpu


def _disabled_autocast() -> torch.autocast:
    return torch.autocast("cpu", enabled=False)


@torch.library.custom_op("opkit::spectral_analysis", mutates_args=())
def analysis(
    x: Tensor, modes: list[int], scale: float, doubled: bool, precision: str
) -> Tensor:
    """Field (batch, channel, *space) to spectrum (mode, 2, batch, channel)."""
    with _disabled_autocast():
        return cpu.analysis(x, modes, scale, doubled)


@torch.library.custom_op("opkit::spectral_synthesis", mutates_args=())
def synthesis(
    spectrum: Tensor,
    modes: list[int],
    shape: list[int],
    scale: float,
    doubled: bool,
    precision: str,
) -> Tensor:
    """Spectrum (mode, 2, batch, channel) to field (batch, channel, *shape)."""
    with _disabled_autocast():
        return cpu.synthesis(spectrum, modes, shape, scale, doubled)


@torch.library.custom_op("opkit::spectral_mix", mutates_args=())
def mix(spectrum: Tensor, weight: Tensor, precision: str) -> Tensor:
    """Y_k = Z_k W_k with weight (mode, in_channel, 2, out_channel)."""
    with _disabled_autocast():
        return cpu.mix(spectrum, weight)


@torch.library.custom_op("opkit::spectral_mix_input", mutates_args=())
def mix_input(grad: Tensor, weight: Tensor, precision: str) -> Tensor:
    """Z̄_k = Ȳ_k W_kᴴ."""
    with _disabled_autocast():
        return cpu.mix_input(grad, weight)


@torch.library.custom_op("opkit::spectral_mix_weight", mutates_args=())
def mix_weight(spectrum: Tensor, grad: Tensor, precision: str) -> Tensor:
    """W̄_k = Z_kᴴ Ȳ_k."""
    with _disabled_autocast():
        return cpu.mix_weight(spectrum, grad)


def _count(modes: list[int]) -> int:
    total = 1
    for mode in modes:
        total *= mode
    return total


@analysis.register_fake
def _(
    x: Tensor, modes: list[int], scale: float, doubled: bool, precision: str
) -> Tensor:
    return x.new_empty(_count(modes), 2, x.shape[0], x.shape[1])


@synthesis.register_fake
def _(
    spectrum: Tensor,
    modes: list[int],
    shape: list[int],
    scale: float,
    doubled: bool,
    precision: str,
) -> Tensor:
    return spectrum.new_empty(spectrum.shape[2], spectrum.shape[3], *shape)


@mix.register_fake
def _(spectrum: Tensor, weight: Tensor, precision: str) -> Tensor:
    return spectrum.new_empty(*spectrum.shape[:3], weight.shape[3])


@mix_input.register_fake
def _(grad: Tensor, weight: Tensor, precision: str) -> Tensor:
    return grad.new_empty(*grad.shape[:3], weight.shape[1])


@mix_weight.register_fake
def _(spectrum: Tensor, grad: Tensor, precision: str) -> Tensor:
    return grad.new_empty(spectrum.shape[0], spectrum.shape[3], 2, grad.shape[3])


def _keep_arguments(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.shape = list(inputs[0].shape[2:])
    ctx.arguments = inputs[1:]


def _analysis_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    modes, scale, doubled, precision = ctx.arguments
    back = synthesis(grad, modes, ctx.shape, scale, doubled, precision)
    return back, None, None, None, None


def _synthesis_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    modes, _, scale, doubled, precision = ctx.arguments
    back = analysis(grad, modes, scale, doubled, precision)
    return back, None, None, None, None, None


analysis.register_autograd(_analysis_backward, setup_context=_keep_arguments)
synthesis.register_autograd(_synthesis_backward, setup_context=_keep_arguments)


def _save_both(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    first, second, ctx.precision = inputs
    ctx.save_for_backward(first, second)


# With <Y, Z W> = <Ȳ, Y> the adjoint of each contraction is the other two.
def _mix_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    spectrum, weight = ctx.saved_tensors
    needs = ctx.needs_input_grad
    return (
        mix_input(grad, weight, ctx.precision) if needs[0] else None,
        mix_weight(spectrum, grad, ctx.precision) if needs[1] else None,
        None,
    )


def _mix_input_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    outer, weight = ctx.saved_tensors
    needs = ctx.needs_input_grad
    return (
        mix(grad, weight, ctx.precision) if needs[0] else None,
        mix_weight(grad, outer, ctx.precision) if needs[1] else None,
        None,
    )


def _mix_weight_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    spectrum, outer = ctx.saved_tensors
    needs = ctx.needs_input_grad
    return (
        mix_input(outer, grad, ctx.precision) if needs[0] else None,
        mix(spectrum, grad, ctx.precision) if needs[1] else None,
        None,
    )


mix.register_autograd(_mix_backward, setup_context=_save_both)
mix_input.register_autograd(_mix_input_backward, setup_context=_save_both)
mix_weight.register_autograd(_mix_weight_backward, setup_context=_save_both)
