"""The quasi-geostrophic tendency in plain array code, for numpy and torch.

Slow and readable: what the compiled kernels of `qg_kernels` must reproduce to
round-off, the way without numba or FFTW, and the way on a GPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from opkit.base.device import present
from opkit.errors import require
from opkit.solvers.fourier.transforms import RealFFT
from opkit.solvers.quasi_geostrophic.model import Model
from opkit.solvers.steppers import AB3_EULER_START, ETDRK4

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
        if device is None:
            self.asarray: Any = np.asarray
            self.stack: Any = np.stack
            self.exp: Any = np.exp
        else:
            torch = require("torch", "all")
            self.stack, self.exp = torch.stack, torch.exp
            place = present(device)
            self.asarray = lambda values: torch.as_tensor(values, device=place)
        self._layers = model.parameters.layers
        constants = (model.k, model.l, model.kappa2, model.diagonal, model.mixed)
        self._k, self._l, self._kappa2, self._diagonal, self._mixed = map(
            self.asarray, constants
        )
        self._velocity = self.asarray(model.velocity)
        self._gradient = self.asarray(model.gradient)
        self._mask = self.asarray(model.mask)
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
        fields = (-1j * self._l * psi_hat, 1j * self._k * psi_hat, q_hat)
        u, v, q = self._inverse.inverse(self.stack(fields))
        u += self._velocity
        return u, v, q

    def __call__(self, q_hat: Array) -> Array:
        """dq̂/dt."""
        u, v, q = self.velocities(q_hat)
        uq_hat, vq_hat = self._forward.forward(self.stack((u * q, v * q)))
        psi_hat = self.streamfunction(q_hat)
        slope = -1j * self._k * (uq_hat + self._gradient * psi_hat)
        slope -= 1j * self._l * vq_hat
        slope[:, -1] += self._drag * self._kappa2 * psi_hat[:, -1]
        return self._mask * slope


class ArrayState:
    """A batch of trajectories in array code; the interface of `CompiledState`."""

    def __init__(self, model: Model, batch: int, device: str | None = None) -> None:
        self._model = model
        self.tendency = Tendency(model, batch, device)
        asarray = self.tendency.asarray
        self._mask, self._log_filter = asarray(model.mask), asarray(model.log_filter)
        self._weights = asarray(model.weights)
        self._multistep: Any = None
        self._slopes: list[Array] = []

    def start(self, q_hat: Array) -> None:
        """Set the state (batch, layer, ny, nk), and forget past slopes."""
        self.q_hat = self._mask * self.tendency.asarray(q_hat)
        self._multistep = None
        self._slopes = []

    def adams_bashforth(self, dt: float, count: int) -> NDArray[np.float64]:
        """Take third-order steps of dt, each followed by the filter.

        Returns:
            (batch,) relative difference of the third- and second-order next step.
        """
        if self._multistep is None:
            self._multistep = AB3_EULER_START.prepare(
                np.zeros(()), dt, self._remember, self.tendency.asarray
            )
        factor = self.tendency.exp(self._log_filter)
        for _ in range(count):
            self.q_hat = factor * self._multistep(self.q_hat)
        now, last = self.tendency(self.q_hat), self._slopes[-1]
        before = self._slopes[0] if len(self._slopes) > 1 else 0.0
        return self._relative(5 * dt / 12 * factor * (now - 2 * last + before))

    def runge_kutta(
        self, dt: float, count: int, log_decay: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Take steps of ETDRK4 with decay rates ``log_decay`` (ny, nk), 1/s, ≤ 0.

        Returns:
            (count, batch) relative local errors.
        """
        step = ETDRK4.prepare(log_decay, dt, self.tendency, self.tendency.asarray)
        errors = []
        for _ in range(count):
            self.q_hat = step(self.q_hat)
            errors.append(self._relative(step.difference))
        return np.stack(errors)

    def _remember(self, q_hat: Array) -> Array:
        self._slopes = [*self._slopes[-1:], self.tendency(q_hat)]
        return self._slopes[-1]

    def _relative(self, defect: Array) -> NDArray[np.float64]:
        squares = (
            (self._weights * abs(values) ** 2).sum((-3, -2, -1))
            for values in (defect, self.q_hat)
        )
        ratio = next(squares) / next(squares)
        values = ratio if isinstance(ratio, np.ndarray) else ratio.cpu().numpy()
        return np.sqrt(values)
