"""FNO around a small exact solve, for scalar elliptic problems with u = 0 outside.

    -∇·(κ ∇w) = 1,  w = 0 on the boundary,    u = s w + FNO(a, log κ, w)

κ > 0 is a learned local function of the input a, and so are the distances from the
outermost points to the boundary, which sub-sampled data do not hold. The five-point
scheme with harmonic means on the faces is solved by a dense Cholesky factorisation; its
gradient is the adjoint solve with the same factor. The FNO only has to learn what a
coarse grid misses.

Adjoint: with A(t) w = f and transmissibilities t_ij of faces, a loss ℓ has
dℓ/dt_ij = -(λ_i - λ_j)(w_i - w_j), A λ = dℓ/dw; λ = w = 0 on the boundary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from opkit.errors import OpkitInputError
from opkit.operators.fno import fno
from opkit.operators.fno.fno import FNO
from opkit.operators.inputs import Inputs
from opkit.operators.interface import Accepts, Operator
from opkit.operators.shapes import DataShape

MAX_UNKNOWNS = 1024
"""A dense factorisation of more unknowns is slower than it is worth."""
SIZE = 0.05
"""Typical size of w for κ = 1 on the unit square (its maximum is 0.0737)."""


Gap = Annotated[float, Field(gt=0)]


class EllipticFNO(Operator):
    """FNO that corrects a differentiable coarse solve; see the module.

    Args:
        data: two space axes, not periodic, at most 1024 points.
        options: of the FNO, and of κ.

    Raises:
        OpkitInputError: a grid that is too large or periodic.
    """

    accepts: ClassVar[Accepts] = Accepts(("grid",), (2,), periodic=False)

    class Options(fno.FNO.Options):
        """Options of the FNO, and of the learned coefficient."""

        coefficient_channels: int = Field(default=16, ge=1)
        coefficient_radius: int = Field(
            default=1, ge=0, description="points around that κ depends on"
        )
        boundary: tuple[Gap, Gap] = Field(
            default=(1.0, 1.0),
            description="first guess of the distances to the boundary, in spacings",
        )

    def __init__(self, data: DataShape, options: Options) -> None:
        super().__init__()
        points = data.shape[0] * data.shape[1]
        if points > MAX_UNKNOWNS:
            raise OpkitInputError(
                f"elliptic-fno takes at most {MAX_UNKNOWNS} points, on axes that are "
                f"not periodic, not {data.shape}: subsample, or use fno"
            )
        width = options.coefficient_channels
        size = 2 * options.coefficient_radius + 1
        self.data = data
        self.coefficient = nn.Sequential(
            nn.Conv2d(
                data.in_channels, width, size, padding="same", padding_mode="replicate"
            ),
            nn.GELU(),
            nn.Conv2d(width, width, 1),
            nn.GELU(),
            nn.Conv2d(width, 2, 1),
        )
        # logarithms; before and after, the same on both axes
        self.gaps = nn.Parameter(torch.tensor(options.boundary).log())
        self.scale = nn.Parameter(torch.ones(data.out_channels))
        shape = DataShape(
            data.in_channels + 3,
            data.out_channels,
            data.shape,
            data.periodic,
            data.extent,
        )
        names = FNO.Options.model_fields
        self.correction = FNO(
            shape, FNO.Options(**{name: getattr(options, name) for name in names})
        )

    def prepare(self, samples: Mapping[str, Tensor]) -> None:
        """Show the training samples to the FNO."""
        self.correction.prepare(samples)

    def forward(self, inputs: Inputs) -> Tensor:
        """Map (batch, in_channel, y, x) to (batch, out_channel, y, x)."""
        x = inputs.fields
        log_kappa = self.coefficient(x)
        with torch.autocast(x.device.type, enabled=False):
            w = self._solve(log_kappa.float())
        solved = w / SIZE
        correction: Tensor = self.correction(torch.cat([x, log_kappa, solved], 1))
        return self.scale.view(1, -1, 1, 1) * solved + correction

    def _solve(self, log_kappa: Tensor) -> Tensor:
        across_x, across_y = log_kappa.exp().unbind(1)
        rows, columns = across_x.shape[1:]
        y, wide_y = self._axis(rows)
        x, wide_x = self._axis(columns)
        along_x = _faces(across_x, 2) * wide_y[:, None] / x
        along_y = _faces(across_y, 1) * wide_x / y[:, None]
        source = (wide_y[:, None] * wide_x).expand_as(across_x)
        result: Tensor = FivePoint.apply(along_x, along_y, source)
        return result[:, None]

    def _axis(self, n: int) -> tuple[Tensor, Tensor]:
        """Return n + 1 distances and n widths of control volumes, total length 1."""
        before, after = self.gaps.exp().unbind()
        distance = torch.cat([before[None], self.gaps.new_ones(n - 1), after[None]])
        distance = distance / distance.sum()
        return distance, (distance[1:] + distance[:-1]) / 2


def _faces(kappa: Tensor, axis: int) -> Tensor:
    """Harmonic means between neighbours; the point's own value towards the boundary."""
    n = kappa.shape[axis]
    left, right = kappa.narrow(axis, 0, n - 1), kappa.narrow(axis, 1, n - 1)
    inner = 2 * left * right / (left + right)
    return torch.cat(
        [kappa.narrow(axis, 0, 1), inner, kappa.narrow(axis, n - 1, 1)], axis
    )


