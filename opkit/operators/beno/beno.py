"""BENO, the boundary-embedded neural operator for elliptic PDEs.

    Lap u = f in Ω,   u = g or ∂u/∂n = q on its boundary:   (Ω, f, g or q) ↦ u.

Two branches: f with zero boundary data, boundary data with zero f; u is their sum. By
default the network is linear in (f, g, q), with weights that are functions of Ω and of
the numbers of the sample, so that the branches are one pass; with ``parity`` it is the
published network, which takes no numbers.

Source: Wang et al., ICLR 2024, arXiv:2401.09323.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from opkit.errors import OpkitInputError
from opkit.operators import interface
from opkit.operators.beno.linear import LinearBENO
from opkit.operators.beno.published import PublishedBENO
from opkit.operators.inputs import Inputs
from opkit.operators.interface import Accepts, Operator
from opkit.operators.layers.boundary_curve import (
    channel_order,
    check_curve,
    curve_of,
    sizes,
)
from opkit.operators.layers.whole_samples import Conditions
from opkit.operators.shapes import DataShape
from opkit.pde.boundary_curve import CURVE


class BENO(Operator):
    """Map source, domain and boundary data to the potential; see the module.

    Args:
        data: channels ``source`` and ``inside`` on square cells, and the six boundary
            channels in any order.
        options: sizes; see `BENO.Options`.

    Raises:
        OpkitInputError: other channels, or a grid that is not square.
    """

    accepts: ClassVar[Accepts] = Accepts(
        ("boundary",), (2,), periodic=False, parameters=True, series=True
    )
    physical: ClassVar[bool] = True
    scales: Tensor

    class Options(interface.Options):
        """Options of BENO; published values: 128, 10, 3 and 2 with ``parity``."""

        parity: bool = Field(default=False, description="the published network")
        hidden_channels: int = Field(default=32, ge=1)
        n_layers: int = Field(
            default=2, ge=1, description="V-cycles; message-passing layers with parity"
        )
        transformer_layers: int = Field(default=2, ge=1)
        n_heads: int = Field(default=4, ge=1)
        levels: int = Field(default=5, ge=1, description="nested grids; 1 with parity")
        mlp_layers: int = Field(default=3, ge=1, description="hidden layers, parity")

    def __init__(self, data: DataShape, options: Options) -> None:
        super().__init__()
        if data.in_channels != 2:
            raise OpkitInputError(
                f"BENO takes the fields source and inside, not {data.in_channels}: "
                "see the case elliptic-boundary"
            )
        if data.shape[0] != data.shape[1]:
            raise OpkitInputError(f"BENO takes square grids, not {list(data.shape)}")
        if options.hidden_channels % options.n_heads:
            raise OpkitInputError(
                f"model.hidden_channels {options.hidden_channels} is not a multiple of "
                f"model.n_heads {options.n_heads}"
            )
        self.order = channel_order(data.boundary_channels)
        self.cells = data.shape[0]
        self.published: PublishedBENO | None = None
        self.conditions = Conditions(data)
        if options.parity and self.conditions.count:
            raise OpkitInputError(
                "BENO as published takes no numbers or series per sample: leave "
                "model.parity at false"
            )
        if options.parity:
            self.published = PublishedBENO(
                data.out_channels,
                options.hidden_channels,
                options.n_layers,
                options.mlp_layers,
                options.transformer_layers,
                options.n_heads,
            )
            return
        self.network = LinearBENO(
            data.out_channels,
            options.hidden_channels,
            options.hidden_channels,
            options.levels,
            options.n_layers,
            options.transformer_layers,
            options.n_heads,
            self.conditions.count,
        )
        # of f, of g, of q, and of u; no means, so that zero stays zero
        self.register_buffer("scales", torch.ones(4))

    def prepare(self, samples: Mapping[str, Tensor]) -> None:
        """Take scales from all training samples, by role, in physical units."""
        if self.published is None:
            self.scales.copy_(sizes(samples, self.order))
            return
        source, inside = samples["inputs"].unbind(1)
        curve = curve_of(samples["boundary"], self.order)
        self.published.fit(source, inside, curve, samples["outputs"])

    def forward(self, inputs: Inputs) -> Tensor:
        """Return the potential (batch, out_channel, y, x), 0 outside the domain.

        Args:
            inputs: fields (batch, 2, y, x), source and inside, and boundary data
                (batch, channel, face).

        Raises:
            OpkitInputError: another grid than it was built for, or faces that are not
                the closed curve around the domain.
        """
        x, boundary = inputs.fields, inputs.need("boundary")
        if tuple(x.shape[2:]) != (self.cells, self.cells):
            raise OpkitInputError(
                f"BENO was built for {self.cells} by {self.cells} cells, not "
                f"{x.shape[2]} by {x.shape[3]}: its messages go from cell to cell, so "
                "train it on that grid"
            )
        source, inside = x.unbind(1)
        curve = curve_of(boundary, self.order)
        check_curve(inside, curve)
        if self.published is not None:
            result: Tensor = self.published(source, inside, curve)
            return result
        f, g, q, u = self.scales.unbind()
        value = curve.value / torch.where(curve.kind > 0.5, q, g)
        numbers = self.conditions(inputs) if self.conditions.count else None
        potential: Tensor = u * self.network(source / f, inside, value, curve, numbers)
        return potential


def superposition_error(model: nn.Module, x: Tensor, boundary: Tensor) -> Tensor:
    """|N(f, g) - N(f, 0) - N(0, g)| / |N(f, g)| per sample: 0 for a linear operator.

    Args:
        model: takes `Inputs`, boundary channels in the order of
            `opkit.pde.boundary_curve.CURVE`.
        x: (batch, 2, y, x), source and inside.
        boundary: (batch, 6, boundary).
    """
    no_source, no_data = x.clone(), boundary.clone()
    no_source[:, 0] = 0
    no_data[:, CURVE.index("boundary_value")] = 0
    with torch.no_grad():
        whole, without_data, without_source = (
            model(Inputs(fields, boundary=data)).flatten(1)
            for fields, data in ((x, boundary), (x, no_data), (no_source, boundary))
        )
    gap = whole - without_data - without_source
    error: Tensor = gap.norm(dim=1) / whole.norm(dim=1)
    return error
