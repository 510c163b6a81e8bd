"""Launches of the kernels that mix channels mode by mode."""

from __future__ import annotations

from torch import Tensor

from opkit.kernels.spectral_conv import launching, triton_mix


def _contract(
    z: Tensor, weight: Tensor, outputs: int, strides: tuple[int, int], sign: int,
    precision: str,
) -> Tensor:  # fmt: skip
    modes, _, batch, inputs = z.shape
    z, weight = z.contiguous(), weight.contiguous()
    y = z.new_empty(modes, 2, batch, outputs)
    if y.numel():
        b, o = 16, launching.block(outputs, 32)
        launching.run(
            triton_mix.contract,
            (modes, -(-batch // b), -(-outputs // o)),
            z, weight, y, batch, inputs, outputs, weight.stride(0), *strides,
            weight.stride(2),
            BB=b, BI=16, BO=o, SIGN=sign,
            PRECISION=launching.products(precision), num_warps=4, num_stages=2,
        )  # fmt: skip
    return y


def mix(spectrum: Tensor, weight: Tensor, precision: str) -> Tensor:
    """Y_k = Z_k W_k; see `cpu.mix`."""
    outputs = weight.shape[3]
    return _contract(spectrum, weight, outputs, (2 * outputs, 1), 1, precision)


def mix_input(grad: Tensor, weight: Tensor, precision: str) -> Tensor:
    """Z̄_k = Ȳ_k W_kᴴ; see `cpu.mix_input`."""
    strides = (1, 2 * weight.shape[3])
    return _contract(grad, weight, weight.shape[1], strides, -1, precision)


def mix_weight(spectrum: Tensor, grad: Tensor, precision: str) -> Tensor:
    """W̄_k = Z_kᴴ Ȳ_k; see `cpu.mix_weight`."""
    modes, _, batch, inputs = spectrum.shape
    outputs = grad.shape[3]
    weight = grad.new_empty(modes, inputs, 2, outputs)
    i, o = 16, launching.block(outputs, 32)
    launching.run(
        triton_mix.contract_batch,
        (modes, -(-inputs // i), -(-outputs // o)),
        spectrum.contiguous(), grad.contiguous(), weight, batch, inputs, outputs,
        BB=16, BI=i, BO=o, PRECISION=launching.products(precision),
        num_warps=4, num_stages=2,
    )  # fmt: skip
    return weight
