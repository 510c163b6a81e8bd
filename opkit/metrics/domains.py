"""Domains of fields: what norms and derivatives are taken with."""

from __future__ import annotations

from collections.abc import Sequence
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

    def centred(self, u: Tensor) -> Tensor:
        """Return u less its mean."""
        return u - self.mean(u)

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


class Points:
    """Points with quadrature weights, which differ from sample to sample.

    Means are Σ_i w_i u_i / Σ_i w_i over the points of a sample.

    Args:
        weights: (batch, *space); of samples laid one after another (1, N).
        sample: (N,) which sample of the batch each of the N points belongs to; None
            where samples lie side by side.
    """

    def __init__(self, weights: Tensor, sample: Tensor | None = None) -> None:
        self.sample = sample
        flat = weights.flatten(1)
        self.count = len(flat) if sample is None else int(sample.max()) + 1
        total = self._sum(flat[:, None])
        self.share = flat / self._spread(total)[:, 0]

    @property
    def in_a_row(self) -> int:
        """How many samples lie one after another; 1 where they lie side by side."""
        return 1 if self.sample is None else self.count

    def mean_square(self, u: Tensor) -> Tensor:
        """Return the mean of u² of (batch, channel, *space) as (batch, channel)."""
        return self._sum(u.flatten(2).square() * self.share.to(u)[:, None])

    def centred(self, u: Tensor) -> Tensor:
        """Return u less its mean over the points of its sample."""
        flat = u.flatten(2)
        mean = self._sum(flat * self.share.to(u)[:, None])
        return (flat - self._spread(mean)).view(u.shape)

    def _sum(self, terms: Tensor) -> Tensor:
        """Sum (batch or 1, channel, point) over the points of each sample."""
        if self.sample is None:
            return terms.sum(2)
        sums = terms.new_zeros(self.count, terms.shape[1])
        return sums.index_add(0, self.sample, terms[0].T)

    def _spread(self, values: Tensor) -> Tensor:
        """Return values (batch, channel) at the points of their samples."""
        if self.sample is None:
            return values[:, :, None]
        return values[self.sample].T[None]


class Packed:
    """Outputs of several kinds, laid one after another (batch, 1, value).

    Args:
        sizes: values of each channel of the fields, then of each further output: 1 of
            a number, more of a function of time.
        fields: how many of them are channels of fields.
        scales: root mean square of each over the training samples, (entry,).
    """

    def __init__(self, sizes: Sequence[int], fields: int, scales: Tensor) -> None:
        self.sizes, self.fields, self.scales = list(sizes), fields, scales
        self.ragged = False
        self.points: Points | None = None

    def on(self, points: Points | None) -> Packed:
        """Return the same for samples of any number of points.

        Args:
            points: weights of those of a batch, and which sample each belongs to where
                samples lie one after another: fields first, then what is none of each
                sample. None where each point counts as much as another.
        """
        other = Packed(self.sizes, self.fields, self.scales)
        other.ragged, other.points = True, points
        return other

    def parts(self, u: Tensor) -> list[Tensor]:
        """Return (batch, 1, value) as (batch, value of the entry) by entry.

        Of samples one after another the fields are (1, N).
        """
        if not self.ragged:
            return list(torch.split(u[:, 0], self.sizes, 1))
        samples = 1 if self.points is None else self.points.in_a_row
        others = self.sizes[self.fields :]
        nodes = u.shape[2] - samples * sum(others)
        fields, read = u[:, 0].tensor_split([nodes], 1)
        each = torch.chunk(fields, self.fields, 1)
        return [*each, *torch.split(read.reshape(-1, sum(others)), others, 1)]

    def weights(self, entry: int) -> Points | None:
        """Return what means of an entry over its values are taken with."""
        return self.points if entry < self.fields else None

    def floor(self, entry: int) -> float:
        """Return the least root mean square that an error is related to.

        0 of fields; of a series 1 % of the training samples'. Errors of a number are
        related to the training samples' alone: it may be close to 0 in a sample.
        """
        if entry < self.fields:
            return 0.0
        scale = float(self.scales[entry])
        return scale if self.is_number(entry) else QUIET * scale

    def is_number(self, entry: int) -> bool:
        """Whether an entry is one number, which errors are not related to itself."""
        return entry >= self.fields and self.sizes[entry] == 1


QUIET = 0.01
"""Part of its usual size that a series counts as having at least."""
Domain = Grid | Elements | Points | Packed
