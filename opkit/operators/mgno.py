"""MgNO: neurons that are bounded linear operators, each a multigrid V-cycle.

    u_{l+1} = σ(W_l u_l + B_l u_l + b_l),    u = P u_L

W_l is one V-cycle of learned convolutions, B_l a pointwise linear map, P a pointwise
projection. There is no lifting.

Reference: He, Liu and Xu, ICLR 2024, arXiv:2310.19809.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from opkit.errors import OpkitInputError
from opkit.operators import interface
from opkit.operators.blocks_conv import convolution
from opkit.operators.blocks_grid import boundaries
from opkit.operators.blocks_multigrid import VCycle
from opkit.operators.interface import Accepts, DataShape

Count = Annotated[int, Field(ge=0)]


class MgNO(nn.Module):
    """Multigrid neural operator on a grid of any size, in one to three dimensions.

    Every convolution, and the way back to the finer grid, continues the field as the
    boundary condition asks: around where the axis is periodic, and elsewhere by
    ``boundary``: zeros (Dirichlet) or reflection (Neumann). Normalisation is over
    groups of channels and not tied to one grid. The stencils are counted in points: on
    another grid it runs, but is another operator.

    Args:
        data: channels, grid and periodicity of the data.
        options: sizes; see `MgNO.Options`. The defaults are those of Darcy flow.

    Raises:
        OpkitInputError: the coarsest grid would have fewer than 2 points an axis.
    """

    accepts: ClassVar[Accepts] = Accepts(geometries=("grid",), dimensions=(1, 2, 3))

    class Options(interface.Options):
        """Options of MgNO."""

        hidden_channels: int = Field(default=24, ge=1)
        n_layers: int = Field(default=5, ge=1)
        iterations: tuple[tuple[Count, Count], ...] = Field(
            default=((1, 0),) * 5 + ((2, 0),),
            min_length=1,
            description="smoothing steps before and after, from the finest grid on",
        )
        boundary: Literal["zeros", "reflect"] = Field(
            default="zeros", description="axes that are not periodic"
        )
        norm: Literal["none", "group"] = "none"
        bias: bool = Field(default=False, description="in the smoothing steps")
        pointwise: bool = Field(default=True, description="B_l, b_l")
        residual: bool = Field(default=False, description="restrict f - A u, not f")
        add_input: bool = Field(
            default=False, description="add the last input channels to the output"
        )

    def __init__(self, data: DataShape, options: Options) -> None:
        super().__init__()
        modes = boundaries(data.periodic, options.boundary)
        width, self.add_input = options.hidden_channels, options.add_input
        if options.iterations[0][0] < 1:
            raise OpkitInputError(
                "iterations: the finest grid needs a step before: [[1, 0], ...]"
            )
        if self.add_input and data.in_channels < data.out_channels:
            raise OpkitInputError(
                f"add_input: {data.in_channels} input channels cannot be added to "
                f"{data.out_channels} output channels: --set model.add_input=false"
            )
        self.out_channels = data.out_channels
        self.n_levels = len(options.iterations)
        self._check(data.shape)
        sources = [data.in_channels] + [width] * (options.n_layers - 1)
        self.cycles = nn.ModuleList(
            VCycle(
                source,
                width,
                options.iterations,
                modes,
                norm=options.norm,
                bias=options.bias,
                residual=options.residual,
            )
            for source in sources
        )
        self.pointwise = nn.ModuleList(
            convolution(source, width, 1, modes)
            for source in sources
            if options.pointwise
        )
        self.activation = nn.GELU()
        self.projection = convolution(width, data.out_channels, 1, modes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channel, *space) to (batch, out_channel, *space).

        Raises:
            OpkitInputError: the grid is too small for the levels.
        """
        self._check(tuple(x.shape[2:]))
        u = x
        for layer, cycle in enumerate(self.cycles):
            v = cycle(u)
            if self.pointwise:
                v = v + self.pointwise[layer](u)
            u = self.activation(v)
        result: Tensor = self.projection(u)
        return result + x[:, -self.out_channels :] if self.add_input else result

    def _check(self, shape: tuple[int, ...]) -> None:
        # ceil(n / 2) a level; reflection needs two points
        if min(shape) <= 2 ** (self.n_levels - 1):
            levels = max((min(shape) - 1).bit_length(), 1)
            raise OpkitInputError(
                f"grid {list(shape)} is too small for {self.n_levels} levels: use a "
                f"finer grid or at most {levels} entries in model.iterations"
            )
