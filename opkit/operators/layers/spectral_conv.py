"""`SpectralConv`: the spectral convolution as a module.

A drop-in for ``neuralop.layers.spectral_convolution.SpectralConv``: pass it as
``conv_module`` to neuraloperator's FNO. It loads neuraloperator's state dicts; its own
holds real numbers only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opkit.errors import OpkitInputError
from opkit.kernels.spectral_conv import spectral_conv
from opkit.kernels.spectral_conv.modes import available, shifted_order, split

Scaling = float | Sequence[float] | None


def from_complex(weight: Tensor, dims: int) -> Tensor:
    """Convert neuraloperator's weight into the mode-major real one.

    Args:
        weight: complex (in_channel, out_channel, *modes) or, separable,
            (channel, *modes), full axes in ascending wavenumbers; or its
            ``torch.view_as_real``.
        dims: number of space axes.

    Returns:
        Real (*modes, in_channel, 2, out_channel) or (*modes, channel, 2).
    """
    pairs = torch.view_as_real(weight.resolve_conj()) if weight.is_complex() else weight
    channels = pairs.ndim - dims - 1
    axes = range(channels, channels + dims)
    for axis in axes[:-1]:
        order = torch.tensor(shifted_order(pairs.shape[axis]), device=pairs.device)
        pairs = pairs.index_select(axis, order)
    rest = (0, pairs.ndim - 1, 1) if channels == 2 else (0, pairs.ndim - 1)
    return pairs.permute(*axes, *rest).contiguous()


def to_complex(weight: Tensor, dims: int) -> Tensor:
    """Convert the mode-major real weight into neuraloperator's; see `from_complex`."""
    for axis in range(dims - 1):
        order = torch.tensor(shifted_order(weight.shape[axis]), device=weight.device)
        weight = weight.index_select(axis, order.argsort())
    axes = range(dims)
    separable = weight.ndim == dims + 2
    rest = (dims,) if separable else (dims, dims + 2)
    pairs = weight.permute(*rest, *axes, dims + 1).contiguous()
    return torch.view_as_complex(pairs)


