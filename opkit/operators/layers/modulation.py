"""Numbers per sample inside operators on fields.

Feature-wise modulation (FiLM; Perez et al., AAAI 2018): features v of layer l become

    v (1 + s_l(θ)) + b_l(θ),

with scales and shifts from a small network of the numbers θ of the sample, the same at
every point. It begins as the identity. Constant channels are the alternative: each
number is a further input field without structure in space.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Entry = Literal["film", "channels"]
HIDDEN = 64


class Modulation(nn.Module):
    """Scales and shifts of the features of several layers.

    Args:
        parameters: numbers per sample.
        channels: features of each layer.
        layers: number of layers.
        hidden: width of the network.
    """

    def __init__(
        self, parameters: int, channels: int, layers: int, hidden: int = HIDDEN
    ) -> None:
        super().__init__()
        self.channels, self.layers = channels, layers
        self.first = nn.Linear(parameters, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, 2 * layers * channels)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, numbers: Tensor) -> Tensor:
        """Return scales and shifts (layer, 2, batch, channel) of (batch, parameter)."""
        hidden = F.gelu(self.second(F.gelu(self.first(numbers))))
        both: Tensor = self.last(hidden).view(-1, self.layers, 2, self.channels)
        return both.permute(1, 2, 0, 3)


def modulated(x: Tensor, pair: Tensor) -> Tensor:
    """Return x (1 + s) + b for (batch, channel, *space) and s, b of (2, batch, c)."""
    scale, shift = (part.view(*part.shape, *(1,) * (x.ndim - 2)) for part in pair)
    return torch.addcmul(x + shift, x, scale)


def with_channels(x: Tensor, numbers: Tensor) -> Tensor:
    """Join (batch, parameter) numbers to fields (batch, channel, *space)."""
    shape = (*numbers.shape, *(1,) * (x.ndim - 2))
    return torch.cat([x, numbers.view(shape).expand(-1, -1, *x.shape[2:])], 1)
