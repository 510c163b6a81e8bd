"""Fourier neural operator with padding and coordinates for any boundary conditions.

    v_0 = P(a, x),    v_{l+1} = σ(W v_l + R_l ∗ v_l),    u = Q(v_L)

with R_l ∗ v = F⁻¹(R̂_l F v) on the lowest ``n_modes`` Fourier modes. On axes that are
not periodic the domain is extended by zeros, by a fraction of its length.

Reference: Li et al., ICLR 2021, arXiv:2010.08895.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from opkit.errors import OpkitInputError
from opkit.operators import interface
from opkit.operators.fno.network import ChannelsLastFNO
from opkit.operators.inputs import Inputs
from opkit.operators.interface import Accepts, Operator
from opkit.operators.layers.grids import resample
from opkit.operators.layers.modulation import (
    ENTRY,
    Entry,
    modulated,
    modulation,
    with_channels,
)
from opkit.operators.layers.whole_samples import Conditions, channels_of, readout
from opkit.operators.shapes import FINER, DataShape

Modes = Annotated[int, Field(ge=1)]
N_MODES = 16


class FNO(Operator):
    """Fourier neural operator on a uniform grid in one, two or three dimensions.

    The parameters are those of ``neuralop.models.FNO`` under the same names;
    `neuralop_state_dict` of `opkit.operators.layers.spectral_conv` gives the complex
    weights.

    Args:
        data: channels, grid, periodicity and extent of the data.
        options: sizes; see `FNO.Options`.

    Raises:
        OpkitInputError: ``n_modes`` does not fit the number of axes or the grid.
    """

    mean: Tensor

    accepts: ClassVar[Accepts] = Accepts(
        geometries=("grid",),
        dimensions=(1, 2, 3),
        parameters=True,
        needs_fields=False,
        series=True,
        readouts=True,
    )

    class Options(interface.Options):
        """Options of the FNO."""

        n_modes: tuple[Modes, ...] | None = Field(
            default=None,
            description=f"modes kept along each axis, both signs counted; "
            f"default {N_MODES} each",
        )
        hidden_channels: int = Field(default=32, ge=1)
        n_layers: int = Field(default=4, ge=1)
        lifting_channel_ratio: float = Field(default=2, gt=0)
        projection_channel_ratio: float = Field(default=2, gt=0)
        padding: float = Field(
            default=1 / 7,  # 85, 211 and 421 points become 96, 240 and 480
            ge=0,
            le=1,
            description="extension of axes that are not periodic, over their length",
        )
        channel_mlp: bool = True
        channel_mlp_expansion: float = Field(default=0.5, gt=0)
        norm: Literal["group_norm", "instance_norm"] | None = None
        coordinates: bool = Field(default=True, description="x as further channels")
        mean_field: bool = Field(
            default=False, description="the mean of the training outputs is added"
        )
        parameters: Entry = ENTRY

    def __init__(self, data: DataShape, options: Options) -> None:
        super().__init__()
        self.n_modes = options.n_modes or (N_MODES,) * len(data.shape)
        _check_modes(self.n_modes, data.shape)
        self.data = data
        self.options = options
        self.conditions = Conditions(data)
        self.modulation = modulation(
            self.conditions.count,
            options.parameters,
            [options.hidden_channels] * options.n_layers,
        )
        self.numbers = self.conditions.count if self.modulation is None else 0
        channels = data.in_channels + len(data.shape) * options.coordinates
        channels += self.numbers
        if not channels:
            raise OpkitInputError(
                "operator fno: no input channels are left: set model.coordinates=true"
            )
        network = ChannelsLastFNO(
            n_modes=self.n_modes,
            in_channels=channels,
            out_channels=channels_of(data),
            hidden_channels=options.hidden_channels,
            n_layers=options.n_layers,
            lifting_channel_ratio=options.lifting_channel_ratio,
            projection_channel_ratio=options.projection_channel_ratio,
            channel_mlp=options.channel_mlp,
            channel_mlp_expansion=options.channel_mlp_expansion,
            norm=options.norm,
        )
        # the parts: padding goes between them
        self.lifting = network.lifting
        self.fno_blocks = network.fno_blocks
        self.projection = network.projection
        self.readout = readout(data)
        if options.mean_field:
            if self.readout is not None:
                raise OpkitInputError(
                    "operator fno: mean_field is for outputs that are fields alone: "
                    "leave it out"
                )
            mean = torch.zeros(data.out_channels, *data.shape)
            self.register_buffer("mean", mean)

    @torch.no_grad()
    def prepare(self, samples: Mapping[str, Tensor]) -> None:
        """Take the mean of the training outputs, where it is wanted.

        Args:
            samples: ``"outputs"`` (sample, [time,] out_channel, *space).
        """
        if self.options.mean_field:
            outputs = samples["outputs"]
            self.mean.copy_(outputs.flatten(0, -self.mean.ndim - 1).mean(0))

    def forward(self, inputs: Inputs) -> Tensor:
        """Map (batch, in_channel, *space) to (batch, out_channel, *space).

        Raises:
            OpkitInputError: wrong number of axes, or a grid too small for the modes.
        """
        x = inputs.fields
        shape = tuple(x.shape[2:])
        _check_modes(self.n_modes, shape)
        if self.options.coordinates:
            grid = coordinates(shape, self.data.periodic, x)
            x = torch.cat([x, grid.expand(x.shape[0], *grid.shape[1:])], dim=1)
        pairs = None
        if self.modulation is not None:
            pairs = self.modulation(self.conditions(inputs))
        elif self.numbers:
            x = with_channels(x, self.conditions(inputs))
        x = self.lifting(x)
        extra = padding(shape, self.data.periodic, self.options.padding)
        if any(extra):  # F.pad wants the last axis first, as (before, after)
            x = F.pad(x, [side for n in reversed(extra) for side in (0, n)])
        for layer in range(self.options.n_layers):
            if pairs is not None:
                x = modulated(x, pairs[layer])
            x = self.fno_blocks(x, layer)
        if any(extra):
            for axis, n in enumerate(shape, 2):
                x = x.narrow(axis, 0, n)
        result: Tensor = self.projection(x)
        if self.options.mean_field:
            result = result + resample(self.mean, shape, self.data.periodic)
        return result if self.readout is None else self.readout(result)


def padding(
    shape: tuple[int, ...], periodic: tuple[bool, ...], fraction: float
) -> tuple[int, ...]:
    """Points to add to each axis so that its period is (1 + fraction) L.

    With n points on [0, L] the spacing is L / (n - 1), so the extended axis holds
    round((1 + fraction)(n - 1)) points: the period, and with it the meaning of every
    Fourier mode, is the same at all resolutions.
    """
    if not fraction:
        return (0,) * len(shape)
    return tuple(
        0 if closed else max(round((1 + fraction) * (n - 1)) - n, 0)
        for n, closed in zip(shape, periodic, strict=True)
    )


def coordinates(
    shape: tuple[int, ...], periodic: tuple[bool, ...], like: Tensor
) -> Tensor:
    """Return x / L of every point, (1, axis, *space), in the type of ``like``.

    i / n on periodic axes and i / (n - 1) on the others: where a point lies does not
    depend on the resolution.
    """
    axes = [
        torch.arange(n, device=like.device, dtype=like.dtype)
        / (n if closed else max(n - 1, 1))
        for n, closed in zip(shape, periodic, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def _check_modes(n_modes: tuple[int, ...], shape: tuple[int, ...]) -> None:
    if len(n_modes) != len(shape):
        raise OpkitInputError(
            f"n_modes {list(n_modes)} has {len(n_modes)} entries for {len(shape)} "
            "space axes: give one for each axis, such as --set model.n_modes="
            f"{[N_MODES] * len(shape)}"
        )
    if any(m > n for m, n in zip(n_modes, shape, strict=True)):
        raise OpkitInputError(
            f"n_modes {list(n_modes)} exceeds the grid {list(shape)}: {FINER} "
            f"or at most --set model.n_modes={list(shape)}"
        )
