"""Numbers per sample inside operators on fields.

Feature-wise modulation (FiLM; Perez et al., AAAI 2018): features v of layer l become

    v (1 + s_l(θ)) + b_l(θ),

with scales and shifts from a small network of the numbers θ of the sample, the same at
every point. It begins as the identity. Constant channels are the alternative: each
number is a further input field without structure in space.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

Entry = Literal["film", "channels"]
HIDDEN = 64
ENTRY: Any = Field(
    default="film",
    description="numbers per sample scale and shift features, or are channels",
)


class Modulation(nn.Module):
    """Scales and shifts of the features of several layers.

    Args:
        parameters: numbers per sample.
        widths: features of each layer.
        hidden: width of the network.
    """

    def __init__(
        self, parameters: int, widths: Sequence[int], hidden: int = HIDDEN
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.first = nn.Linear(parameters, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, 2 * sum(widths))
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, numbers: Tensor) -> list[Tensor]:
        """Return scale and shift (2, batch, channel) by layer of (batch, parameter)."""
        hidden = F.gelu(self.second(F.gelu(self.first(numbers))))
        parts = self.last(hidden).split([2 * width for width in self.widths], 1)
        return [torch.stack(part.chunk(2, 1)) for part in parts]


def modulation(
    parameters: int, entry: Entry, widths: Sequence[int]
) -> Modulation | None:
    """Return the modulation of layers, None without numbers or where they are fields.

    Args:
        parameters: numbers per sample.
        entry: how they enter.
        widths: features of each layer.
    """
    if not parameters or entry == "channels":
        return None
    return Modulation(parameters, widths)


def modulated(x: Tensor, pair: Tensor) -> Tensor:
    """Return x (1 + s) + b for (batch, channel, *space) and s, b of (2, batch, c)."""
    scale, shift = (part.view(*part.shape, *(1,) * (x.ndim - 2)) for part in pair)
    return torch.addcmul(x + shift, x, scale)


def with_channels(x: Tensor, numbers: Tensor) -> Tensor:
    """Join (batch, parameter) numbers to fields (batch, channel, *space)."""
    shape = (*numbers.shape, *(1,) * (x.ndim - 2))
    return torch.cat([x, numbers.view(shape).expand(-1, -1, *x.shape[2:])], 1)
