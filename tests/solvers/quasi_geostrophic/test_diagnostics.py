"""Spectra sum up to means over the domain, budgets to rates of change."""

from typing import Any

import numpy as np
import pytest

from opkit.solvers.quasi_geostrophic import diagnostics
from opkit.solvers.quasi_geostrophic.integrate import Steps, Trajectory
from opkit.solvers.quasi_geostrophic.solver import QuasiGeostrophic

WAVES = {"kind": "random-waves", "low": 1, "high": 14, "rms": 1e-5}


def draw(**parameters: Any) -> tuple[QuasiGeostrophic, np.ndarray]:
    qg = QuasiGeostrophic(
        **({"resolution": (32, 32), "distribution": WAVES} | parameters)
    )
    return qg, qg.sample(np.random.default_rng(2))["initial_potential_vorticity"]


@pytest.mark.parametrize("layers", [1, 2])
def test_spectra_sum_to_means(layers: int) -> None:
    qg, _ = draw(layers=layers, velocity=(0.02, 0.0)[:layers])
    model = qg.model()
    # white noise: Nyquist modes included, where half-plane weights differ
    q = 1e-5 * np.random.default_rng(0).standard_normal((3, layers, 32, 32))
    enstrophy = diagnostics.enstrophy_spectrum(model, q).sum(axis=(-2, -1))
    np.testing.assert_allclose(enstrophy, 0.5 * (q**2).mean(axis=(0, 2, 3)), rtol=1e-12)
    q[:] = np.fft.irfft2(model.mask * np.fft.rfft2(q))
    psi_hat, _ = diagnostics.streamfunction_hat(model, q)
    psi = np.fft.irfft2(psi_hat, norm="forward")
    u = np.fft.irfft2(-1j * model.l * psi_hat, norm="forward")
    v = np.fft.irfft2(1j * model.k * psi_hat, norm="forward")
    kinetic = diagnostics.kinetic_energy_spectrum(model, q).sum(axis=(-2, -1))
    np.testing.assert_allclose(
        kinetic, 0.5 * (u**2 + v**2).mean(axis=(0, 2, 3)), rtol=1e-12
    )
    available = diagnostics.potential_energy_spectrum(model, q).sum()
    if layers == 2:
        scale, jump = model.depth[0] * model.stretching[0], psi[:, 0] - psi[:, 1]
    else:
        scale, jump = 15e3**-2, psi[:, 0]
    np.testing.assert_allclose(available, 0.5 * scale * (jump**2).mean(), rtol=1e-10)
    total = -0.5 * (model.depth[:, None, None] * psi * q).mean(axis=(0, 2, 3)).sum()
    np.testing.assert_allclose((model.depth * kinetic).sum() + available, total)
    kappa, density = diagnostics.isotropic(
        model, diagnostics.enstrophy_spectrum(model, q)
    )
    np.testing.assert_allclose(
        density.sum(axis=-1) * kappa[1], 0.5 * (q**2).mean(axis=(0, 2, 3))
    )


@pytest.mark.parametrize("layers", [1, 2])
def test_budgets_close(layers: int) -> None:
    """Their sums are the rates of change of energy and enstrophy of the solver."""
    parameters = {"drag": 5e-6, "filter_interval": 36000.0}
    qg, q = draw(layers=layers, velocity=(0.05, 0.0)[:layers], **parameters)
    model = qg.model()
    steps = Steps("etdrk4", 3600.0, rtol=1e-12, cfl=0.8, filter_interval=36000.0)
    trajectory = Trajectory(model, steps, "numpy")
    trajectory.start(q[None])
    span, values = 15.0, []
    for _ in range(3):
        now = trajectory.fields()[0][0]
        kinetic = diagnostics.kinetic_energy_spectrum(model, now).sum(axis=(-2, -1))
        energy = (model.depth * kinetic).sum()
        energy += diagnostics.potential_energy_spectrum(model, now).sum()
        enstrophy = diagnostics.enstrophy_spectrum(model, now).sum(axis=(-2, -1))
        values.append((now, energy, enstrophy))
        trajectory.advance(span)
    middle = values[1][0]
    energy = diagnostics.energy_budget(model, middle, 36000.0)
    change = (values[2][1] - values[0][1]) / (2 * span)
    # central differences: (span × 1e-3/s, the largest decay rate)²/6 and round-off
    size = max(abs(term.sum()) for term in energy.values())
    assert abs(sum(term.sum() for term in energy.values()) - change) < 1e-5 * size
    enstrophy = diagnostics.enstrophy_budget(model, middle, 36000.0)
    change = (values[2][2] - values[0][2]) / (2 * span)
    size = max(np.abs(term.sum(axis=(-2, -1))).max() for term in enstrophy.values())
    closure = sum(term.sum(axis=(-2, -1)) for term in enstrophy.values()) - change
    assert np.abs(closure).max() < 1e-5 * size


def test_signs_and_zero_sums() -> None:
    qg, q = draw(dealias=True)
    model = qg.model()
    q = np.fft.irfft2(model.mask * np.fft.rfft2(q))
    terms = diagnostics.energy_budget(model, q)
    for name in ("kinetic_flux", "potential_flux"):
        # dealiased transfers move energy, and make none
        assert abs(terms[name].sum()) < 1e-12 * np.abs(terms[name]).sum()
    psi_hat, _ = diagnostics.streamfunction_hat(model, q)
    gradient = np.stack([1j * model.k * psi_hat[1], 1j * model.l * psi_hat[1]])
    speed2 = (np.fft.irfft2(gradient, norm="forward") ** 2).sum(axis=0).mean()
    drag = -qg.drag * model.depth[1] * speed2
    np.testing.assert_allclose(terms["drag"].sum(), drag, rtol=1e-10)
    assert (terms["filter"] <= 0).all()
