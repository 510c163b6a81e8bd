"""Spectra and budgets of quasi-geostrophic flow.

    E = ½ Σ_i (H_i/H) ⟨|∇ψ_i|²⟩ + ½ (H₁F₁/H) ⟨(ψ₁ - ψ₂)²⟩ = -½ Σ_i (H_i/H) ⟨ψ_i q_i⟩
    dE/dt(k) = -Σ_i (H_i/H) Re[conj ψ̂_i ∂q̂_i/∂t] = Σ `energy_budget`(k)

Every spectrum is on the half plane (ny, nk) and counts columns that stand for ±k twice,
so that its plain sum is the mean over the domain; leading axes of the fields (time,
samples) are averaged. Fields are (..., layer, y, x), SI units.
"""

from __future__ import annotations

import numpy as np

from opkit.base.arrays import Array, Complex
from opkit.solvers.quasi_geostrophic.model import Model


def streamfunction_hat(model: Model, q: Array) -> tuple[Complex, Complex]:
    """Fourier series of ψ and q, (..., layer, ny, nk)."""
    q_hat = np.fft.rfft2(q, norm="forward")
    psi_hat = model.diagonal * q_hat
    if model.parameters.layers == 2:
        upper, lower = model.stretching
        common = lower * q_hat[..., 0, :, :] + upper * q_hat[..., 1, :, :]
        psi_hat += (model.mixed * common)[..., None, :, :]
    return psi_hat, q_hat


def kinetic_energy_spectrum(model: Model, q: Array) -> Array:
    """½ |∇ψ|² of each layer, (layer, ny, nk), m²/s²."""
    psi_hat, _ = streamfunction_hat(model, q)
    return _mean(0.5 * model.weights * model.kappa2 * np.abs(psi_hat) ** 2, 3)


def potential_energy_spectrum(model: Model, q: Array) -> Array:
    """½ (H₁F₁/H) (ψ₁ - ψ₂)² of two layers, ½ r_d⁻² ψ² of one, (ny, nk), m²/s²."""
    psi_hat, q_hat = streamfunction_hat(model, q)
    stretched = q_hat + model.kappa2 * psi_hat
    depth = model.depth[:, None, None]
    density = -0.5 * (depth * (psi_hat.conj() * stretched).real).sum(axis=-3)
    return _mean(model.weights * density, 2)


def enstrophy_spectrum(model: Model, q: Array) -> Array:
    """½ q² of each layer, (layer, ny, nk), 1/s²."""
    q_hat = np.fft.rfft2(q, norm="forward")
    return _mean(0.5 * model.weights * np.abs(q_hat) ** 2, 3)


def energy_budget(
    model: Model, q: Array, filter_interval: float = 3600.0
) -> dict[str, Array]:
    """Rates of change of energy, each (ny, nk), m²/s³.

    Args:
        model: the equations.
        q: potential vorticity (..., layer, y, x), 1/s.
        filter_interval: as the solver's; the filter counts as a rate.

    Returns:
        ``kinetic_flux`` and ``potential_flux`` (nonlinear transfers by relative
        vorticity and by stretching), ``generation`` from the background shear,
        ``drag``, ``filter``.
    """
    psi_hat, q_hat = streamfunction_hat(model, q)
    zeta_hat = -model.kappa2 * psi_hat
    stretched = q_hat - zeta_hat
    shear = 1j * model.k * (model.velocity * q_hat + model.gradient * psi_hat)
    rate = model.log_filter / filter_interval
    slopes = {
        "kinetic_flux": -_jacobian(model, psi_hat, zeta_hat),
        "potential_flux": -_jacobian(model, psi_hat, stretched),
        "generation": -shear,
        "drag": _drag(model, psi_hat),
        "filter": rate * q_hat,
    }
    depth = model.depth[:, None, None]
    return {
        name: _mean(
            -model.weights * (depth * (psi_hat.conj() * slope).real).sum(axis=-3), 2
        )
        for name, slope in slopes.items()
    }


def enstrophy_budget(
    model: Model, q: Array, filter_interval: float = 3600.0
) -> dict[str, Array]:
    """Rates of change of ½ q² of each layer, each (layer, ny, nk), 1/s³.

    Args and terms as of `energy_budget`, the two fluxes together as ``flux``.
    """
    psi_hat, q_hat = streamfunction_hat(model, q)
    shear = 1j * model.k * (model.velocity * q_hat + model.gradient * psi_hat)
    slopes = {
        "flux": -_jacobian(model, psi_hat, q_hat),
        "generation": -shear,
        "drag": _drag(model, psi_hat),
        "filter": model.log_filter / filter_interval * q_hat,
    }
    return {
        name: _mean(model.weights * (q_hat.conj() * slope).real, 3)
        for name, slope in slopes.items()
    }


def isotropic(model: Model, spectrum: Array) -> tuple[Array, Array]:
    """Sum a spectrum (..., ny, nk) over rings.

    Returns:
        Middles of the rings κ (rings,), 1/m, and densities (..., rings), so that
        densities times the width of a ring, 2π over the longer side, sum up to the
        total.
    """
    width = 2 * np.pi / max(model.parameters.extent)
    ring = np.rint(np.sqrt(model.kappa2) / width).astype(int)
    rings = np.arange(ring.max() + 1)
    flat = spectrum.reshape(-1, ring.size)
    sums = [np.bincount(ring.ravel(), row, len(rings)) for row in flat]
    densities = np.reshape(sums, (*spectrum.shape[:-2], len(rings))) / width
    return width * rings, densities


def _jacobian(model: Model, psi_hat: Complex, field_hat: Complex) -> Complex:
    """J(ψ, f) in flux form, with the aliases that the solver's own products have."""
    shape = model.parameters.shape

    def grid(values: Complex) -> Array:
        return np.fft.irfft2(values, s=shape, norm="forward")

    u, v = grid(-1j * model.l * psi_hat), grid(1j * model.k * psi_hat)
    f = grid(field_hat)
    flux_x = np.fft.rfft2(u * f, norm="forward")
    flux_y = np.fft.rfft2(v * f, norm="forward")
    return model.mask * (1j * model.k * flux_x + 1j * model.l * flux_y)


def _drag(model: Model, psi_hat: Complex) -> Complex:
    slope = np.zeros_like(psi_hat)
    bottom = psi_hat[..., -1, :, :]
    slope[..., -1, :, :] = model.parameters.drag * model.kappa2 * bottom
    return slope


def _mean(values: Array, keep: int) -> Array:
    return np.asarray(values.mean(axis=tuple(range(values.ndim - keep))))
