"""DeepONet: a branch network for the input function, a trunk network for the place.

    u_c(y) = Σ_{k=1}^{p} b_{c,k}(a(x_1), ..., a(x_m)) t_k(y) + β_c

Reference: Lu et al., Nature Machine Intelligence 3, 218-229 (2021), arXiv:1910.03193.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from opkit.operators import interface
from opkit.operators.deeponet.branch import Branch, sensor_grid
from opkit.operators.inputs import Inputs
from opkit.operators.interface import Accepts, Operator
from opkit.operators.layers.activations import Activation, coordinate_mlp
from opkit.operators.layers.grids import coordinates
from opkit.operators.shapes import DataShape

Positive = Annotated[int, Field(ge=1)]


class BranchOptions(interface.Options):
    """Options of the branch network."""

    branch: Literal["mlp", "cnn", "sandwich"] = "mlp"
    branch_widths: tuple[Positive, ...] = (256, 256)
    branch_bound: float = Field(
        default=10.0,
        gt=0,
        description="Lipschitz constant of branch=sandwich: norm of the change of the "
        "coefficients over the root mean square of that of the normalised input",
    )
    sensors: tuple[Positive, ...] | None = Field(
        default=None, description="grid of sensors; the data's grid unless given"
    )


class DeepONet(Operator):
    """DeepONet on a grid in one, two or three dimensions; the answer at any points.

    Args:
        data: channels, grid and periodicity of the data.
        options: sizes; see `DeepONet.Options`.

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

    class Options(BranchOptions):
        """Options of DeepONet."""

        n_basis: int = Field(default=128, ge=1, description="p")
        trunk_widths: tuple[Positive, ...] = (128, 128, 128)
        trunk_activation: Activation = Field(
            default="gelu",
            description="of the trunk network; sine for waves",
        )

    def __init__(self, data: DataShape, options: Options) -> None:
        super().__init__()
        self.periodic, self.out_channels = data.periodic, data.out_channels
        self.shape, self.readouts = data.shape, sum(data.readouts)
        self.branch = Branch(
            data.in_channels,
            sensor_grid(data.shape, options.sensors),
            data.periodic,
            options.branch,
            options.branch_widths,
            options.branch_bound,
            data.out_channels * options.n_basis + sum(data.readouts),
            data.numbers,
        )
        features = sum(2 if wraps else 1 for wraps in data.periodic)
        widths = (features, *options.trunk_widths, options.n_basis)
        self.trunk = coordinate_mlp(widths, options.trunk_activation)
        self.bias = nn.Parameter(torch.zeros(data.out_channels))

    def forward(self, inputs: Inputs, points: Tensor | None = None) -> Tensor:
        """Map (batch, in_channel, *space) to (batch, out_channel, *places).

        What is no field is further outputs of the branch network.

        Args:
            inputs: input function on a grid, numbers and series.
            points: (dimension, *places) in the unit cube; that grid if None.
        """
        x = inputs.fields
        if points is None:
            points = coordinates(x.shape[2:], self.periodic, like=x)
        coefficients = self.branch(x, inputs.numbers)
        if self.readouts:
            end = coefficients.shape[1] - self.readouts
            coefficients, readouts = coefficients.tensor_split([end], 1)
            fields = [self._fields(coefficients, points)] if self.out_channels else []
            parts = [*(field.flatten(1) for field in fields), readouts]
            return torch.cat(parts, 1)[:, None]
        return self._fields(coefficients, points)

    def _fields(self, coefficients: Tensor, points: Tensor) -> Tensor:
        """Sum over the basis (batch, out_channel, *places)."""
        count = coefficients.shape[1] // self.out_channels
        shape = (coefficients.shape[0], self.out_channels, count)
        coefficients = coefficients.reshape(shape)
        basis = self._basis(points)
        # b and t have entries of order one: 1/√p keeps the sum so
        scale = 1 / math.sqrt(len(basis))
        values = torch.einsum("bck,kn->bcn", coefficients, basis.flatten(1)) * scale
        values = values + self.bias[:, None]
        return values.reshape(*values.shape[:2], *points.shape[1:])

    def _basis(self, points: Tensor) -> Tensor:
        """Return t_k at points (dimension, *places), (basis, *places)."""
        basis: Tensor = self.trunk(trunk_features(points, self.periodic).movedim(0, -1))
        return basis.movedim(-1, 0)

    @torch.no_grad()
    def gain(self) -> float:
        """Lipschitz constant from a field on the training grid to the answer on it."""
        like = self.bias
        points = coordinates(self.shape, self.periodic, like=like)
        basis = self._basis(points).flatten(1)
        norm = torch.linalg.matrix_norm(basis, 2) / math.sqrt(len(basis))
        return self.branch.gain(self.shape) * float(norm)

    def at(self, inputs: Inputs, points: Tensor) -> Tensor:
        """Answer at points (point, axis) in the unit cube, (batch, channel, point)."""
        return self.forward(inputs, points.to(inputs.fields).T)


def trunk_features(points: Tensor, periodic: Sequence[bool]) -> Tensor:
    """Coordinates in [-1, 1]; cosine and sine of them where an axis is periodic."""
    features = []
    for point, wraps in zip(points, periodic, strict=True):
        if wraps:
            angle = 2 * torch.pi * point
            features += [angle.cos(), angle.sin()]
        else:
            features.append(2 * point - 1)
    return torch.stack(features)
