"""What a cheaper version of a solver takes over from it: everything but the solve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from opkit.base.arrays import Array
from opkit.solvers.interface import Coordinate, Fields, MovesNodes, Parametric


class _Full(MovesNodes, Parametric, Protocol):
    """A solver with numbers per sample and nodes of its own for each."""


F = TypeVar("F", bound=_Full)


@dataclass(frozen=True)
class AtNodesOf(Generic[F]):
    """A rung of `interface.Ladder`: its outputs lie at the nodes of the full solver.

    Inputs, numbers, coordinates and the residual are the full solver's; what derives
    from this adds ``solve``.

    Args:
        full: the full solver.
    """

    full: F

    def coordinates(self) -> Mapping[str, Coordinate]:
        """Those of the full solver."""
        return self.full.coordinates()

    def parameters(self) -> Mapping[str, tuple[int, ...]]:
        """Those of the full solver."""
        return self.full.parameters()

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw what the full solver draws."""
        return self.full.sample(rng)

    def points(self, inputs: Fields) -> Array:
        """Nodes of the full solver (batch, y, x, 2)."""
        return self.full.points(inputs)

    def residual(self, inputs: Fields, outputs: Fields) -> Array:
        """That of the full solver."""
        return self.full.residual(inputs, outputs)
