"""The quasi-geostrophic tendency in plain array code, for numpy and torch.

Slow and readable: what the compiled kernels of `qg_kernels` must reproduce to
round-off, the way without numba or FFTW, and the way on a GPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from opkit.solvers.qg_model import Model
from opkit.solvers.transforms import RealFFT

Array = Any  # numpy array or torch tensor


class Tendency:
    """dq̂/dt without the filter, for states (batch, layer, ny, nk).

    Flux form, ten transforms for two layers: the products alias exactly as pyqg's do.

    Args:
        model: the equations.
        batch: trajectories in a state.
        device: ``None`` for numpy, else the torch device.
    """

    def __init__(self, model: Model, batch: int, device: str | None = None) -> None:
        self.asarray = _converter(device)
        self._layers = model.parameters.layers
        constants = (model.k, model.l, model.kappa2, model.diagonal, model.mixed)
        self._k, self._l, self._kappa2, self._diagonal, self._mixed = map(
            self.asarray, constants
        )
        self._velocity = self.asarray(model.velocity)
        self._gradient = self.asarray(model.gradient)
        self._kept = self.asarray(model.kept)
        self._stretching = model.stretching
        self._drag = model.parameters.drag
        shape, layers = model.parameters.shape, self._layers
        backend = "auto" if device is None else "torch"
        self._inverse, self._forward = (
            RealFFT(
                shape,
                batch=(fields, batch, layers),
                backend=backend,  # type: ignore[arg-type]
                device=device or "cpu",
            )
            for fields in (3, 2)
        )

    def streamfunction(self, q_hat: Array) -> Array:
        """ψ̂ of q̂."""
        psi_hat = self._diagonal * q_hat
        if self._layers == 2:
            upper, lower = self._stretching
            common = lower * q_hat[:, 0] + upper * q_hat[:, 1]
            psi_hat += (self._mixed * common)[:, None]
        return psi_hat

    def velocities(self, q_hat: Array) -> tuple[Array, Array, Array]:
        """(u + U, v, q) on the grid, (batch, layer, y, x), m/s and 1/s."""
        psi_hat = self.streamfunction(q_hat)
        fields = self._inverse._empty(self._inverse.spectral_shape, True)
        fields[0] = -1j * self._l * psi_hat
        fields[1] = 1j * self._k * psi_hat
        fields[2] = q_hat
        u, v, q = self._inverse.inverse(fields)
        u += self._velocity
        return u, v, q

    def __call__(self, q_hat: Array) -> Array:
        """dq̂/dt."""
        u, v, q = self.velocities(q_hat)
        fluxes = self._forward._empty(self._forward.real_shape, False)
        fluxes[0], fluxes[1] = u * q, v * q
        uq_hat, vq_hat = self._forward.forward(fluxes)
        psi_hat = self.streamfunction(q_hat)
        slope = -1j * self._k * (uq_hat + self._gradient * psi_hat)
        slope -= 1j * self._l * vq_hat
        slope[:, -1] += self._drag * self._kappa2 * psi_hat[:, -1]
        return self._kept * slope


def _converter(device: str | None) -> Any:
    if device is None:
        return np.asarray
    import torch

    return lambda values: torch.as_tensor(values, device=device)
