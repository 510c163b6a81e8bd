"""Darcy in torch: whole batches by conjugate gradients, and residuals with gradients.

The same equations, preconditioner (sine transform) and stopping rule as on the CPU;
solutions agree to rtol, not bit for bit. Samples that have converged stop moving.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opkit.base.device import present
from opkit.base.fourier import rfftn

if TYPE_CHECKING:
    from opkit.solvers.darcy.solver import Darcy


def solve_batch(
    solver: Darcy,
    permeability: NDArray[np.float64],
    pressure: NDArray[np.float64],
    device: str,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fill pressure (batch, ny, nx) in, which comes with the first guess.

    A guess with a larger residual than p = 0 is dropped.

    Returns:
        Iterations and relative residuals (H⁻¹) per sample.

    Raises:
        OpkitInputError: torch finds no such device.
    """
    present(device)
    a = torch.as_tensor(permeability, device=device)
    unit = a.amax((1, 2), keepdim=True)
    system = _System(a / unit, solver.faces)
    p = torch.as_tensor(pressure[:, 1:-1, 1:-1], device=device) * unit
    f = torch.full_like(p[:1], solver.forcing)
    scale = system.norm(f)
    p = torch.where(system.norm(f - system.apply(p)) < scale, p, 0.0)
    iterations = torch.zeros_like(unit)
    for _ in range(4):
        r = f - system.apply(p)
        error = system.norm(r) / scale
        budget = int(solver.max_iterations - iterations.max())
        if bool((error <= solver.rtol).all()) or budget <= 0:
            break
        p, count = _conjugate_gradients(system, p, r, 0.9 * solver.rtol * scale, budget)
        iterations += count
    error = system.norm(f - system.apply(p)) / scale
    pressure[:, 1:-1, 1:-1] = (p / unit).cpu().numpy()
    return iterations.flatten().cpu().numpy(), error.flatten().cpu().numpy()


def residual_batch(
    permeability: Tensor, pressure: Tensor, forcing: float | Tensor, faces: str
) -> Tensor:
    """|f - A p| / |f| in the discrete H⁻¹ norm of (batch, ny, nx) fields, as (batch,).

    Differentiable. Inside only: the pressure on the boundary counts as zero.
    """
    system = _System(permeability, faces)
    p = pressure[:, 1:-1, 1:-1]
    f = _inside(forcing, p)
    error = system.norm(f - system.apply(p)) / system.norm(f)
    return error.flatten()


def direction_batch(
    permeability: Tensor, direction: Tensor, forcing: float | Tensor, faces: str
) -> tuple[Tensor, Tensor]:
    """|f - s A d| / |f| and s = dᵀ f / dᵀ A d of (batch, ny, nx) fields, as (batch,).

    Differentiable; 1 and 0 for a direction that is zero. Source: Kaneda et al., A deep
    conjugate direction method, ICML 2023.
    """
    system = _System(permeability, faces)
    d = direction[:, 1:-1, 1:-1]
    f = _inside(forcing, d)
    image = system.apply(d)
    step = _dot(d, f) / _dot(d, image).clamp(min=torch.finfo(d.dtype).tiny)
    left = f - step * image
    return (_dot(left, left) / _dot(f, f)).sqrt().flatten(), step.flatten()


def _inside(forcing: float | Tensor, like: Tensor) -> Tensor:
    if isinstance(forcing, Tensor):
        return forcing[:, 1:-1, 1:-1]
    return torch.full_like(like[:1], forcing)


def _conjugate_gradients(
    system: _System, p: Tensor, r: Tensor, target: Tensor, max_iterations: int
) -> tuple[Tensor, Tensor]:
    direction = z = system.precondition(r)
    rz = _dot(r, z)
    iterations = torch.zeros_like(rz)
    for _ in range(max_iterations):
        active = rz > target**2
        if not bool(active.any()):
            break
        iterations += active
        image = system.apply(direction)
        step = torch.where(active, rz / _dot(direction, image), 0.0)
        p = p + step * direction
        r = r - step * image
        z = system.precondition(r)
        rz, previous = torch.where(active, _dot(r, z), rz), rz
        direction = z + (rz / previous) * direction
    return p, iterations


class _System:
    """Five-point equations and the inverse Laplacian for a batch (sample, ny, nx)."""

    def __init__(self, a: Tensor, faces: str) -> None:
        ny, nx = a.shape[1:]

        def mean(left: Tensor, right: Tensor) -> Tensor:
            if faces == "harmonic":
                return 2.0 * left * right / (left + right)
            return 0.5 * (left + right)

        self._x = mean(a[:, 1:-1, :-1], a[:, 1:-1, 1:]) * (nx - 1.0) ** 2
        self._y = mean(a[:, :-1, 1:-1], a[:, 1:, 1:-1]) * (ny - 1.0) ** 2
        k_y = torch.arange(1, ny - 1, device=a.device, dtype=a.dtype)[:, None]
        k_x = torch.arange(1, nx - 1, device=a.device, dtype=a.dtype)
        along_y = (2 * (ny - 1) * torch.sin(0.5 * torch.pi * k_y / (ny - 1))) ** 2
        along_x = (2 * (nx - 1) * torch.sin(0.5 * torch.pi * k_x / (nx - 1))) ** 2
        self._inverse = 1.0 / (along_y + along_x)

    def apply(self, p: Tensor) -> Tensor:
        flux_x = self._x * torch.diff(torch.nn.functional.pad(p, (1, 1)), dim=2)
        flux_y = self._y * torch.diff(torch.nn.functional.pad(p, (0, 0, 1, 1)), dim=1)
        return -torch.diff(flux_x, dim=2) - torch.diff(flux_y, dim=1)

    def precondition(self, r: Tensor) -> Tensor:
        return _sine(_sine(r) * self._inverse)

    def norm(self, r: Tensor) -> Tensor:
        return (_sine(r) ** 2 * self._inverse).sum((1, 2), keepdim=True).sqrt()


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((1, 2), keepdim=True)


def _sine(values: Tensor) -> Tensor:
    """Orthonormal DST-I along both axes: its own inverse."""
    for axis in (1, 2):
        n = values.shape[axis]
        zero = torch.zeros_like(values.narrow(axis, 0, 1))
        odd = torch.cat([zero, values, zero, -values.flip(axis)], dim=axis)
        # The odd extension of length 2 (n + 1) has the transform -2i Σ x sin.
        part = rfftn(odd, (axis,)).imag.narrow(axis, 1, n)
        values = part * -((2 * (n + 1)) ** -0.5)
    return values
