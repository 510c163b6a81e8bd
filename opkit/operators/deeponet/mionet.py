"""MIONet: a branch network for each input function, multiplied with one another.

    u_c(y) = Σ_{k=1}^{p} Π_i b^i_{c,k}(a_i) t_k(y) + β_c

Each input channel a_i and each function of time has a branch of its own, and all
numbers of a sample together have one more. With a single branch it is DeepONet. Outputs
that are no fields are a linear map of the product of the branches.

Reference: Jin, Meng, Lu, SIAM J. Sci. Comput. 44, A3490-A3514 (2022), arXiv:2202.06137.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from opkit.operators.deeponet.branch import Branch, sensor_grid
from opkit.operators.deeponet.deeponet import DeepONet, trunk_features
from opkit.operators.inputs import Inputs
from opkit.operators.interface import Accepts, Operator
from opkit.operators.layers.activations import coordinate_mlp
from opkit.operators.layers.grids import coordinates
from opkit.operators.shapes import DataShape


class MIONet(Operator):
    """Multiple-input operator network on a grid in one, two or three dimensions.

    Args:
        data: channels, grid, periodicity and numbers per sample.
        options: sizes, those of DeepONet; see `MIONet.Options`.

    Raises:
        OpkitInputError: the sensors do not fit the grid.
    """

    accepts: ClassVar[Accepts] = Accepts(
        geometries=("grid",),
        dimensions=(1, 2, 3),
        parameters=True,
        needs_fields=False,
        series=True,
        readouts=True,
    )

    class Options(DeepONet.Options):
        """Options of MIONet."""

    def __init__(self, data: DataShape, options: Options) -> None:
        super().__init__()
        self.periodic, self.out_channels = data.periodic, data.out_channels
        self.numbers, self.readouts = data.parameters, sum(data.readouts)
        width = max(data.out_channels, 1) * options.n_basis
        sensors = sensor_grid(data.shape, options.sensors)
        functions = [(1, 0)] * data.in_channels
        functions += [(0, data.parameters)] if data.parameters else []
        functions += [(0, data.times)] * data.series
        self.branches = nn.ModuleList(
            Branch(
                channels,
                sensors,
                data.periodic,
                options.branch,
                options.branch_widths,
                options.branch_bound,
                width,
                parameters,
            )
            for channels, parameters in functions
        )
        features = sum(2 if wraps else 1 for wraps in data.periodic)
        widths = (features, *options.trunk_widths, options.n_basis)
        self.trunk = coordinate_mlp(widths, options.trunk_activation)
        self.bias = nn.Parameter(torch.zeros(data.out_channels))
        self.head = nn.Linear(width, self.readouts) if self.readouts else None

    def forward(self, inputs: Inputs, points: Tensor | None = None) -> Tensor:
        """Map (batch, in_channel, *space) to (batch, out_channel, *places).

        Args:
            inputs: input functions on a grid or in time, and numbers per sample.
            points: (dimension, *places) in the unit cube; that grid if None.
        """
        x = inputs.fields
        if points is None:
            points = coordinates(x.shape[2:], self.periodic, like=x)
        given: list[tuple[Tensor, Tensor | None]] = [
            (x[:, k : k + 1], None) for k in range(x.shape[1])
        ]
        if self.numbers:
            given.append((x[:, :0], inputs.need("parameters")))
        if inputs.series is not None:
            given += [(x[:, :0], function) for function in inputs.series.unbind(1)]
        product: Tensor | None = None
        for branch, (field, numbers) in zip(self.branches, given, strict=True):
            factor = branch(field, numbers)
            product = factor if product is None else product * factor
        assert product is not None
        if self.head is not None:
            fields = [self._fields(product, points)] if self.out_channels else []
            parts = [*(field.flatten(1) for field in fields), self.head(product)]
            return torch.cat(parts, 1)[:, None]
        return self._fields(product, points)

    def _fields(self, product: Tensor, points: Tensor) -> Tensor:
        """Sum over the basis (batch, out_channel, *places)."""
        count = product.shape[1] // self.out_channels
        coefficients = product.reshape(product.shape[0], self.out_channels, count)
        basis = self.trunk(trunk_features(points, self.periodic).movedim(0, -1))
        basis = basis.movedim(-1, 0)
        # as in DeepONet, 1/√p keeps the sum of order one
        scale = 1 / math.sqrt(len(basis))
        values = torch.einsum("bck,kn->bcn", coefficients, basis.flatten(1)) * scale
        values = values + self.bias[:, None]
        return values.reshape(*values.shape[:2], *points.shape[1:])

    def at(self, inputs: Inputs, points: Tensor) -> Tensor:
        """Answer at points (point, axis) in the unit cube, (batch, channel, point)."""
        return self.forward(inputs, points.to(inputs.fields).T)
