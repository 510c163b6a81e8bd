"""Geo-FNO: points in, a uniform grid inside, points out.

IPHI is a learned map ξ from physical to computational coordinates, on which fields go
between scattered points and a grid by Fourier series:

    v̂(k) = R(k) Σ_n w_n u(ξ_n) exp(-2πi k·ξ_n),    u(ξ) = Re Σ_k v̂(k) exp(2πi k·ξ)

Reference: Li et al., Geo-FNO, JMLR 24 (2023), arXiv:2207.05209.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from opkit.base.fourier import irfftn, rfftn


class IPHI(nn.Module):
    """ξ = x + x ⊙ N(x, code), with N a network on x in polar coordinates and octaves.

    Args:
        n_code: length of a code of the whole geometry; 0 for none.
        width: of the features; the hidden layers are four times as wide.
    """

    centre: Tensor
    octaves: Tensor

    def __init__(self, n_code: int = 0, width: int = 32) -> None:
        super().__init__()
        self.features = nn.Linear(4, width)
        # width from the layer, and 4 features x (sine, cosine) x width/4 octaves
        n_features = 3 * width
        self.code = nn.Linear(n_code, width) if n_code else None
        self.no_code = None if n_code else nn.Linear(n_features, 4 * width)
        self.network = nn.Sequential(
            nn.Linear(4 * width, 4 * width),
            nn.Tanh(),
            nn.Linear(4 * width, 4 * width),
            nn.Tanh(),
            nn.Linear(4 * width, 4 * width),
            nn.Tanh(),
            nn.Linear(4 * width, 2),
        )
        octaves = math.pi * 2.0 ** torch.arange(width // 4)
        self.register_buffer("octaves", octaves, persistent=False)
        # off the origin, where the angle of a point would not be differentiable
        self.register_buffer("centre", torch.full((2,), 1e-4), persistent=False)

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        """Map points (batch, point, 2) to the computational domain, (batch, point, 2).

        Args:
            x: points, scaled to about the unit square.
            code: (batch, n_code), if the map was built for one.
        """
        dx, dy = (x - self.centre).unbind(-1)
        polar = torch.stack([torch.atan2(dy, dx), torch.hypot(dx, dy)], dim=-1)
        places = torch.cat([x, polar], dim=-1)
        phases = (places[..., None] * self.octaves).flatten(-2)
        features = [self.features(places), phases.sin(), phases.cos()]
        if self.no_code is not None:
            hidden = self.no_code(torch.cat(features, dim=-1))
        else:
            assert self.code is not None and code is not None
            encoded = self.code(code)[:, None].expand(-1, x.shape[1], -1)
            hidden = torch.cat([encoded, *features], dim=-1)
        warped: Tensor = x + x * self.network(hidden)
        return warped


class SpectralWeights(nn.Module):
    """R(k): a complex matrix for each wavenumber of a box, stored as real pairs.

    Wavenumbers: -m_1 ... m_1 - 1 along the first axis (from 0, then the negative ones)
    and 0 ... m_2 - 1 along the second; the others follow by symmetry.
    """

    def __init__(self, channels: int, n_modes: Sequence[int]) -> None:
        super().__init__()
        m1, m2 = n_modes
        shape = (channels, channels, 2 * m1, m2, 2)
        self.weight = nn.Parameter(torch.rand(shape) / channels**2)

    def forward(self, coefficients: Tensor) -> Tensor:
        """Multiply (batch, channel, 2 m1, m2), complex, by R."""
        weight = torch.view_as_complex(self.weight)
        return torch.einsum("bixy,ioxy->boxy", coefficients, weight)


def _phases(points: Tensor, n_modes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """exp(2πi k_j ξ_j) for both axes, (batch, point, wavenumber)."""
    m1, m2 = n_modes
    k1 = torch.cat([torch.arange(m1), torch.arange(-m1, 0)]).to(points)
    k2 = torch.arange(m2).to(points)
    angles = [2 * torch.pi * points[..., j, None] * k for j, k in enumerate((k1, k2))]
    e1, e2 = (torch.polar(torch.ones_like(angle), angle) for angle in angles)
    return e1, e2


def analyse_points(
    u: Tensor, points: Tensor, weights: Tensor, n_modes: Sequence[int]
) -> Tensor:
    """Fourier sums of a field at scattered points.

    Args:
        u: (batch, channel, point).
        points: (batch, point, 2) in the unit square.
        weights: (batch, point), quadrature weights.
        n_modes: m_1, m_2.

    Returns:
        (batch, channel, 2 m1, m2), complex.
    """
    e1, e2 = _phases(points, n_modes)
    basis = (e1[..., :, None] * e2[..., None, :]).conj().flatten(2)
    sums = (u * weights[:, None]).to(basis.dtype) @ basis
    return sums.reshape(*u.shape[:2], e1.shape[-1], e2.shape[-1])


def synthesise_points(
    coefficients: Tensor, points: Tensor, hermitian: bool = True
) -> Tensor:
    """Evaluate a Fourier series at scattered points.

    Args:
        coefficients: (batch, channel, 2 m1, m2), complex.
        points: (batch, point, 2).
        hermitian: add the conjugate coefficient at -k, as a real field asks. Geo-FNO's
            code puts it at (-k_1 - 1, -k_2): False repeats that.

    Returns:
        (batch, channel, point), real.
    """
    m1, m2 = coefficients.shape[2] // 2, coefficients.shape[3]
    e1, e2 = _phases(points, (m1, m2))
    basis = e1[..., :, None] * e2[..., None, :]
    # Re(c̄ e^{-iα}) = Re(c e^{iα}): columns k_2 > 0 count twice, k_2 = 0 once
    mirrored = basis[..., 1:]
    if not hermitian:
        angle = 2 * torch.pi * points[..., 0]
        shift = torch.polar(torch.ones_like(angle), angle)
        mirrored = mirrored * shift[..., None, None]
    basis = torch.cat([basis[..., :1], basis[..., 1:] + mirrored], dim=-1)
    series: Tensor = coefficients.flatten(2) @ basis.flatten(2).mT
    return torch.view_as_real(series)[..., 0]


def analyse_grid(u: Tensor, n_modes: Sequence[int]) -> Tensor:
    """Fourier coefficients of a field on a grid, on the same box of wavenumbers.

    Normalised by the number of points: the mean of the field is at k = 0.
    """
    m1, m2 = n_modes
    u_hat = rfftn(u, (-2, -1), norm="forward")
    return torch.cat([u_hat[..., :m1, :m2], u_hat[..., -m1:, :m2]], dim=-2)


def synthesise_grid(coefficients: Tensor, shape: Sequence[int]) -> Tensor:
    """Inverse of `analyse_grid` on a grid of any size that holds the modes."""
    m1, m2 = coefficients.shape[2] // 2, coefficients.shape[3]
    full = coefficients.new_zeros(*coefficients.shape[:2], shape[0], shape[1] // 2 + 1)
    full[..., :m1, :m2] = coefficients[..., :m1, :]
    full[..., -m1:, :m2] = coefficients[..., m1:, :]
    return irfftn(full, shape, (-2, -1), norm="forward")
