"""MIONet: a branch network for each input function, multiplied with one another.

    u_c(y) = Σ_{k=1}^{p} Π_i b^i_{c,k}(a_i) t_k(y) + β_c

Each input channel a_i has a branch of its own, and all numbers of a sample together
have one more. With a single branch it is DeepONet.

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
from opkit.operators.layers.convolutions import mlp
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
        geometries=("grid",), dimensions=(1, 2, 3), parameters=True, needs_fields=False
    )

    class Options(DeepONet.Options):
        """Options of MIONet."""

    def __init__(self, data: DataShape, options: Options) -> None:
        super().__init__()
        self.periodic, self.out_channels = data.periodic, data.out_channels
        self.numbers = data.parameters
        sensors = sensor_grid(data.shape, options.sensors)
        functions = [(1, 0)] * data.in_channels
        functions += [(0, data.parameters)] if data.parameters else []
        self.branches = nn.ModuleList(
            Branch(
                channels,
                sensors,
                data.periodic,
                options.branch,
                options.branch_widths,
                data.out_channels * options.n_basis,
                parameters,
            )
            for channels, parameters in functions
        )
        features = sum(2 if wraps else 1 for wraps in data.periodic)
        self.trunk = mlp((features, *options.trunk_widths, options.n_basis))
        self.bias = nn.Parameter(torch.zeros(data.out_channels))

    def forward(self, inputs: Inputs, points: Tensor | None = None) -> Tensor:
        """Map (batch, in_channel, *space) to (batch, out_channel, *places).

        Args:
            inputs: input functions on a grid, and numbers per sample.
            points: (dimension, *places) in the unit cube; that grid if None.
        """
        x = inputs.fields
        if points is None:
            points = coordinates(x.shape[2:], self.periodic, like=x)
        product: Tensor | None = None
        for k, branch in enumerate(self.branches):
            if k < x.shape[1]:
                factor = branch(x[:, k : k + 1])
            else:
                factor = branch(x[:, :0], inputs.need("parameters"))
            product = factor if product is None else product * factor
        assert product is not None
        count = product.shape[1] // self.out_channels
        coefficients = product.view(len(x), self.out_channels, count)
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
