"""A solution as a sum of small networks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from opkit.operators.hypino.target import Target


@dataclass(frozen=True)
class Ensemble:
    """u = Σ scale_k · network_k.

    Args:
        members: target networks of batch 1.
        scales: one factor a member.
    """

    members: tuple[Target, ...]
    scales: tuple[float, ...]

    def jet(self, points: Tensor) -> Tensor:
        """Jets (5, batch, point) at points (batch, point, 2)."""
        total = points.new_zeros(5, *points.shape[:2])
        for member, scale in zip(self.members, self.scales, strict=True):
            total = total + scale * member.jet(points)
        return total

    def value(self, points: Tensor) -> Tensor:
        """Values (batch, point)."""
        total = points.new_zeros(points.shape[:2])
        for member, scale in zip(self.members, self.scales, strict=True):
            total = total + scale * member.value(points)
        return total