class SpectralConv(nn.Module):
    """Spectral convolution y = F⁻¹(W · F x) + b on the lowest modes.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        n_modes: modes kept along each axis, one number per space axis (1 to 3); the
            last one keeps n // 2 + 1 modes of the real transform.
        max_n_modes: modes that the weight holds, counted as in the weight (the last
            axis is not halved); `n_modes` can be changed up to it.
        bias: add one number per output channel.
        separable: no mixing of channels; needs in_channels = out_channels.
        resolution_scaling_factor: output points per input point, one factor or one per
            axis.
        init_std: standard deviation of the initial weights; ``"auto"`` takes
            sqrt(2 / (in_channels + out_channels)).
        fft_norm: normalisation of the transforms: forward, ortho, backward.
        compat: ``"neuralop-2.0"`` reproduces neuraloperator 2.0.0 at odd sizes; the
            default is the discrete Fourier transform's own placement of modes.
        precision: ``fp32``, ``tf32`` or ``bf16``; see `spectral_conv`.
        recompute: keep the field instead of its spectrum; see `spectral_conv`.
        complex_data: must be False.
        factorization: must be None or ``"dense"``.
        fno_block_precision: must be ``"full"``; use torch.autocast and ``precision``.
        rank: without effect, as for every dense weight.
        implementation: without effect, as for every dense weight.
        fixed_rank_modes: without effect, as for every dense weight.
        decomposition_kwargs: without effect, as for every dense weight.
        device: of the parameters.
        dtype: of the parameters, float32 or float64.

    Raises:
        OpkitInputError: an option that this module does not have.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        n_modes: int | Sequence[int],
        complex_data: bool = False,
        max_n_modes: int | Sequence[int] | None = None,
        bias: bool = True,
        separable: bool = False,
        resolution_scaling_factor: Scaling = None,
        fno_block_precision: str = "full",
        rank: float = 0.5,
        factorization: str | None = None,
        implementation: str = "reconstructed",
        fixed_rank_modes: bool | Sequence[int] = False,
        decomposition_kwargs: dict[str, Any] | None = None,
        init_std: float | str = "auto",
        fft_norm: str = "forward",
        device: torch.device | str | None = None,
        *,
        compat: str | None = None,
        precision: str = "fp32",
        recompute: bool = False,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _refuse(complex_data, factorization, fno_block_precision)
        if separable and in_channels != out_channels:
            raise OpkitInputError(
                "a separable convolution needs in_channels = out_channels, got "
                f"{in_channels} and {out_channels}"
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.separable, self.fft_norm = separable, fft_norm
        self.compat, self.precision = compat, precision
        self.recompute = recompute
        self._n_modes = _halved(n_modes)
        self.order = len(self._n_modes)
        if max_n_modes is None:
            max_n_modes = self._n_modes
        elif isinstance(max_n_modes, int):
            max_n_modes = [max_n_modes]
        self.max_n_modes = list(max_n_modes)
        self._check_modes()
        self.resolution_scaling_factor = self._scaling(resolution_scaling_factor)
        std = (2 / (in_channels + out_channels)) ** 0.5
        std = std if init_std == "auto" else float(init_std)
        tail = (in_channels, 2) if separable else (in_channels, 2, out_channels)
        like: dict[str, Any] = {"device": device, "dtype": dtype}
        # a complex normal number of variance std^2 has parts of variance std^2 / 2
        weight = torch.randn(*self.max_n_modes, *tail, **like) * (std / 2**0.5)
        self.weight = nn.Parameter(weight)
        self.bias = (
            nn.Parameter(std * torch.randn(out_channels, *(1,) * self.order, **like))
            if bias
            else None
        )

    @property
    def n_modes(self) -> list[int]:
        """Modes in use along each axis; the last counts those of the real transform."""
        return self._n_modes

    @n_modes.setter
    def n_modes(self, n_modes: int | Sequence[int]) -> None:
        self._n_modes = _halved(n_modes)
        self._check_modes()

    def _check_modes(self) -> None:
        most = self.max_n_modes
        if len(most) != self.order or any(map(int.__gt__, self._n_modes, most)):
            raise OpkitInputError(
                f"n_modes {self._n_modes} (real transform last) exceed the weight's "
                f"{most}: raise max_n_modes or keep fewer"
            )

    def _scaling(self, factor: Scaling) -> list[float] | None:
        if factor is None:
            return None
        factors = [factor] * self.order if isinstance(factor, int | float) else factor
        if len(factors) != self.order or min(factors) <= 0:
            raise OpkitInputError(
                f"resolution_scaling_factor {factor}: give one positive number, or "
                f"{self.order}"
            )
        return [float(value) for value in factors]

    def _out_shape(self, x: Tensor, output_shape: Sequence[int] | None) -> list[int]:
        grid = list(x.shape[2:])
        if output_shape is not None:
            return [int(size) for size in output_shape]
        if self.resolution_scaling_factor is None:
            return grid
        factors = self.resolution_scaling_factor
        return [round(n * r) for n, r in zip(grid, factors, strict=True)]

    def _cropped(self, grid: Sequence[int], out_shape: Sequence[int]) -> Tensor:
        """Return the weight of the modes in use that both grids hold."""
        limits = available(grid)
        if self.compat is None:
            limits = [*map(min, limits, available(out_shape))]
        n_kept = [*map(min, self._n_modes, limits)]
        weight: Tensor = self.weight
        for axis, (count, most) in enumerate(
            zip(n_kept[:-1], self.max_n_modes[:-1], strict=True)
        ):
            if count == most:
                continue
            positive, negative = split(count)
            first = 0
            if self.compat is not None and most % 2 == 0 and count % 2 == 1:
                first = -1  # neuraloperator 2.0.0 slices one wavenumber too low
            rows = [k % most for k in range(first - negative, first + positive)]
            rows = rows[negative:] + rows[:negative][::-1]
            start, _ = split(most)
            # storage order: 0 … P-1, then -1 … -Q
            rows = [k if k < start else start + most - 1 - k for k in rows]
            weight = weight.index_select(axis, torch.tensor(rows, device=weight.device))
        return weight.narrow(self.order - 1, 0, n_kept[-1])

    def forward(self, x: Tensor, output_shape: Sequence[int] | None = None) -> Tensor:
        """Convolve a field.

        Args:
            x: (batch, in_channel, *space).
            output_shape: grid of the result; overrides resolution_scaling_factor.

        Returns:
            The field (batch, out_channel, *output_shape).
        """
        if x.ndim != self.order + 2:
            raise OpkitInputError(
                f"expected (batch, {self.in_channels}, *space) with {self.order} space "
                f"axes, got a tensor of shape {tuple(x.shape)}"
            )
        out_shape = self._out_shape(x, output_shape)
        return spectral_conv(
            x,
            self._cropped(x.shape[2:], out_shape),
            self.bias,
            out_shape=out_shape,
            norm=self.fft_norm,
            compat=self.compat,
            precision=self.precision,
            recompute=self.recompute,
        )

    def transform(self, x: Tensor, output_shape: Sequence[int] | None = None) -> Tensor:
        """Bring a skip connection's field to the grid of this module's output.

        Linear interpolation in 1-D, bicubic in 2-D, by Fourier modes in 3-D, as
        neuraloperator has it.
        """
        out_shape = self._out_shape(x, output_shape)
        if out_shape == list(x.shape[2:]):
            return x
        if self.order == 1:
            return F.interpolate(x, out_shape, mode="linear", align_corners=True)
        if self.order == 2:
            return F.interpolate(x, out_shape, mode="bicubic", align_corners=True)
        modes = [*map(min, available(x.shape[2:]), available(out_shape))]
        ones = x.new_ones(*modes, x.shape[1], 1)
        return spectral_conv(
            x, torch.cat([ones, torch.zeros_like(ones)], -1), out_shape=out_shape
        )

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any
    ) -> None:
        theirs = state_dict.pop(prefix + "weight.tensor", None)
        if theirs is not None:
            state_dict[prefix + "weight"] = from_complex(theirs, self.order)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """Return the arguments worth printing."""
        return (
            f"{self.in_channels}, {self.out_channels}, modes={tuple(self._n_modes)}, "
            f"separable={self.separable}, compat={self.compat}, "
            f"precision={self.precision}"
        )


def neuralop_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's state dict with neuraloperator's names and complex weights.

    The parameters of every `SpectralConv` inside become ``weight.tensor``, so that the
    same model built with neuraloperator's own convolution loads the result.
    """
    state = {
        name: value
        for name, value in model.state_dict().items()
        if isinstance(value, Tensor)
    }
    for name, module in model.named_modules():
        if isinstance(module, SpectralConv):
            prefix = f"{name}." if name else ""
            weight = state.pop(prefix + "weight")
            state[prefix + "weight.tensor"] = to_complex(weight, module.order)
    return state


def _refuse(
    complex_data: bool, factorization: str | None, fno_block_precision: str
) -> None:
    if complex_data:
        raise OpkitInputError(
            "complex_data=True: SpectralConv takes real fields; pass real and "
            "imaginary parts as channels"
        )
    if factorization is not None and factorization.lower() not in (
        "dense",
        "complexdense",
    ):
        raise OpkitInputError(
            f"factorization={factorization!r}: SpectralConv holds dense weights; use "
            "factorization=None, or neuraloperator's own convolution"
        )
    if fno_block_precision != "full":
        raise OpkitInputError(
            f"fno_block_precision={fno_block_precision!r}: use 'full' with "
            "torch.autocast, or precision='bf16'"
        )


def _halved(n_modes: int | Sequence[int]) -> list[int]:
    """Return the modes along each axis; of the last those of the real transform."""
    modes = [n_modes] if isinstance(n_modes, int) else list(n_modes)
    if not 1 <= len(modes) <= 3 or min(modes) < 1:
        raise OpkitInputError(
            f"n_modes {modes}: give a positive number for each of 1 to 3 space axes"
        )
    return [*modes[:-1], modes[-1] // 2 + 1]
