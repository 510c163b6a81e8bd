"""The quasi-geostrophic equations of one or two layers, in Fourier space.

    ∂q_i/∂t + J(ψ_i, q_i) + U_i ∂q_i/∂x + Q_i ∂ψ_i/∂x = -r δ_{iN} ∇²ψ_N + filter

    two layers   q₁ = ∇²ψ₁ + F₁(ψ₂ - ψ₁),   q₂ = ∇²ψ₂ + F₂(ψ₁ - ψ₂)
                 F₁ = r_d⁻²/(1 + δ),  F₂ = δ F₁,  δ = H₁/H₂
                 Q₁ = β + F₁(U₁ - U₂),  Q₂ = β - F₂(U₁ - U₂)
    one layer    q = ∇²ψ - r_d⁻² ψ,   Q = β + r_d⁻² U   (r_d may be infinite)

Coefficients are those of an unnormalised real transform, (..., layer, l, k), k ≥ 0.
Source: Ross et al., JAMES 15 (2023), doi:10.1029/2022MS003258; the defaults and the
filter are those of the program pyqg.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from opkit.base.arrays import Array

LANES = 16
"""Rows of a grid that the compiled passes work on together."""


def fits_lanes(shape: tuple[int, int]) -> bool:
    """Whether the compiled passes can work on a grid (ny, nx)."""
    return shape[0] % LANES == 0


@dataclass(frozen=True)
class Parameters:
    """Physical parameters, SI units; see `QuasiGeostrophic` for their meaning."""

    shape: tuple[int, int]
    extent: tuple[float, float]
    layers: Literal[1, 2]
    beta: float
    deformation_radius: float | None
    depth_ratio: float
    velocity: tuple[float, ...]
    drag: float
    filter_strength: float
    drop: Literal["nothing", "corners", "third"]


class Model:
    """Arrays that the equations need, float64.

    Attributes:
        k: (nk,) angular wavenumbers along x, 1/m.
        l: (ny, 1) along y; the Nyquist row carries -π/dy.
        kappa2: (ny, nk), k² + l².
        diagonal, mixed: (ny, nk), α and g of ψ_i = α q_i + g (F₂ q₁ + F₁ q₂), m².
        stretching: (F₁, F₂), 1/m²; zeros for one layer.
        gradient: (layers, 1, 1), Q_i, 1/(m s).
        velocity: (layers, 1, 1), U_i, m/s.
        depth: (layers,), H_i / H.
        log_filter: (ny, nk), logarithm of the filter's factor, ≤ 0.
        kept: (ny, nk), 1 where a mode is kept, 0 where it is dropped.
        weights: (1, nk), 2 for columns that stand for ±k, 1 for k = 0 and Nyquist.
    """

    def __init__(self, parameters: Parameters) -> None:
        p = self.parameters = parameters
        ny, nx = p.shape
        ly, lx = p.extent
        self.k = 2 * np.pi / lx * np.arange(nx // 2 + 1)
        self.l = 2 * np.pi * np.fft.fftfreq(ny, ly / ny)[:, None]
        self.kappa2 = self.k**2 + self.l**2
        inverse_radius2 = 0.0 if p.deformation_radius is None else _inverse_square(p)
        velocity = np.array(p.velocity)
        if p.layers == 2:
            upper = inverse_radius2 / (1 + p.depth_ratio)
            self.stretching = (upper, p.depth_ratio * upper)
            self.depth = np.array([p.depth_ratio, 1.0]) / (1 + p.depth_ratio)
            shear = velocity[0] - velocity[1]
            gradient = p.beta + shear * np.array([upper, -self.stretching[1]])
            self.diagonal = -_reciprocal(self.kappa2 + sum(self.stretching))
            self.mixed = self.diagonal * _reciprocal(self.kappa2)
        else:
            self.stretching = (0.0, 0.0)
            self.depth = np.ones(1)
            gradient = p.beta + velocity * inverse_radius2
            self.diagonal = -_reciprocal(self.kappa2 + inverse_radius2)
            self.mixed = np.zeros_like(self.kappa2)
        # In two layers the mean of ψ is set by nothing: it is zero.
        if p.layers == 2:
            self.diagonal[0, 0] = 0.0
        self.gradient = gradient[:, None, None]
        self.velocity = velocity[:, None, None]
        self.log_filter = self._log_filter()
        y, x = self.k * 0 + self.l * p.extent[0] / ny, self.k * p.extent[1] / nx
        reach = {
            "nothing": np.zeros_like(y),
            "corners": np.hypot(x, y) / np.pi,
            "third": 1.5 * np.maximum(np.abs(x), np.abs(y)) / np.pi,
        }[p.drop]
        # 1 is Nyquist along an axis, or 2/3 of it; round-off must not decide
        self.mask = np.where(reach < 1 - 1e-12, 1.0, 0.0)
        self.weights = np.full((1, nx // 2 + 1), 2.0)
        # k = 0 and the Nyquist column hold both ±l themselves: counted once.
        self.weights[:, [0, -1]] = 1.0

    def _log_filter(self) -> Array:
        """-s (κ* - 0.65π)⁴ for κ* = |(k dx, l dy)| > 0.65π, else 0."""
        p = self.parameters
        dy, dx = p.extent[0] / p.shape[0], p.extent[1] / p.shape[1]
        beyond = np.hypot(self.k * dx, self.l * dy) - 0.65 * np.pi
        return np.asarray(-p.filter_strength * np.maximum(beyond, 0.0) ** 4)


def _inverse_square(p: Parameters) -> float:
    assert p.deformation_radius is not None
    return p.deformation_radius**-2


def _reciprocal(values: Array) -> Array:
    return np.divide(1.0, values, out=np.zeros_like(values), where=values != 0)
