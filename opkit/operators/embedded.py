"""Grid operators on domains with boundary data: everything put on grid channels.

The data of a face go to the cell inside it; two smoothed copies carry them inwards.
A baseline for operators made for boundaries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from opkit.errors import OpkitInputError
from opkit.operators import interface
from opkit.operators.inputs import Inputs
from opkit.operators.interface import Accepts, Operator, build_operator, operator_class
from opkit.operators.layers.boundary_curve import (
    channel_order,
    check_curve,
    curve_of,
    face_cells,
    sizes,
)
from opkit.operators.shapes import DataShape

CHANNELS = 12


class Embedded(Operator):
    """An operator on grids, given domain and boundary data as fields.

    Beside source and mask, for Dirichlet and for Neumann faces each: their number in a
    cell, the sum of their values, of their values times each component of the normal,
    and the values extended over the whole domain by means that fall off with distance.
    The output is 0 outside.

    Args:
        data: grid, channels and boundary channels.
        options: the inner operator; see `Embedded.Options`.

    Raises:
        OpkitInputError: the inner operator does not take a grid of this kind.
    """

    accepts: ClassVar[Accepts] = Accepts(("boundary",), (2,), periodic=False)
    physical: ClassVar[bool] = True
    scales: Tensor

    class Options(interface.Options):
        """Which operator on grids, and its options."""

        operator: str = "fno"
        model: dict[str, Any] = Field(default={})

    def __init__(self, data: DataShape, options: Options) -> None:
        super().__init__()
        if "grid" not in operator_class(options.operator).accepts.geometries:
            raise OpkitInputError(
                f"embedded: {options.operator} takes no grids; choose fno or unet"
            )
        if data.in_channels != 2 or data.shape[0] != data.shape[1]:
            raise OpkitInputError(
                "embedded takes the fields source and inside on a square grid: see the "
                "case elliptic-boundary"
            )
        self.order = channel_order(data.boundary_channels)
        inner = replace(data, in_channels=CHANNELS, boundary_channels=())
        self.operator = build_operator(options.operator, inner, options.model)
        # of source, Dirichlet and Neumann values, potential
        self.register_buffer("scales", torch.ones(4))

    def prepare(self, samples: Mapping[str, Tensor]) -> None:
        """Take scales from all training samples; prepare the inner operator."""
        self.scales.copy_(sizes(samples, self.order))
        fields = self.embed(samples["inputs"], samples["boundary"])
        outputs = samples["outputs"] / self.scales[3]
        self.operator.prepare({"inputs": fields, "outputs": outputs})

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the potential (batch, out_channel, y, x), 0 outside the domain.

        Args:
            inputs: fields (batch, 2, y, x), source and inside, and boundary data
                (batch, channel, face).

        Raises:
            OpkitInputError: faces that are not the closed curve around the domain.
        """
        x, boundary = inputs.fields, inputs.need("boundary")
        check_curve(x[:, 1], curve_of(boundary, self.order))
        u: Tensor = self.operator(self.embed(x, boundary))
        return self.scales[3] * u * x[:, 1:]

    def embed(self, x: Tensor, boundary: Tensor) -> Tensor:
        """Put everything on (batch, 12, y, x), scaled."""
        source, inside = x.unbind(1)
        curve = curve_of(boundary, self.order)
        cells = x.shape[-1]
        row, column = face_cells(curve, cells)
        place = row * cells + column
        fields = [source / self.scales[0], inside]
        for neumann, scale in ((False, self.scales[1]), (True, self.scales[2])):
            here = curve.kind if neumann else 1 - curve.kind
            value = here * curve.value / scale
            parts = [here, value, value * curve.normal_x, value * curve.normal_y]
            grids = [_scatter(part, place, cells) for part in parts]
            fields += [*grids, _extend(grids[0], grids[1]) * inside]
        return torch.stack(fields, dim=1)


def _scatter(values: Tensor, place: Tensor, cells: int) -> Tensor:
    zero = values.new_zeros(values.shape[0], cells * cells)
    return zero.scatter_add(1, place, values).view(-1, cells, cells)


def _extend(count: Tensor, total: Tensor) -> Tensor:
    """Means of the values around, over windows that double: Σ w v / Σ w."""
    weight, value = count[:, None], total[:, None]
    near, sums = count[:, None], total[:, None]
    size = count.shape[-1]
    width = 1
    while width < size:
        width *= 2
        pad = width // 2
        # a window twice as wide counts a quarter as much
        weight, value = (
            F.avg_pool2d(part, 2 * pad + 1, 1, pad, count_include_pad=True)
            for part in (count[:, None], total[:, None])
        )
        near, sums = near + weight / width, sums + value / width
    return (sums / near.clamp(min=1e-12))[:, 0]