class FivePoint(torch.autograd.Function):
    """Solve the five-point scheme; differentiable in transmissibilities and source."""

    @staticmethod
    def forward(ctx: Any, along_x: Tensor, along_y: Tensor, source: Tensor) -> Tensor:
        """Solve A w = source.

        Args:
            ctx: autograd's.
            along_x: (batch, y, x + 1) transmissibilities of the faces across x.
            along_y: (batch, y + 1, x).
            source: (batch, y, x).
        """
        if not source.shape[0]:  # not every library of linear algebra takes none
            ctx.save_for_backward(source, source)
            return torch.empty_like(source)
        factor = torch.linalg.cholesky(_matrix(along_x, along_y))
        w = torch.cholesky_solve(source.flatten(1)[..., None], factor).view_as(source)
        ctx.save_for_backward(factor, w)
        return w

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Solve the adjoint A λ = gradient."""
        factor, w = ctx.saved_tensors
        adjoint = gradient
        if len(w):
            flat = gradient.flatten(1)[..., None]
            adjoint = torch.cholesky_solve(flat, factor).view_as(w)
        return (
            -_jumps(adjoint, 2) * _jumps(w, 2),
            -_jumps(adjoint, 1) * _jumps(w, 1),
            adjoint,
        )


def _jumps(u: Tensor, axis: int) -> Tensor:
    """Differences across all faces, with 0 beyond the boundary."""
    pad = (1, 1) if axis == 2 else (0, 0, 1, 1)
    return F.pad(u, pad).diff(dim=axis)


def _matrix(along_x: Tensor, along_y: Tensor) -> Tensor:
    batch, rows, columns = *along_x.shape[:2], along_y.shape[2]
    n = rows * columns
    index = torch.arange(n, device=along_x.device).view(rows, columns)
    matrix = along_x.new_zeros(batch, n, n)
    own = along_x[:, :, 1:] + along_x[:, :, :-1] + along_y[:, 1:] + along_y[:, :-1]
    matrix[:, index.flatten(), index.flatten()] = own.flatten(1)
    # Cholesky reads the lower triangle only
    matrix[:, index[:, 1:].flatten(), index[:, :-1].flatten()] = -along_x[
        :, :, 1:-1
    ].flatten(1)
    matrix[:, index[1:].flatten(), index[:-1].flatten()] = -along_y[:, 1:-1].flatten(1)
    return matrix
