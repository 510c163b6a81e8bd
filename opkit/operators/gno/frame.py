"""Places of points, in one scale, as kernels see them.

    x_k = u_k l_k,   on a periodic axis (cos 2πu_k, sin 2πu_k) l_k / 2π

with u in the unit box of the domain and l_k the length of axis k over the greatest, so
that a radius is a part of the greatest length, and near points of a periodic axis are
as far apart as on the circle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from opkit.errors import OpkitInputError
from opkit.operators.inputs import Inputs
from opkit.operators.layers.grids import coordinates
from opkit.operators.layers.nodes import Nodes
from opkit.operators.shapes import DataShape, MeshShape


class Frame(nn.Module):
    """Turns places of a grid, a mesh or a cloud into those that kernels see.

    Args:
        data: grid, mesh or points.
    """

    low: Tensor
    size: Tensor

    def __init__(self, data: DataShape | MeshShape) -> None:
        super().__init__()
        self.data, self.nodes = data, Nodes(data)
        self.own = bool(data.point_axes)
        self.on_grid = not self.own and isinstance(data, DataShape)
        self.periodic = data.periodic if self.on_grid else (False,) * self.nodes.axes
        size = torch.tensor(data.extent if self.on_grid else (1.0,) * self.axes)
        self.register_buffer("low", torch.zeros(self.axes))
        self.register_buffer("size", size.float())
        if isinstance(data, MeshShape):
            self.bound(torch.from_numpy(data.points).float())

    @property
    def axes(self) -> int:
        """Axes of the domain."""
        return len(self.periodic)

    @property
    def columns(self) -> int:
        """Numbers of a place, two where an axis is periodic."""
        return self.axes + sum(self.periodic)

    def bound(self, points: Tensor) -> None:
        """Take the bounding box of points (..., axis) for the domain."""
        flat = points.flatten(0, -2)
        low, size = flat.amin(0), flat.amax(0) - flat.amin(0)
        self.low.copy_(low)
        self.size.copy_(torch.where(size > 0, size, size.max().clamp(min=1e-12)))

    def learn(self, samples: Mapping[str, Tensor], name: str) -> None:
        """Take the bounding box of the training points, where samples have their own.

        Raises:
            OpkitInputError: the samples hold no points.
        """
        if not self.own:
            return
        if "points" not in samples:
            raise OpkitInputError(
                f"{name} was built for points of each sample, the training samples "
                "hold none"
            )
        self.bound(samples["points"])

    def unit(self, inputs: Inputs, space: Sequence[int]) -> Tensor:
        """Return points (batch or 1, point, axis) in the unit box of the domain.

        Args:
            inputs: hold points where samples have their own.
            space: axes of the fields on nodes.

        Raises:
            OpkitInputError: points are missing, or are not those of the fields.
        """
        if self.on_grid:
            grid = coordinates(space, self.periodic, like=inputs.fields)
            return grid.flatten(1).T[None]
        return self.to_unit(self.nodes.places(inputs, space))

    def to_unit(self, points: Tensor) -> Tensor:
        """Return points (..., axis) in their own units in the unit box."""
        return (points - self.low.to(points)) / self.size.to(points)

    def embed(self, unit: Tensor) -> Tensor:
        """Return places (..., column) as kernels see them of points in the unit box."""
        lengths = (self.size / self.size.max()).to(unit)
        columns = []
        for k, wraps in enumerate(self.periodic):
            if wraps:
                angle = 2 * torch.pi * unit[..., k]
                radius = lengths[k] / (2 * torch.pi)
                columns += [angle.cos() * radius, angle.sin() * radius]
            else:
                columns.append(unit[..., k] * lengths[k])
        return torch.stack(columns, -1)
