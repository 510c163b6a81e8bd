"""One source of randomness with a device and a precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Draw:
    """Random tensors from one generator, on its device.

    Args:
        generator: its state moves on with every draw.
        dtype: of uniform and normal numbers.
    """

    generator: torch.Generator
    dtype: torch.dtype = torch.float32

    @property
    def device(self) -> torch.device:
        """Where the tensors are made."""
        return self.generator.device

    @property
    def like(self) -> Tensor:
        """A zero of this device and precision."""
        return torch.zeros((), dtype=self.dtype, device=self.device)

    def uniform(self, *shape: int) -> Tensor:
        """Draw uniform numbers in [0, 1)."""
        return torch.rand(
            shape, generator=self.generator, dtype=self.dtype, device=self.device
        )

    def symmetric(self, *shape: int) -> Tensor:
        """Draw uniform numbers in [-1, 1)."""
        return 2 * self.uniform(*shape) - 1

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normal numbers."""
        return torch.randn(
            shape, generator=self.generator, dtype=self.dtype, device=self.device
        )

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Draw integers low to high - 1."""
        return torch.randint(
            low, high, shape, generator=self.generator, device=self.device
        )

    def choice(self, weights: Sequence[float], count: int) -> Tensor:
        """Draw indices with probabilities proportional to weights."""
        return torch.multinomial(
            torch.tensor(weights, device=self.device),
            count,
            replacement=True,
            generator=self.generator,
        )
