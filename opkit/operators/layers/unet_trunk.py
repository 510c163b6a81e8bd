"""The U-Net shared by the U-Net baseline and LSM (Ronneberger et al., 2015)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opkit.operators.layers.convolutions import convolution, interpolate, normalisation
from opkit.operators.layers.grids import Boundary

Process = Callable[[int, Tensor], Tensor]


def scale_widths(channels: int, n_scales: int) -> list[int]:
    """Channels at every scale: doubled each time, except into the coarsest."""
    return [channels * 2 ** min(k, max(n_scales - 2, 0)) for k in range(n_scales)]


class DoubleConv(nn.Sequential):
    """Twice (3-wide convolution without bias, normalisation, ReLU)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        modes: Sequence[Boundary],
        norm: str,
        middle: int | None = None,
    ) -> None:
        middle = middle or out_channels
        super().__init__(
            convolution(in_channels, middle, 3, modes, bias=False),
            normalisation(norm, middle),
            nn.ReLU(),
            convolution(middle, out_channels, 3, modes, bias=False),
            normalisation(norm, out_channels),
            nn.ReLU(),
        )


class UNetTrunk(nn.Module):
    """Down by max-pooling, up by linear interpolation, skips between.

    Any grid whose axes have at least 2^(n_scales - 1) points: a coarse field is
    interpolated onto the exact grid of the skip it joins.

    Args:
        channels: at the finest scale; `scale_widths` has the others.
        n_scales: number of grids.
        modes: how each axis continues beyond the boundary.
        norm: ``"batch"``, ``"group"`` or ``"none"``.
    """

    def __init__(
        self,
        channels: int,
        n_scales: int,
        modes: Sequence[Boundary],
        norm: str = "batch",
    ) -> None:
        super().__init__()
        self.modes = tuple(modes)
        widths = scale_widths(channels, n_scales)
        before = [channels, *widths[:-1]]
        self.encoder = nn.ModuleList(
            DoubleConv(n_in, n_out, modes, norm)
            for n_in, n_out in zip(before, widths, strict=True)
        )
        self.decoder = nn.ModuleList()
        coming = widths[-1]
        for k in reversed(range(n_scales - 1)):
            joined = widths[k] + coming
            coming = widths[k] // 2 if k else channels
            self.decoder.append(DoubleConv(joined, coming, modes, norm, joined // 2))
        self.mixing = convolution(coming, channels, 1, modes)
        self._pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(modes) - 1]

    def forward(self, x: Tensor, process: Process | None = None) -> Tensor:
        """(batch, channel, *space) to the same.

        Args:
            x: features.
            process: applied as ``process(k, x_k)`` to the copy of scale k that joins
                the way up (the coarsest included), not to what goes further down.
        """
        fields: list[Tensor] = []
        for k, layer in enumerate(self.encoder):
            x = layer(self._pool(x, 2) if k else x)
            fields.append(x)
        if process is not None:
            fields = [process(k, field) for k, field in enumerate(fields)]
        x = fields.pop()
        for layer in self.decoder:
            skip = fields.pop()
            x = layer(
                torch.cat([skip, interpolate(x, skip.shape[2:], self.modes)], dim=1)
            )
        mixed: Tensor = self.mixing(x)
        return mixed
