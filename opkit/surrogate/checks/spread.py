"""How uncertain the operator itself says that a prediction is.

    s(x) = mean over channels of |std û_c| / |û_c|

with the standard deviations that the operator gives at each point, as Gaussian
processes do. It is relative like the error of a prediction, and can be its scale.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from opkit.errors import OpkitInputError
from opkit.surrogate.bundle import forward
from opkit.surrogate.checks.interface import Context, Pairs, Reading, WithoutTensors

SMALLEST = 1e-12
"""Norm of a channel that is zero everywhere."""


@dataclass(frozen=True)
class Spread(WithoutTensors):
    """The operator's own relative standard deviation."""

    name: ClassVar[str] = "spread"
    of_input: ClassVar[bool] = False
    powers: ClassVar[tuple[float, ...]] = (0.0, 0.5, 1.0)

    @classmethod
    def fit(cls, context: Context, samples: Iterable[Pairs]) -> Self:
        """See whether the operator has standard deviations; there is nothing to learn.

        Raises:
            OpkitInputError: it has none.
        """
        del samples
        if not forward.knows_deviation(context.model):
            raise OpkitInputError(
                f"operator {context.config.operator} does not say how uncertain its "
                "answers are"
            )
        return cls(context)

    def score(self, pairs: Pairs) -> Reading:
        """Return s (batch,)."""
        std = forward.deviation(self.context.model, pairs.inputs)
        return Reading(relative(std, pairs.outputs).numpy())

    def describe(self) -> str:
        """Say what is read."""
        return "relative standard deviation of the prediction, by the operator"


def relative(std: Tensor, outputs: Tensor) -> Tensor:
    """Return s (batch,), float64, of fields (batch, channel, *space)."""
    size, off = (
        torch.linalg.vector_norm(field.detach().cpu().double().flatten(2), dim=2)
        for field in (outputs, std)
    )
    shares: Tensor = (off / size.clamp(min=SMALLEST)).mean(1)
    return shares
