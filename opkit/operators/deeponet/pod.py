"""POD-DeepONet: DeepONet whose trunk is the principal modes of the training outputs.

    u(y) = φ_0(y) + Σ_{k=1}^{p} b_k(a(x_1), ..., a(x_m)) s_k φ_k(y)

φ_0 is the mean of the training outputs, φ_k their k-th principal mode (orthonormal for
the quadrature of the grid), s_k the standard deviation of its coefficient.

Reference: Lu et al., CMAME 393, 114778 (2022), arXiv:2111.05512.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from opkit.errors import OpkitInputError
from opkit.operators.deeponet.branch import Branch, sensor_grid
from opkit.operators.deeponet.deeponet import BranchOptions
from opkit.operators.inputs import Inputs
from opkit.operators.interface import Accepts, Operator
from opkit.operators.layers.grids import resample
from opkit.operators.shapes import DataShape


class PODDeepONet(Operator):
    """POD-DeepONet on a grid in one, two or three dimensions.

    Call `prepare` with the training outputs before training; a saved state has the
    modes in it. On another grid the modes are interpolated linearly.

    Args:
        data: channels, grid and periodicity of the data.
        options: sizes; see `PODDeepONet.Options`.

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
    modes: Tensor
    mean: Tensor
    energy: Tensor

    class Options(BranchOptions):
        """Options of POD-DeepONet."""

        n_basis: int = Field(default=32, ge=1, description="p, modes kept")

    def __init__(self, data: DataShape, options: Options) -> None:
        super().__init__()
        self.data, self.options = data, options
        self.branch = Branch(
            data.in_channels,
            sensor_grid(data.shape, options.sensors),
            data.periodic,
            options.branch,
            options.branch_widths,
            options.branch_bound,
            options.n_basis,
            data.numbers,
        )
        packing = data.packing
        field = (
            (data.out_channels, *data.shape)
            if packing is None
            else (1, sum(packing.sizes))
        )
        self.register_buffer("mean", torch.zeros(field))
        self.register_buffer("modes", torch.zeros(options.n_basis, *field))
        self.register_buffer("energy", torch.zeros(()))

    @torch.no_grad()
    def prepare(self, samples: Mapping[str, Tensor]) -> None:
        """Set the modes from training data; ``energy`` is the variance they hold.

        Args:
            samples: ``"outputs"`` (sample, [time,] out_channel, *space).

        Raises:
            OpkitInputError: values not finite, fewer samples than modes, another grid,
                or modes without variance.
        """
        p = self.options.n_basis
        outputs = samples["outputs"]
        if outputs.ndim > self.mean.ndim + 1:  # every frame is an output
            outputs = outputs.flatten(0, 1)
        if tuple(outputs.shape[1:]) != tuple(self.mean.shape):
            raise OpkitInputError(
                f"pod-deeponet was built for outputs {list(self.mean.shape)}, not "
                f"{list(outputs.shape[1:])}: train on the grid it was built for"
            )
        if not outputs.isfinite().all():
            raise OpkitInputError(
                "the training outputs are not finite: generate the data again"
            )
        rows = outputs.flatten(1).to(self.mean.device, torch.float64)
        if len(rows) <= p:
            raise OpkitInputError(
                f"{p} modes need more than {p} training outputs, there are "
                f"{len(rows)}: --set model.n_basis={max(len(rows) - 1, 1)}"
            )
        mean = rows.mean(0)
        weights = self._quadrature().to(rows)
        scaled = (rows - mean) * weights.sqrt()
        # method of snapshots: the Gram matrix has one row a sample, not a grid point
        values, vectors = torch.linalg.eigh(scaled @ scaled.T / len(rows))
        values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
        rank = int((values > 1e-12 * values[0]).sum())
        if rank < p:
            raise OpkitInputError(
                f"the training outputs vary in {rank} directions only: "
                f"--set model.n_basis={max(rank, 1)}"
            )
        # φ_k s_k = Xᵀ v_k / √N, for v_k of length one
        modes = vectors[:, :p].T @ (rows - mean) / len(rows) ** 0.5
        self.modes.copy_(modes.view(self.modes.shape))
        self.mean.copy_(mean.view(self.mean.shape))
        self.energy.copy_(values[:p].sum() / values.sum())

    def forward(self, inputs: Inputs) -> Tensor:
        """Map (batch, in_channel, *space) to (batch, out_channel, *space).

        Raises:
            OpkitInputError: `prepare` was not called.
        """
        x = inputs.fields
        if not self.energy > 0:
            raise OpkitInputError(
                "pod-deeponet has no modes yet: call prepare(samples) with the "
                "training data, or load trained weights"
            )
        mean, modes = self.mean, self.modes
        if not self.data.readouts:
            shape, periodic = x.shape[2:], self.data.periodic
            modes = resample(modes, shape, periodic)
            mean = resample(mean, shape, periodic)
        return mean + torch.einsum(
            "bk,kc...->bc...", self.branch(x, inputs.numbers), modes
        )

    def gain(self) -> float:
        """Lipschitz constant from a field on the training grid to the answer on it."""
        norm = torch.linalg.matrix_norm(self.modes.flatten(1), 2)
        return self.branch.gain(self.data.shape) * float(norm)

    def _quadrature(self) -> Tensor:
        """Weights of the trapezoidal rule at every output value, flattened.

        Of outputs of several kinds every kind counts as much as the others.
        """
        packing = self.data.packing
        if packing is not None:
            return packing.each(1 / torch.tensor(packing.sizes, dtype=torch.float64))
        weights = torch.ones(1, dtype=torch.float64)
        for n, wraps in zip(self.data.shape, self.data.periodic, strict=True):
            axis = torch.ones(n, dtype=torch.float64)
            if not wraps and n > 1:
                axis[[0, -1]] = 0.5
            axis /= axis.sum()
            weights = torch.outer(weights, axis).flatten()
        return weights.repeat(self.data.out_channels)
