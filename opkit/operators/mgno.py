"""MgNO: neurons that are bounded linear operators, each a multigrid V-cycle.

    u_{l+1} = σ(W_l u_l + B_l u_l + b_l),    u = P u_L

W_l is one V-cycle of learned convolutions, B_l a pointwise linear map, P a pointwise
projection. There is no lifting.

Reference: He, Liu and Xu, ICLR 2024, arXiv:2310.19809.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from opkit.errors import OpkitInputError
from opkit.operators import interface
from opkit.operators.inputs import Inputs
from opkit.operators.interface import Accepts, Operator
from opkit.operators.layers.convolutions import Prolongation, convolution, normalisation
from opkit.operators.layers.grids import Boundary, boundaries
from opkit.operators.layers.modulation import (
    ENTRY,
    Entry,
    modulated,
    modulation,
    with_channels,
)
from opkit.operators.layers.whole_samples import Conditions, channels_of, readout
from opkit.operators.shapes import FINER, DataShape

Count = Annotated[int, Field(ge=0)]


class MgNO(Operator):
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

    accepts: ClassVar[Accepts] = Accepts(
        geometries=("grid",),
        dimensions=(1, 2, 3),
        parameters=True,
        series=True,
        readouts=True,
    )

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
        parameters: Entry = ENTRY

    def __init__(self, data: DataShape, options: Options) -> None:
        super().__init__()
        modes = boundaries(data.periodic, options.boundary)
        width, self.add_input = options.hidden_channels, options.add_input
        if options.iterations[0][0] < 1:
            raise OpkitInputError(
                "iterations: the finest grid needs a step before: [[1, 0], ...]"
            )
        if self.add_input and not 0 < data.out_channels <= data.in_channels:
            raise OpkitInputError(
                f"add_input: {data.in_channels} input channels cannot be added to "
                f"{data.out_channels} output channels: --set model.add_input=false"
            )
        self.out_channels = data.out_channels
        self.n_levels = len(options.iterations)
        self._check(data.shape)
        self.conditions = Conditions(data)
        self.modulation = modulation(
            self.conditions.count, options.parameters, [width] * options.n_layers
        )
        self.numbers = self.conditions.count if self.modulation is None else 0
        sources = [data.in_channels + self.numbers] + [width] * (options.n_layers - 1)
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
        self.projection = convolution(width, channels_of(data), 1, modes, bias=False)
        self.readout = readout(data)

    def forward(self, inputs: Inputs) -> Tensor:
        """Map (batch, in_channel, *space) to (batch, out_channel, *space).

        Raises:
            OpkitInputError: the grid is too small for the levels.
        """
        x = inputs.fields
        self._check(tuple(x.shape[2:]))
        u, pairs = x, None
        if self.modulation is not None:
            pairs = self.modulation(self.conditions(inputs))
        elif self.numbers:
            u = with_channels(x, self.conditions(inputs))
        for layer, cycle in enumerate(self.cycles):
            v = cycle(u)
            if self.pointwise:
                v = v + self.pointwise[layer](u)
            u = self.activation(v if pairs is None else modulated(v, pairs[layer]))
        result: Tensor = self.projection(u)
        if self.add_input:
            fields = result[:, : self.out_channels] + x[:, -self.out_channels :]
            result = torch.cat([fields, result[:, self.out_channels :]], 1)
        return result if self.readout is None else self.readout(result)

    def _check(self, shape: tuple[int, ...]) -> None:
        # ceil(n / 2) a level; reflection needs two points
        if min(shape) <= 2 ** (self.n_levels - 1):
            levels = max((min(shape) - 1).bit_length(), 1)
            raise OpkitInputError(
                f"grid {list(shape)} is too small for {self.n_levels} levels: "
                f"{FINER} or at most {levels} entries in model.iterations"
            )


class Step(nn.Module):
    """One step u ← u + S(f - A u); the first of a cycle, from u = 0, is u = S f."""

    def __init__(
        self, f: int, u: int, modes: Sequence[Boundary], bias: bool, first: bool
    ) -> None:
        super().__init__()
        self.S = convolution(f, u, 3, modes, bias=bias)
        self.A = None if first else convolution(u, f, 3, modes, bias=bias)

    def forward(self, u: Tensor | None, f: Tensor) -> Tensor:
        """Return the smoothed u."""
        if u is None or self.A is None:
            start: Tensor = self.S(f)
            return start
        step: Tensor = u + self.S(f - self.A(u))
        return step


class Smoother(nn.Module):
    """Some smoothing steps on one grid; ``fresh`` if they start from u = 0."""

    def __init__(
        self,
        n_steps: int,
        f: int,
        u: int,
        modes: Sequence[Boundary],
        bias: bool,
        fresh: bool = False,
    ) -> None:
        super().__init__()
        self.steps = nn.ModuleList(
            Step(f, u, modes, bias, first=fresh and step == 0)
            for step in range(n_steps)
        )

    def forward(self, u: Tensor | None, f: Tensor) -> Tensor | None:
        """Return u after all steps."""
        for step in self.steps:
            u = step(u, f)
        return u


class Restriction(nn.Module):
    """To the grid of half the points: u ← Π u, and f ← R f or R(f - A u)."""

    def __init__(
        self, f: int, u: int, modes: Sequence[Boundary], bias: bool, residual: bool
    ) -> None:
        super().__init__()
        self.Pi = convolution(u, u, 3, modes, stride=2, bias=False)
        self.R = convolution(f, f, 3, modes, stride=2, bias=False)
        self.A = convolution(u, f, 3, modes, bias=bias) if residual else None

    def forward(self, u: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
        """Return u and f on the coarser grid."""
        return self.Pi(u), self.R(f if self.A is None else f - self.A(u))


class VCycle(nn.Module):
    """From f (in channels) to u (out channels) by one V-cycle from u = 0.

    Without bias and normalisation it is linear.

    Args:
        in_channels: channels of f.
        out_channels: channels of u.
        iterations: smoothing steps (before, after) on each grid, the finest first.
        modes: how each axis continues beyond the boundary.
        norm: ``"group"`` or ``"none"``, after each correction from a coarser grid.
        bias: whether the smoothing steps add a constant.
        residual: restrict the residual f - A u, as multigrid does, or f.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        iterations: Sequence[tuple[int, int]],
        modes: Sequence[Boundary],
        *,
        norm: str = "none",
        bias: bool = False,
        residual: bool = False,
    ) -> None:
        super().__init__()
        f, u, levels = in_channels, out_channels, len(iterations)
        self.before = nn.ModuleList(
            Smoother(steps[0], f, u, modes, bias, fresh=level == 0)
            for level, steps in enumerate(iterations)
        )
        self.after = nn.ModuleList(
            Smoother(steps[1], f, u, modes, bias) for steps in iterations
        )
        self.restrictions = nn.ModuleList(
            Restriction(f, u, modes, bias, residual) for _ in range(levels - 1)
        )
        self.prolongations = nn.ModuleList(
            Prolongation(u, modes) for _ in range(levels - 1)
        )
        self.norms = nn.ModuleList(normalisation(norm, u) for _ in range(levels - 1))

    def forward(self, f: Tensor) -> Tensor:
        """(batch, in channel, *space) to (batch, out channel, *space)."""
        u: Tensor = self.before[0](None, f)
        passed = []
        for smooth, restrict in zip(self.before[1:], self.restrictions, strict=True):
            passed.append((u, f))
            u, f = restrict(u, f)
            u = smooth(u, f)
        u = self.after[-1](u, f)
        for level in reversed(range(len(passed))):
            fine, f = passed[level]
            correction = self.prolongations[level](u, fine.shape[2:])
            u = self.norms[level](fine + correction)
            u = self.after[level](u, f)
        return u
