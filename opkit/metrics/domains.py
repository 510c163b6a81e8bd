"""Domains of fields: what norms and derivatives are taken with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opkit import elements


@dataclass(frozen=True)
class Grid:
    """Extent and periodicity of the axes, for errors that need derivatives."""

    extent: tuple[float, ...]
    periodic: tuple[bool, ...]

    def spacing(self, shape: tuple[int, ...]) -> list[float]:
        """Distance of grid points along each axis: L / n periodic, else L / (n - 1)."""
        return [
            length / (n if closed else n - 1)
            for length, n, closed in zip(self.extent, shape, self.periodic, strict=True)
        ]


class Elements:
    """Lagrange elements on a mesh, whose norms take the place of means over a grid.

    Args:
        points: (node, d) coordinates.
        cells: (cell, corner) indices into points.
    """

    def __init__(self, points: NDArray[np.float64], cells: NDArray[np.int64]) -> None:
        self.mass = elements.mass_matrix(points, cells)
        self.stiffness = elements.stiffness_matrix(points, cells)
        ones = torch.ones(len(points), 1, dtype=self.mass.dtype)
        self.volume = float((self.mass @ ones).sum())

    def mean_square(self, u: Tensor) -> Tensor:
        """Return ∫ u² / |Ω| of (batch, channel, node) as (batch, channel)."""
        return self._form("mass", u)

    def mean_square_slope(self, u: Tensor) -> Tensor:
        """Return ∫ |∇u|² / |Ω| of (batch, channel, node) as (batch, channel)."""
        return self._form("stiffness", u)

    def mean(self, u: Tensor) -> Tensor:
        """Return ∫ u / |Ω| of (batch, channel, node) as (batch, channel, 1)."""
        weights = self._matrix("mass", u) @ torch.ones_like(u[0, 0])[:, None]
        return u @ weights / self.volume

    def _form(self, name: str, u: Tensor) -> Tensor:
        columns = u.flatten(0, 1).T
        image = self._matrix(name, u) @ columns
        # rounding can leave a tiny negative number where u is almost zero
        value = (columns * image).sum(0).clamp_min(0) / self.volume
        return value.view(u.shape[:2])

    def _matrix(self, name: str, u: Tensor) -> Tensor:
        matrix: Tensor = getattr(self, name)
        if matrix.device != u.device or matrix.dtype != u.dtype:
            matrix = matrix.to(u.device, u.dtype)
            setattr(self, name, matrix)
        return matrix


Domain = Grid | Elements
