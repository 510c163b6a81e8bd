"""LSM on point clouds: through a learned coordinate map to a latent grid and back.

    û(k) = R_in(k) Σ_n w_n P(a)(x_n) exp(-2πi k·φ(x_n))
    u(x) = Q(Re Σ_k R_out(k) v̂(k) exp(2πi k·φ(x)) + W x)

φ is the map of `lsm_iphi`; v comes from û by LSM's U-Net on a uniform latent grid.
Reference: Wu et al., ICML 2023, arXiv:2301.12664 (its model
for the irregular elasticity data); Geo-FNO, arXiv:2207.05209.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from opkit.errors import OpkitInputError
from opkit.operators.inputs import Inputs
from opkit.operators.interface import Accepts, Operator
from opkit.operators.layers.grids import coordinates as unit_grid
from opkit.operators.lsm.coordinate_map import (
    IPHI,
    SpectralWeights,
    analyse_grid,
    analyse_points,
    synthesise_grid,
    synthesise_points,
)
from opkit.operators.lsm.lsm import LatentOptions, LatentUNet
from opkit.operators.shapes import DataShape

Positive = Annotated[int, Field(ge=1)]


class PointLSM(Operator):
    """Latent spectral model on scattered points in the plane.

    The sums over points carry quadrature weights, so that the answer does not drift
    with the density of points; with equal weights and as many points as in ``data`` it
    is the published model.

    Args:
        data: channels and number of points, shape (node,).
        options: sizes; see `PointLSM.Options`. The defaults are those of elasticity.

    Raises:
        OpkitInputError: the latent grid is smaller than the patches or the modes.
    """

    accepts: ClassVar[Accepts] = Accepts(geometries=("mesh",), dimensions=(1,))

    class Options(LatentOptions):
        """Options of LSM on points."""

        hidden_channels: int = Field(default=32, ge=1)
        n_modes: tuple[Positive, Positive] = (12, 12)
        latent_shape: tuple[Positive, Positive] = (96, 96)
        n_code: int = Field(default=0, ge=0, description="numbers in a geometry's code")
        hermitian: bool = Field(
            default=True, description="False repeats Geo-FNO's conjugate symmetry"
        )

    def __init__(self, data: DataShape, options: Options) -> None:
        super().__init__()
        self.options, self.n_points = options, data.shape[0]
        width, middle = options.hidden_channels, options.projection_channels
        if 2 * max(options.n_modes) > min(options.latent_shape):
            raise OpkitInputError(
                f"latent_shape {list(options.latent_shape)} cannot hold n_modes "
                f"{list(options.n_modes)}: use at least twice as many points as modes"
            )
        self.map = IPHI(options.n_code)
        self.lifting = nn.Conv1d(data.in_channels, width, 1)
        self.spectral_in = SpectralWeights(width, options.n_modes)
        self.grid_in = nn.Conv2d(2, width, 1)
        self.unet = LatentUNet(2, options)
        self.unet.check_shape(options.latent_shape)
        self.spectral_out = SpectralWeights(width, options.n_modes)
        self.points_out = nn.Conv1d(2, width, 1)
        self.projection = nn.Sequential(
            nn.Conv1d(width, middle, 1),
            nn.GELU(),
            nn.Conv1d(middle, data.out_channels, 1),
        )

    def forward(
        self,
        inputs: Inputs,
        code: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Map (batch, in_channel, node) to (batch, out_channel, node).

        Args:
            inputs: fields at the points, and points (batch, node, 2) in about the unit
                square; where they are not given, the first two channels are points.
            code: (batch, n_code), a code of each geometry.
            weights: (batch, node), quadrature weights (areas), which are scaled to
                sum to 1; those of the inputs if None, equal ones if there are none.

        Raises:
            OpkitInputError: a code is missing or not expected, or too few channels.
        """
        x = inputs.fields
        places = self._places(inputs, code)
        if weights is None:
            weights = inputs.weights
        if weights is None:
            weights = x.new_ones(x.shape[0], x.shape[2])
        weights = weights / weights.sum(1, keepdim=True)
        mapped = self.map(places, code)
        shape, modes = self.options.latent_shape, self.options.n_modes
        # published: a plain sum over the points, an inverse FFT that divides by the
        # size of the grid, and a forward one that does not
        size = shape[0] * shape[1]
        u_hat = analyse_points(self.lifting(x), mapped, weights, modes)
        field = synthesise_grid(self.spectral_in(u_hat), shape) * self.n_points / size
        grid = self.grid_in(unit_grid(shape, (False, False), like=x)[None])
        field = self.unet(F.gelu(field + grid))
        v_hat = self.spectral_out(analyse_grid(field, modes) * size)
        u = synthesise_points(v_hat, mapped, self.options.hermitian)
        result: Tensor = self.projection(u + self.points_out(places.transpose(1, 2)))
        return result

    def _places(self, inputs: Inputs, code: Tensor | None) -> Tensor:
        """Return the places (batch, node, 2) after checking them and the code."""
        n_code = self.options.n_code
        if (code is None) != (n_code == 0):
            raise OpkitInputError(
                f"lsm-points was built for a code of {n_code} numbers: "
                + ("pass none" if code is not None else "pass code")
            )
        if inputs.points is not None:
            return inputs.points
        if inputs.fields.shape[1] < 2:
            raise OpkitInputError(
                "lsm-points needs points: give them, or coordinates as the first two "
                "input channels"
            )
        return inputs.fields[:, :2].transpose(1, 2)


def count_published(model: nn.Module) -> int:
    """Count parameters as the authors do: a complex number is one."""
    return sum(
        p.numel() // (2 if isinstance(owner, SpectralWeights) else 1)
        for owner in model.modules()
        for p in owner.parameters(recurse=False)
    )
