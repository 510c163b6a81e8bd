"""Candidate terms of quasi-geostrophic flow of one or two layers.

States are potential vorticity q (sample, layer, y, x); each term stands in the equation
of one layer and is zero in the other:

    J(ψ_i, q_i),   ∂ψ_i/∂x,   ∂ψ_i/∂y,   ∂q_i/∂x,   ∂q_i/∂y,   ∇²ψ_i,   ψ_1 − ψ_2 in i

A wrong β is ∂ψ_i/∂x in both layers, a wrong U_i is ∂q_i/∂x and, through the background
gradient, ∂ψ/∂x, a wrong drag ∇²ψ of the lowest layer. Where the deformation radius is
wrong, the model has another ψ: join the library of the right solver with that of the
model (``suffix``); J(ψ_i, q_i) then has coefficient −1 in one and 1 in the other.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from opkit.base.arrays import Array, Complex
from opkit.solvers.quasi_geostrophic import QuasiGeostrophic
from opkit.solvers.quasi_geostrophic.diagnostics import streamfunction_hat

Term = Callable[[Array], Array]
Series = Callable[[Complex, Complex], Complex]
"""Fourier series of ψ and q, of all layers, to that of a term in one of them."""


def layered_library(solver: QuasiGeostrophic, suffix: str = "") -> dict[str, Term]:
    """Return the terms on a solver's grid, with ψ by its own inversion of q.

    Args:
        solver: whose extent, deformation radius and depth ratio give ψ.
        suffix: of the names, for a second library beside that of another solver; terms
            without ψ, which both have, are then left out.

    Returns:
        Names such as ``J(psi_1, q_1)`` to functions, 7 per layer; 6 where there is one.
    """
    model, shape = solver.model(), solver.resolution
    along: dict[str, Complex] = {
        "x": np.asarray(1j * model.k, np.complex128),
        "y": np.asarray(1j * model.l, np.complex128),
    }

    def back(series: Complex) -> Array:
        return np.fft.irfft2(series, shape, norm="forward")

    def term(layer: int, values: Series) -> Term:
        def of(q: Array) -> Array:
            psi_hat, q_hat = streamfunction_hat(model, q)
            result = np.zeros_like(q)
            result[..., layer, :, :] = back(values(psi_hat, q_hat))
            return result

        return of

    def jacobian(i: int) -> Series:
        """∂(u q)/∂x + ∂(v q)/∂y, as the solver has it, aliases included."""

        def values(psi_hat: Complex, q_hat: Complex) -> Complex:
            psi, q = psi_hat[..., i, :, :], back(q_hat[..., i, :, :])
            parts = (-along["y"] * psi, along["x"] * psi)
            flux = [np.fft.rfft2(back(part) * q, norm="forward") for part in parts]
            total: Complex = along["x"] * flux[0] + along["y"] * flux[1]
            return model.mask * total

        return values

    def of_psi(i: int, symbol: Array | Complex) -> Series:
        return lambda psi_hat, q_hat: symbol * psi_hat[..., i, :, :]

    def of_q(i: int, symbol: Array | Complex) -> Series:
        return lambda psi_hat, q_hat: symbol * q_hat[..., i, :, :]

    def apart(psi_hat: Complex, q_hat: Complex) -> Complex:
        return psi_hat[..., 0, :, :] - psi_hat[..., 1, :, :]

    terms: dict[str, Term] = {}
    for i in range(solver.layers):
        n = i + 1
        terms[f"J(psi_{n}, q_{n})"] = term(i, jacobian(i))
        for axis, symbol in along.items():
            terms[f"psi_{n} {axis}"] = term(i, of_psi(i, symbol))
            terms[f"q_{n} {axis}"] = term(i, of_q(i, symbol))
        terms[f"lap psi_{n}"] = term(i, of_psi(i, -model.kappa2))
        if solver.layers == 2:
            terms[f"psi_1 - psi_2 in {n}"] = term(i, apart)
    if suffix:
        terms = {f"{n}{suffix}": t for n, t in terms.items() if not n.startswith("q_")}
    return terms
