"""Whether the values of an input lie in the range seen in training.

With [l, h] the range of a channel over all training inputs,

    e(x) = max over points of max(l - x, x - h) / (h - l) - 5 %,   0 if negative,

the largest over channels: how far beyond the range, as a part of the range, the
farthest value lies, with 5 % to spare. A channel that was constant has no width; the
distance from its constant is then taken as it is, with nothing to spare.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from opkit.errors import OpkitInputError
from opkit.operators.inputs import Inputs
from opkit.surrogate.bundle.normalise import Normaliser
from opkit.surrogate.checks.interface import Context, Pairs, Reading, WithoutTensors

MARGIN = 0.05
"""Tolerance as a part of each channel's range."""


@dataclass(frozen=True)
class Range(WithoutTensors):
    """Distance of an input's values from the range that the normalisers know."""

    name: ClassVar[str] = "range"
    of_input: ClassVar[bool] = True
    powers: ClassVar[tuple[float, ...]] = (0.0,)

    @classmethod
    def fit(cls, context: Context, samples: Iterable[Pairs]) -> Self:
        """Take the ranges that the normalisers learnt from the training samples.

        Raises:
            OpkitInputError: there is nothing but the places of nodes.
        """
        del samples
        if not context.config.all_inputs:
            raise OpkitInputError("the inputs are places of nodes alone")
        return cls(context)

    def score(self, pairs: Pairs) -> Reading:
        """Return e (batch,), also by input variable; 0 is within the range."""
        measured = self.measure(pairs.inputs).items()
        by_variable = {name: part.numpy() for name, part in measured}
        return Reading(np.max(list(by_variable.values()), axis=0), by_variable)

    def measure(self, inputs: Inputs) -> dict[str, Tensor]:
        """Return e (batch,) by input variable, float64."""
        config, model = self.context.config, self.context.model
        x, static = inputs.fields, inputs.static
        channels = [beyond(x.transpose(1, 2) if model.history else x, model.inputs)]
        variables = list(config.inputs)
        if static is not None and model.static is not None:
            channels.append(beyond(static, model.static))
            variables += config.by_role["static"]
        numbers = inputs.parameters
        if numbers is not None and model.numbers is not None:
            channels.append(beyond(numbers, model.numbers))
            variables += config.parameters
        functions = inputs.series
        if functions is not None and model.series is not None:
            channels.append(beyond(functions, model.series))
            variables += config.series
        sizes = [v.channels for v in variables]
        parts = torch.split(torch.cat(channels, 1), sizes, 1)
        pieces = zip(variables, parts, strict=True)
        return {v.name: part.amax(1) for v, part in pieces}

    def describe(self) -> str:
        """Say what is measured."""
        return f"distance from the range of the training inputs, {MARGIN:.0%} to spare"


def beyond(x: Tensor, normaliser: Normaliser) -> Tensor:
    """Return e (batch, channel), float64, of x (batch, channel, *any).

    Infinite for a number without the logarithm that its law varies.
    """
    even = normaliser.even(x.detach()).cpu()
    values = even.flatten(2) if x.ndim > 2 else even[..., None]
    values = values.nan_to_num(torch.inf, torch.inf, -torch.inf)
    low, high = (v.detach().cpu()[:, None] for v in (normaliser.low, normaliser.high))
    width = high - low
    slack = MARGIN * width
    excess = torch.maximum(low - slack - values, values - (high + slack))
    unit = torch.where(width > 0, width, torch.ones_like(width))
    return (excess.amax(-1) / unit[:, 0]).clamp(min=0).double()
