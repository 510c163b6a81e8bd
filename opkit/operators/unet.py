"""U-Net, the convolutional baseline (Ronneberger et al., 2015, arXiv:1505.04597)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from opkit.errors import OpkitInputError
from opkit.operators import interface
from opkit.operators.inputs import Inputs
from opkit.operators.interface import Accepts, Operator
from opkit.operators.layers.convolutions import convolution
from opkit.operators.layers.grids import boundaries, coordinates
from opkit.operators.layers.modulation import (
    ENTRY,
    Entry,
    modulated,
    modulation,
    with_channels,
)
from opkit.operators.layers.unet_trunk import UNetTrunk, scale_widths
from opkit.operators.layers.whole_samples import Conditions, channels_of, readout
from opkit.operators.shapes import FINER, DataShape


class UNet(Operator):
    """U-Net on a grid of any size in one, two or three dimensions.

    Convolutions continue periodic axes around and others by zeros; the coordinates of
    axes that are not periodic are further input channels. Its receptive field is
    counted in points: on another grid it runs, but is another operator.

    Args:
        data: channels, grid and periodicity of the data.
        options: sizes; see `UNet.Options`.

    Raises:
        OpkitInputError: an axis has fewer than 2^(n_scales - 1) points.
    """

    accepts: ClassVar[Accepts] = Accepts(
        geometries=("grid",),
        dimensions=(1, 2, 3),
        parameters=True,
        needs_fields=False,
        series=True,
        readouts=True,
    )

    class Options(interface.Options):
        """Options of the U-Net."""

        hidden_channels: int = Field(default=32, ge=1, description="at the finest grid")
        n_scales: int = Field(default=5, ge=1)
        norm: Literal["batch", "group", "none"] = "group"
        coordinates: bool = True
        parameters: Entry = ENTRY

    def __init__(self, data: DataShape, options: Options) -> None:
        super().__init__()
        modes, width = boundaries(data.periodic), options.hidden_channels
        self.periodic = data.periodic
        self.least = 2 ** (options.n_scales - 1)
        # a periodic axis has no distinguished place, so its coordinate is left out
        self.axes = [
            axis
            for axis, wraps in enumerate(data.periodic)
            if options.coordinates and not wraps
        ]
        self.conditions = Conditions(data)
        count, widths = self.conditions.count, scale_widths(width, options.n_scales)
        self.modulation = modulation(count, options.parameters, widths)
        self.numbers = count if self.modulation is None else 0
        channels = data.in_channels + len(self.axes) + self.numbers
        if not channels:
            raise OpkitInputError(
                "operator unet: no input channels are left: set "
                "model.parameters=channels"
            )
        self.lifting = convolution(channels, width, 1, modes)
        self.trunk = UNetTrunk(width, options.n_scales, modes, options.norm)
        self.projection = convolution(width, channels_of(data), 1, modes)
        self.readout = readout(data)
        self._check(data.shape)

    def forward(self, inputs: Inputs) -> Tensor:
        """Map (batch, in_channel, *space) to (batch, out_channel, *space).

        Raises:
            OpkitInputError: an axis has fewer than 2^(n_scales - 1) points.
        """
        x = inputs.fields
        self._check(tuple(x.shape[2:]))
        if self.axes:
            grid = coordinates(x.shape[2:], self.periodic, like=x)[self.axes]
            x = torch.cat([x, grid.expand(x.shape[0], *grid.shape)], dim=1)
        if self.numbers:
            x = with_channels(x, self.conditions(inputs))
        process = None
        if self.modulation is not None:
            pairs = self.modulation(self.conditions(inputs))
            process = lambda k, field: modulated(field, pairs[k])  # noqa: E731
        result: Tensor = self.projection(self.trunk(self.lifting(x), process))
        return result if self.readout is None else self.readout(result)

    def _check(self, shape: tuple[int, ...]) -> None:
        if min(shape) < self.least:
            raise OpkitInputError(
                f"grid {list(shape)} has fewer than {self.least} points along an axis: "
                f"{FINER} or at most --set model.n_scales={min(shape).bit_length()}"
            )
