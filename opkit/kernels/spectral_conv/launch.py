"""Launches of the Triton kernels: device, blocks, grids, strides, buffers.

`analysis` and `synthesis` launch the truncated transforms; `mix`, `mix_input` and
`mix_weight` the products of channels, mode by mode.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from opkit.kernels.spectral_conv import triton as kernels
from opkit.kernels.spectral_conv.matrices import axis_table, row_table
from opkit.kernels.spectral_conv.modes import highest

__all__ = ["analysis", "mix", "mix_input", "mix_weight", "synthesis"]

_POINTS = 32  # block of grid points along an axis
_WIDEST = 32  # most modes along an axis that one program of a fused kernel holds
_PART_BYTES = 2**17  # a program's share of the field, where it is worth splitting
_MOST_PARTS = 4
_ENOUGH_PROGRAMS = 1024


class Layout(NamedTuple):
    """Strides of a spectrum: of its outer index, of one mode, of its two planes."""

    outer: int
    mode: int
    plane: int


@dataclass(frozen=True)
class Transform:
    """A truncated transform of fields with ``fields`` = batch x channels planes."""

    fields: int
    grid: tuple[int, ...]
    modes: tuple[int, ...]
    scale: float
    doubled: bool
    precision: str
    dtype: torch.dtype
    device: torch.device

    @property
    def first(self) -> int:
        """First axis of the stage that touches the field: its last one or two axes."""
        if len(self.grid) == 1:
            return 0
        high = highest(self.modes[-2]) + 1
        fused = max(high, self.modes[-1]) <= _WIDEST
        return len(self.grid) - (2 if fused else 1)

    def outer(self, axis: int) -> int:
        """Return the number of slices in front of an axis."""
        return self.fields * math.prod(self.grid[:axis])

    def layout(self, axis: int) -> Layout:
        """Layout of the spectrum whose axes from ``axis`` on are transformed.

        (mode, 2, outer) where all are, else (2, outer, mode).
        """
        outer, size = self.outer(axis), math.prod(self.modes[axis:])
        return (
            Layout(1, 2 * outer, outer) if axis == 0 else Layout(size, 1, outer * size)
        )

    def buffer(self, axis: int, parts: int = 1) -> Tensor:
        """Return room for the spectrum of `layout`."""
        size = parts * 2 * self.outer(axis) * math.prod(self.modes[axis:])
        return torch.empty(size, dtype=torch.float32, device=self.device)

    def rows(self, transposed: bool) -> tuple[Tensor, dict[str, Any]]:
        """Table and constants of the last axis."""
        mode = block_size(self.modes[-1], 64 if transposed else 32)
        # the fold pays where arithmetic, not memory, is the limit
        fold = self.precision == "fp32" and mode > 16
        table = row_table(
            self.modes[-1], self.grid[-1], self.scale, self.doubled, fold, mode,
            _POINTS, transposed, self.dtype, self.device,
        )  # fmt: skip
        return table, {"BJ": _POINTS, "KP": mode, "FOLD": fold}

    def planes(self, high: int) -> dict[str, int]:
        """Block of lines and warps of a fused kernel, small enough for no spills."""
        if max(high, self.modes[-1]) > 16:
            warps = 8 if self.precision == "fp32" else 4
            return {"BH": 16, "num_warps": warps, "num_stages": 3}
        return {"BH": _POINTS, "num_warps": 4, "num_stages": 3}

    def axis(self, axis: int, most: int, transposed: bool) -> tuple[Tensor, int]:
        """Table of another axis and the block of its wavenumbers."""
        block = block_size(highest(self.modes[axis]) + 1, most)
        count, size = self.modes[axis], self.grid[axis]
        return axis_table(count, size, block, _POINTS, transposed, self.device), block

    @property
    def products(self) -> str:
        """Arithmetic of the tensor cores."""
        return products(self.precision)


def analysis(
    x: Tensor, modes: Sequence[int], scale: float, doubled: bool, precision: str
) -> Tensor:
    """Z_k = w_k Σ_n x_n exp(-2πi k·n/N) on the kept modes; see `cpu.analysis`."""
    batch, channels, *grid = x.shape
    to = Transform(
        batch * channels, tuple(grid), tuple(modes), scale, doubled, precision,
        x.dtype, x.device,
    )  # fmt: skip
    first = to.first
    out = to.buffer(first)
    if x.numel():
        stage = _analyse_rows if first == len(grid) - 1 else _analyse_planes
        out = stage(to, x.contiguous())
        for axis in reversed(range(first)):
            out = _analyse_axis(to, axis, out)
    return out.view(math.prod(modes), 2, batch, channels)


def synthesis(
    spectrum: Tensor,
    modes: Sequence[int],
    grid: Sequence[int],
    scale: float,
    doubled: bool,
    last: bool,
    precision: str,
) -> Tensor:
    """y_n = Σ_k w_k Re(U_k exp(2πi k·n/N)); see `cpu.synthesis`."""
    _, _, batch, channels = spectrum.shape
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    to = Transform(
        batch * channels, tuple(grid), tuple(modes), scale, doubled, precision,
        dtype, spectrum.device,
    )  # fmt: skip
    y = torch.empty(batch, channels, *grid, dtype=dtype, device=spectrum.device)
    first = to.first
    if y.numel():
        part = spectrum.contiguous()
        for axis in range(first):
            part = _synthesise_axis(to, axis, part)
        stage = _synthesise_rows if first == len(grid) - 1 else _synthesise_planes
        stage(to, part, y)
    return y.movedim(1, -1).contiguous() if last else y


def _analyse_rows(to: Transform, x: Tensor) -> Tensor:
    axis = len(to.grid) - 1
    rows, layout = to.outer(axis), to.layout(axis)
    table, constants = to.rows(True)
    block, points = 32, table.shape[2]
    programs = -(-rows // block) * len(table)
    parts = min(points // constants["BJ"], max(1, _ENOUGH_PROGRAMS // programs))
    out = to.buffer(axis, parts)
    run(
        kernels.analyse_rows,
        (-(-rows // block), len(table), parts),
        x, table, out, rows, to.grid[-1], points, to.modes[-1],
        *layout, out.numel() // parts,
        BR=block, **constants, PRECISION=to.products, num_warps=4, num_stages=3,
    )  # fmt: skip
    return out if parts == 1 else out.view(parts, -1).sum(0)


def _analyse_planes(to: Transform, x: Tensor) -> Tensor:
    axis = len(to.grid) - 2
    images, layout = to.outer(axis), to.layout(axis)
    table, constants = to.rows(True)
    other, high = to.axis(axis, _WIDEST, False)
    height = other.shape[2]
    share = x.numel() // images * x.element_size() // _PART_BYTES
    parts = max(1, min(_MOST_PARTS, height // _POINTS, share))
    out = to.buffer(axis, parts)
    run(
        kernels.analyse_planes,
        (images, parts),
        x, table, other, out, *to.grid[-2:], height, table.shape[2], *to.modes[-2:],
        layout.outer, layout.mode * to.modes[-1], layout.mode, layout.plane,
        out.numel() // parts,
        **to.planes(high), **constants, MP=high, PRECISION=to.products,
    )  # fmt: skip
    return out if parts == 1 else out.view(parts, -1).sum(0)


def _analyse_axis(to: Transform, axis: int, part: Tensor) -> Tensor:
    inner, layout = math.prod(to.modes[axis + 1 :]), to.layout(axis)
    table, high = to.axis(axis, 16, False)
    out, block = to.buffer(axis), block_size(inner, 64)
    run(
        kernels.analyse_axis,
        (to.outer(axis), -(-inner // block), table.shape[1] // high),
        part, table, out, to.grid[axis], table.shape[2], inner, to.modes[axis],
        part.numel() // 2, layout.outer, layout.mode * inner, layout.mode, layout.plane,
        BN=_POINTS, BI=block, MP=high,
        PRECISION=to.products, num_warps=4, num_stages=3,
    )  # fmt: skip
    return out


def _synthesise_rows(to: Transform, part: Tensor, y: Tensor) -> None:
    axis = len(to.grid) - 1
    rows, layout = to.outer(axis), to.layout(axis)
    table, constants = to.rows(False)
    block = 16
    run(
        kernels.synthesise_rows,
        (-(-rows // block), table.shape[2] // constants["BJ"]),
        part, table, y, rows, to.grid[-1], table.shape[2], to.modes[-1], *layout,
        BR=block, **constants, PRECISION=to.products, num_warps=4, num_stages=3,
    )  # fmt: skip


def _synthesise_planes(to: Transform, part: Tensor, y: Tensor) -> None:
    axis = len(to.grid) - 2
    layout = to.layout(axis)
    table, constants = to.rows(False)
    other, high = to.axis(axis, _WIDEST, True)
    options = to.planes(high)
    run(
        kernels.synthesise_planes,
        (to.outer(axis), other.shape[1] // options["BH"]),
        part, table, other, y, *to.grid[-2:], other.shape[1], table.shape[2],
        *to.modes[-2:],
        layout.outer, layout.mode * to.modes[-1], layout.mode, layout.plane,
        **to.planes(high), **constants, MP=high, PRECISION=to.products,
    )  # fmt: skip


def _synthesise_axis(to: Transform, axis: int, part: Tensor) -> Tensor:
    inner, layout = math.prod(to.modes[axis + 1 :]), to.layout(axis)
    table, high = to.axis(axis, 16, True)
    out, block = to.buffer(axis + 1), block_size(inner, 64)
    run(
        kernels.synthesise_axis,
        (to.outer(axis), table.shape[1] // _POINTS, -(-inner // block)),
        part, table, out, to.grid[axis], table.shape[1], inner, to.modes[axis],
        table.shape[2], layout.outer, layout.mode * inner, layout.mode, layout.plane,
        out.numel() // 2, BN=_POINTS, BI=block, MP=high,
        PRECISION=to.products, num_warps=4, num_stages=3,
    )  # fmt: skip
    return out


def run(kernel: Any, grid: tuple[int, ...], *args: Any, **options: Any) -> None:
    """Launch a kernel on the device of its first argument."""
    device = args[0].device
    if device.type != "cuda" or device.index == torch.cuda.current_device():
        kernel[grid](*args, **options)
        return
    with torch.cuda.device(device):
        kernel[grid](*args, **options)


def block_size(size: int, most: int) -> int:
    """Power of two between 16, the least that tensor cores take, and ``most``."""
    return min(most, max(16, 1 << (size - 1).bit_length()))


def products(precision: str) -> str:
    """Arithmetic of the tensor cores: three tf32 products for one of float32."""
    return "tf32x3" if precision == "fp32" else "tf32"


def _contract(
    z: Tensor, weight: Tensor, outputs: int, strides: tuple[int, int], sign: int,
    precision: str,
) -> Tensor:  # fmt: skip
    modes, _, batch, inputs = z.shape
    z, weight = z.contiguous(), weight.contiguous()
    y = z.new_empty(modes, 2, batch, outputs)
    if y.numel():
        b, o = 16, block_size(outputs, 32)
        run(
            kernels.contract,
            (modes, -(-batch // b), -(-outputs // o)),
            z, weight, y, batch, inputs, outputs, weight.stride(0), *strides,
            weight.stride(2),
            BB=b, BI=16, BO=o, SIGN=sign,
            PRECISION=products(precision), num_warps=4, num_stages=2,
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
    i, o = 16, block_size(outputs, 32)
    run(
        kernels.contract_batch,
        (modes, -(-inputs // i), -(-outputs // o)),
        spectrum.contiguous(), grad.contiguous(), weight, batch, inputs, outputs,
        BB=16, BI=i, BO=o, PRECISION=products(precision),
        num_warps=4, num_stages=2,
    )  # fmt: skip
    return weight
