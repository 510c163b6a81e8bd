"""Places and quadrature weights of the points of a grid, a mesh, or a cloud.

For operators that sum over points. Weights sum to 1 in each sample: sums with them are
means over the domain, whatever the density of points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from opkit.base.arrays import Array
from opkit.elements.weights import NodeWeights
from opkit.errors import OpkitInputError
from opkit.operators.inputs import Inputs
from opkit.operators.layers.grids import coordinates
from opkit.operators.shapes import DataShape, MeshShape


class Nodes(nn.Module):
    """Where the points of samples lie, and how much of the domain each stands for.

    Nothing in it is trained or stored: it follows from the data's shape.

    Args:
        data: grid or mesh; with ``point_axes``, samples have points of their own.
    """

    points: Tensor
    weights: Tensor
    cells: Tensor
    shares: Tensor

    def __init__(self, data: DataShape | MeshShape) -> None:
        super().__init__()
        self.data = data
        points, weights = torch.zeros(0), torch.zeros(0)
        cells, shares = torch.zeros(0, dtype=torch.int64), torch.zeros(0)
        if isinstance(data, MeshShape):
            rule = NodeWeights(data.cells, *data.points.shape)
            points = torch.from_numpy(data.points).float()
            weights = torch.from_numpy(rule(data.points)).float()
            if data.on_cells:
                cells, shares = _cells_of_nodes(data, rule.volumes(data.points))
        buffers = {
            "points": points,
            "weights": weights,
            "cells": cells,
            "shares": shares,
        }
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer, persistent=False)

    @property
    def axes(self) -> int:
        """Numbers that say where a point is."""
        if self.data.point_axes:
            return self.data.point_axes
        if isinstance(self.data, MeshShape):
            return self.points.shape[-1]
        return sum(2 if closed else 1 for closed in self.data.periodic)

    def on_nodes(self, fields: Tensor) -> Tensor:
        """Return fields (batch, channel, *space) on nodes: means of the cells around.

        Raises:
            OpkitInputError: another number of cells than the mesh has.
        """
        if not len(self.cells):
            return fields
        assert isinstance(self.data, MeshShape)
        self.data.refuse(tuple(fields.shape[2:]))
        around = fields[:, :, self.cells]
        return (around * self.shares.to(fields)).sum(-1)

    def places(self, inputs: Inputs, space: Sequence[int]) -> Tensor:
        """Return where points are, (batch or 1, point, axis).

        Points of samples and meshes in their own units; of a grid in [-1, 1], on
        periodic axes cosine and sine.

        Args:
            inputs: hold points where samples have their own.
            space: axes of the fields on nodes.

        Raises:
            OpkitInputError: points are missing, or are not those of the fields.
        """
        data = self.data
        if data.point_axes:
            points = inputs.need("points")
            if tuple(points.shape[1:]) != (*space, data.point_axes):
                raise OpkitInputError(
                    f"points have shape {tuple(points.shape)}, the fields lie on "
                    f"{list(space)}: give points (batch, *space, {data.point_axes})"
                )
            return points.flatten(1, -2)
        if isinstance(data, MeshShape):
            return self.points.to(inputs.fields)[None]
        grid = coordinates(space, data.periodic, like=inputs.fields).flatten(1)
        columns = []
        for axis, closed in zip(grid, data.periodic, strict=True):
            angle = 2 * torch.pi * axis
            columns += [angle.cos(), angle.sin()] if closed else [2 * axis - 1]
        return torch.stack(columns, 1)[None]

    def quadrature(
        self, inputs: Inputs, space: Sequence[int], counts: list[int] | None
    ) -> Tensor:
        """Return weights of the points (batch or 1, point) that sum to 1 in a sample.

        Those of the inputs where they hold any; else those of the mesh, or of the
        trapezoidal rule of the grid; equal ones for a cloud.

        Args:
            inputs: of the batch.
            space: axes of the fields on nodes.
            counts: points of each sample of a ragged batch.

        """
        quadrature = inputs.weights
        weights = (
            self._own(space, inputs.fields)
            if quadrature is None
            else quadrature.flatten(1)
        )
        if counts is None:
            return weights / weights.sum(1, keepdim=True)
        parts = torch.split(weights, counts, 1)
        return torch.cat([part / part.sum(1, keepdim=True) for part in parts], 1)

    def _own(self, space: Sequence[int], like: Tensor) -> Tensor:
        data = self.data
        if isinstance(data, MeshShape) and tuple(space) == tuple(self.weights.shape):
            return self.weights.to(like)[None]
        cloud = data.point_axes and len(space) == 1  # an axis without an order
        if isinstance(data, MeshShape) or cloud or len(space) != len(data.shape):
            return like.new_ones(1, math.prod(space))
        weights = like.new_ones(1)
        for n, closed in zip(space, data.periodic, strict=True):
            axis = like.new_ones(n)
            if not closed and n > 1:
                axis[[0, -1]] = 0.5
            weights = torch.outer(weights, axis).flatten()
        return weights[None]


def counts_of(inputs: Inputs) -> list[int] | None:
    """Return how many points each sample of a ragged batch has; None for others."""
    if inputs.sample is None:
        return None
    return torch.bincount(inputs.sample).tolist()


def _cells_of_nodes(data: MeshShape, sizes: Array) -> tuple[Tensor, Tensor]:
    """Cells around each node (node, most), and the share of each in the mean."""
    corners, nodes = data.cells.shape[1], len(data.points)
    order = np.argsort(data.cells.ravel(), kind="stable")
    node, cell = data.cells.ravel()[order], order // corners
    count = np.bincount(node, minlength=nodes)
    place = np.arange(len(node)) - np.repeat(np.cumsum(count) - count, count)
    cells = np.zeros((nodes, int(count.max())), np.int64)
    shares = np.zeros(cells.shape)
    cells[node, place], shares[node, place] = cell, sizes[cell]
    shares /= shares.sum(1, keepdims=True)
    return torch.from_numpy(cells), torch.from_numpy(shares).float()
