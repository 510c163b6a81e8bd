"""Latent spectral model: a U-Net whose scales are solved in a small latent space.

    u = Q(U(B_1, ..., B_5)(P(a, x)))

P lifts the input and the coordinates, U is a U-Net on five grids, B_k the neural
spectral block of grid k, on 16/2^k patches along each axis; Q is pointwise.

Reference: Wu et al., ICML 2023, arXiv:2301.12664.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from opkit.errors import OpkitInputError
from opkit.operators import interface
from opkit.operators.inputs import Inputs
from opkit.operators.interface import Accepts, Operator
from opkit.operators.layers.convolutions import convolution
from opkit.operators.layers.grids import boundaries, crop, with_coordinates
from opkit.operators.layers.modulation import (
    ENTRY,
    Entry,
    modulated,
    modulation,
    with_channels,
)
from opkit.operators.layers.unet_trunk import UNetTrunk, scale_widths
from opkit.operators.layers.whole_samples import Conditions, channels_of, readout
from opkit.operators.lsm.block import NeuralSpectralBlock
from opkit.operators.shapes import FINER, DataShape


class LatentOptions(interface.Options):
    """Options shared by LSM on grids and on point clouds."""

    hidden_channels: int = Field(default=64, ge=1, description="a multiple of n_heads")
    n_scales: int = Field(default=5, ge=1)
    n_tokens: int = Field(default=4, ge=1, description="latent tokens of a patch")
    n_basis: int = Field(default=12, ge=1, description="sines, and cosines")
    n_heads: int = Field(default=8, ge=1)
    projection_channels: int = Field(default=128, ge=1)
    norm: Literal["batch", "group", "none"] = "batch"

    @model_validator(mode="after")
    def _heads_divide(self) -> LatentOptions:
        if self.hidden_channels % self.n_heads:
            raise ValueError(
                f"hidden_channels {self.hidden_channels} is not a multiple of n_heads "
                f"{self.n_heads}: use {self.n_heads}, {2 * self.n_heads}, ..."
            )
        return self


class LatentUNet(nn.Module):
    """U-Net trunk with a neural spectral block on every skip and on the bottom."""

    def __init__(self, dimension: int, options: LatentOptions) -> None:
        super().__init__()
        self.n_patches = 2 ** (options.n_scales - 1)
        self.trunk = UNetTrunk(
            options.hidden_channels,
            options.n_scales,
            boundaries((False,) * dimension),
            options.norm,
        )
        self.blocks = nn.ModuleList(
            NeuralSpectralBlock(
                width, options.n_tokens, options.n_basis, options.n_heads
            )
            for width in scale_widths(options.hidden_channels, options.n_scales)
        )

    def patch(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Points of a patch along each axis: ceil(n / 2^(n_scales - 1))."""
        return tuple(math.ceil(n / self.n_patches) for n in shape)

    def padding(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Zeros at the high end of each axis that make the patches fit."""
        return tuple(
            self.n_patches * p - n
            for p, n in zip(self.patch(shape), shape, strict=True)
        )

    def check_shape(self, shape: Sequence[int]) -> None:
        """Refuse a grid that would be more padding than grid.

        Raises:
            OpkitInputError: an axis has fewer than 2^(n_scales - 1) / 2 + 1 points.
        """
        if min(shape) <= self.n_patches // 2:
            scales = min(shape).bit_length()
            raise OpkitInputError(
                f"grid {list(shape)} is smaller than the {self.n_patches} patches of "
                f"an axis: {FINER} or at most --set model.n_scales={scales}"
            )

    def forward(self, x: Tensor, pairs: Sequence[Tensor] = ()) -> Tensor:
        """(batch, channel, *space) to the same, for any grid `check_shape` accepts.

        Args:
            x: features.
            pairs: scale and shift of the features of each scale, if there are any.
        """
        shape = tuple(x.shape[2:])
        self.check_shape(shape)
        patch, padding = self.patch(shape), self.padding(shape)
        if any(padding):  # F.pad counts from the last axis, (low, high)
            x = F.pad(x, [side for n in reversed(padding) for side in (0, n)])

        def process(k: int, field: Tensor) -> Tensor:
            solved: Tensor = self.blocks[k](field, patch)
            return modulated(solved, pairs[k]) if pairs else solved

        x = self.trunk(x, process)
        return crop(x, shape)


class LSM(Operator):
    """Latent spectral model on a structured grid in one, two or three dimensions.

    Runs on any grid of at least 2^(n_scales - 1) / 2 + 1 points an axis, with patches
    of the same physical size. The published sizes give the published padding (85 points
    become 96, 221 x 51 become 224 x 64). As published, every axis counts as not
    periodic. `opkit.operators.lsm.published_weights` reads the authors'
    weights.

    Args:
        data: channels and grid of the data.
        options: sizes; see `LSM.Options`. The defaults are those of Darcy flow.

    Raises:
        OpkitInputError: the grid is smaller than the patches.
    """

    accepts: ClassVar[Accepts] = Accepts(
        geometries=("grid",),
        dimensions=(1, 2, 3),
        parameters=True,
        needs_fields=False,
        series=True,
        readouts=True,
    )

    class Options(LatentOptions):
        """Options of LSM."""

        parameters: Entry = ENTRY

    def __init__(self, data: DataShape, options: Options) -> None:
        super().__init__()
        d = len(data.shape)
        modes, width = boundaries((False,) * d), options.hidden_channels
        middle = options.projection_channels
        self.not_periodic = (False,) * d
        self.conditions = Conditions(data)
        count, widths = self.conditions.count, scale_widths(width, options.n_scales)
        self.modulation = modulation(count, options.parameters, widths)
        self.numbers = count if self.modulation is None else 0
        channels = data.in_channels + d + self.numbers
        self.lifting = convolution(channels, width, 1, modes)
        self.unet = LatentUNet(d, options)
        self.unet.check_shape(data.shape)
        self.projection = nn.Sequential(
            convolution(width, middle, 1, modes),
            nn.GELU(),
            convolution(middle, channels_of(data), 1, modes),
        )
        self.readout = readout(data)

    def forward(self, inputs: Inputs) -> Tensor:
        """Map (batch, in_channel, *space) to (batch, out_channel, *space).

        Raises:
            OpkitInputError: the grid is smaller than the patches.
        """
        x = inputs.fields
        x = with_coordinates(x, self.not_periodic)
        pairs: list[Tensor] = []
        if self.modulation is not None:
            pairs = self.modulation(self.conditions(inputs))
        elif self.numbers:
            x = with_channels(x, self.conditions(inputs))
        result: Tensor = self.projection(self.unet(self.lifting(x), pairs))
        return result if self.readout is None else self.readout(result)
