"""Transolver: layers of physics attention on the points of a grid, mesh or cloud.

    h⁰ = P(x, a(x), θ) + e,   h ← h + A(LN h),  h ← h + M(LN h),   u = Q(LN h),

A is attention among slices (`attention`), all else acts on single points: P, M and Q
are small networks of the place x, the fields a and the numbers θ of the sample. Any
points do, in any order; with quadrature weights the answer does not drift with their
density. Source: Wu et al., ICML 2024, arXiv:2402.02366. Quadrature weights are not
theirs, and linear layers start as torch's do, not within 0.02: they learn faster so.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from opkit.errors import OpkitInputError
from opkit.operators import interface
from opkit.operators.inputs import Inputs
from opkit.operators.interface import Accepts, Operator
from opkit.operators.layers.nodes import Nodes, counts_of
from opkit.operators.layers.whole_samples import Conditions, channels_of, readout
from opkit.operators.shapes import DataShape, MeshShape
from opkit.operators.transolver.attention import PhysicsAttention


class Block(nn.Module):
    """Attention and a pointwise network, each added to its input.

    Args:
        width: features of a point.
        heads: of the attention.
        slices: of each head.
        ratio: hidden width of the network over ``width``.
    """

    def __init__(self, width: int, heads: int, slices: int, ratio: float) -> None:
        super().__init__()
        self.before = nn.LayerNorm(width)
        self.attention = PhysicsAttention(width, heads, slices)
        self.between = nn.LayerNorm(width)
        hidden = round(ratio * width)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)
        )

    def forward(
        self, x: Tensor, weights: Tensor | None, counts: list[int] | None
    ) -> Tensor:
        """Map (batch, point, width) to the same; see `PhysicsAttention`."""
        x = x + self.attention(self.before(x), weights, counts)
        result: Tensor = x + self.mlp(self.between(x))
        return result


class Transolver(Operator):
    """Transolver on grids, mapped grids, meshes, and clouds of any number of points.

    Points are scaled to [-1, 1] along each axis by the bounding box of the mesh, or of
    the training samples where each has its own. On a grid without points of its own
    they are those of the unit box, on periodic axes sine and cosine.

    Args:
        data: channels, and grid, mesh or points.
        options: sizes; see `Transolver.Options`.
    """

    accepts: ClassVar[Accepts] = Accepts(
        geometries=("grid", "mesh"),
        dimensions=(1, 2, 3),
        parameters=True,
        needs_fields=False,
        points=True,
        ragged=True,
        series=True,
        readouts=True,
    )
    low: Tensor
    size: Tensor

    class Options(interface.Options):
        """Options of Transolver; the defaults are for a CPU."""

        hidden_channels: int = Field(default=64, ge=1, description="multiple of heads")
        n_layers: int = Field(default=4, ge=1)
        n_heads: int = Field(default=4, ge=1)
        n_slices: int = Field(default=32, ge=1, description="slices of each head")
        mlp_ratio: float = Field(default=1.0, gt=0, description="hidden over features")
        weights: bool = Field(
            default=True, description="quadrature weights in the sums; False: published"
        )

        @model_validator(mode="after")
        def _heads_divide(self) -> Transolver.Options:
            if self.hidden_channels % self.n_heads:
                raise ValueError(
                    f"hidden_channels {self.hidden_channels} is not a multiple of "
                    f"n_heads {self.n_heads}: use {self.n_heads}, {2 * self.n_heads}, "
                    "..."
                )
            return self

    def __init__(self, data: DataShape | MeshShape, options: Options) -> None:
        super().__init__()
        self.options, self.data = options, data
        self.nodes = Nodes(data)
        axes = self.nodes.axes
        self.register_buffer("low", torch.full((axes,), -1.0))
        self.register_buffer("size", torch.full((axes,), 2.0))
        if isinstance(data, MeshShape):
            self._bound(torch.from_numpy(data.points).float())
        width = options.hidden_channels
        self.conditions = Conditions(data)
        features = axes + data.in_channels + self.conditions.count
        self.lifting = nn.Sequential(
            nn.Linear(features, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.placeholder = nn.Parameter(torch.rand(width) / width)
        self.blocks = nn.ModuleList(
            Block(width, options.n_heads, options.n_slices, options.mlp_ratio)
            for _ in range(options.n_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, channels_of(data))
        self.readout = readout(data)
        for block in self.blocks:
            assert isinstance(block, Block)
            block.attention.reset()

    def prepare(self, samples: Mapping[str, Tensor]) -> None:
        """Take the bounding box of all training points, where samples have their own.

        Raises:
            OpkitInputError: the samples hold no points.
        """
        if not self.data.point_axes:
            return
        if "points" not in samples:
            raise OpkitInputError(
                "transolver was built for points of each sample, the training samples "
                "hold none"
            )
        self._bound(samples["points"])

    def forward(self, inputs: Inputs) -> Tensor:
        """Map (batch, in_channel, *space) to (batch, out_channel, *space).

        Of a ragged batch (1, in_channel, node) to (1, out_channel, node).

        Args:
            inputs: fields; numbers per sample; points (batch, *space, d) where each
                sample has its own, and their quadrature weights (batch, *space).

        Raises:
            OpkitInputError: points are missing, or lie on other axes.
        """
        fields = self.nodes.on_nodes(inputs.fields)
        space, counts = tuple(fields.shape[2:]), counts_of(inputs)
        places = 2 * (self.nodes.places(inputs, space) - self.low) / self.size - 1
        columns = fields.flatten(2).transpose(1, 2)
        parts = [places.expand(fields.shape[0], -1, -1), columns]
        if self.conditions.count:
            numbers = self.conditions(inputs)
            if inputs.sample is None:
                numbers = numbers[:, None].expand(-1, columns.shape[1], -1)
            else:
                numbers = numbers[inputs.sample][None]
            parts.append(numbers)
        x = self.lifting(torch.cat(parts, 2)) + self.placeholder
        weights = None
        if self.options.weights:
            weights = self.nodes.quadrature(inputs, space, counts)
        for block in self.blocks:
            x = block(x, weights, counts)
        u: Tensor = self.projection(self.norm(x)).transpose(1, 2)
        if self.readout is not None:
            means = self.nodes.quadrature(inputs, space, counts)
            read: Tensor = self.readout(u, means, counts)
            return read
        return u.reshape(*u.shape[:2], *space)

    def on(self, data: MeshShape) -> Transolver:
        """Return this operator on another mesh: the same weights and bounding box.

        Raises:
            OpkitInputError: other channels, places of the inputs, or axes.
        """
        mine = self.data
        if not isinstance(mine, MeshShape) or not data.exchanges_with(mine):
            raise OpkitInputError(
                "the other mesh has other channels or axes than the one trained on: "
                "give one with the same inputs and outputs"
            )
        other = copy.copy(self)
        other._modules = dict(self._modules)
        other.data, other.nodes = data, Nodes(data).to(self.low.device)
        return other

    def _bound(self, points: Tensor) -> None:
        """Set the bounding box of points (..., axis)."""
        flat = points.flatten(0, -2)
        low, size = flat.amin(0), flat.amax(0) - flat.amin(0)
        self.low.copy_(low)
        self.size.copy_(torch.where(size > 0, size, 1.0))
