"""What belongs to a whole sample, in and out of operators on grids and on points.

`Conditions` turns the numbers θ of a sample and its functions of time into one vector,
which `modulation` takes: functions of time go through two convolutions of stride 2 and
a linear layer, so that their features know when something happened. `Readout` turns
features of the last layer into numbers: their means over space, through a small
network.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from opkit.operators.inputs import Inputs
from opkit.operators.layers.convolutions import mlp
from opkit.operators.shapes import DataShape, MeshShape

FEATURES = 32
"""Features of the functions of time of a sample."""
CHANNELS = 32
"""Channels of the last layer that are read out."""


class Conditions(nn.Module):
    """One vector (batch, count) of the numbers and the functions of time of a sample.

    Args:
        data: says how many there are.
    """

    def __init__(self, data: DataShape | MeshShape) -> None:
        super().__init__()
        self.count = data.parameters + (FEATURES if data.series else 0)
        self.encoder: nn.Sequential | None = None
        if data.series:
            length = math.ceil(math.ceil(data.times / 2) / 2)
            self.encoder = nn.Sequential(
                nn.Conv1d(data.series, 16, 5, stride=2, padding=2),
                nn.GELU(),
                nn.Conv1d(16, 16, 5, stride=2, padding=2),
                nn.GELU(),
                nn.Flatten(),
                nn.Linear(16 * length, FEATURES),
            )
        self.parameters_given = data.parameters > 0

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the vector."""
        parts = [inputs.need("parameters")] if self.parameters_given else []
        if self.encoder is not None:
            parts.append(self.encoder(inputs.need("series")))
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


class Readout(nn.Module):
    """Outputs that are no fields, from the last channels of an operator.

    Args:
        data: says which there are.
    """

    def __init__(self, data: DataShape | MeshShape) -> None:
        super().__init__()
        self.data = data
        self.network = mlp((CHANNELS, 2 * CHANNELS, sum(data.readouts)))

    def forward(
        self,
        features: Tensor,
        weights: Tensor | None = None,
        counts: list[int] | None = None,
    ) -> Tensor:
        """Map (batch, out_channel + `CHANNELS`, *space) to (batch, 1, value).

        Of a grid with other points the fields have as many values as it has points.

        Args:
            features: of the last layer; of samples of several lengths, one after
                another, (1, out_channel + `CHANNELS`, N): the answer is then as
                `opkit.operators.shapes.Packing` lays them.
            weights: (batch or 1, point) that sum to 1 in a sample; None for equal ones.
            counts: points of each sample, where they lie one after another.
        """
        channels = self.data.out_channels
        fields, read = features[:, :channels], features[:, channels:].flatten(2)
        if weights is not None:
            read = read * weights.to(read)[:, None]
        if counts is not None:
            parts = torch.split(read, counts, 2)
            means = torch.stack([part.sum(2)[0] for part in parts])
            numbers: Tensor = self.network(means)
            if not channels:
                return numbers[:, None]
            return torch.cat([fields.flatten(1), numbers.view(1, -1)], 1)[:, None]
        means = read.mean(2) if weights is None else read.sum(2)
        return torch.cat([fields.flatten(1), self.network(means)], 1)[:, None]


def readout(data: DataShape | MeshShape) -> Readout | None:
    """Return the readout, None where all outputs are fields."""
    return Readout(data) if data.readouts else None


def channels_of(data: DataShape | MeshShape) -> int:
    """Channels that the last layer of an operator gives."""
    return data.out_channels + (CHANNELS if data.readouts else 0)
