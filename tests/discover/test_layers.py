"""What a model of two-layer quasi-geostrophic flow has wrong, by coefficient."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from opkit.discover import discover
from opkit.discover.layers import layered_library
from opkit.solvers.quasi_geostrophic import QuasiGeostrophic

POINTS, INTERVAL = 32, 3600.0
TRUTH = QuasiGeostrophic(
    resolution=(POINTS, POINTS), records=1, record_interval=INTERVAL,
    filter_strength=0.0, backend="numpy", rtol=1e-5,
)  # fmt: skip


def step(solver: QuasiGeostrophic) -> Callable[[np.ndarray], np.ndarray]:
    def advance(q: np.ndarray) -> np.ndarray:
        solution = solver.solve({"initial_potential_vorticity": q})
        return np.asarray(solution.outputs["potential_vorticity"][:, 0])

    return advance


def states(count: int) -> np.ndarray:
    """Random waves with at most eight periods, 1e-5 1/s above and 3e-6 1/s below."""
    k, l = np.fft.fftfreq(POINTS, 1 / POINTS)[:, None], np.arange(POINTS // 2 + 1)
    waves = np.hypot(k, l)
    size = np.where((waves > 0) & (waves < 9), 1 / (1 + (waves / 4) ** 4), 0)
    draw = np.random.default_rng(0).standard_normal((count, 2, POINTS, POINTS))
    q = np.fft.irfft2(size * np.fft.rfft2(draw), (POINTS, POINTS))
    rms = q.std((0, 2, 3))[:, None, None]
    result: np.ndarray = q * np.array([1e-5, 3e-6])[:, None, None] / rms
    return result


F1, F2 = TRUTH.model().stretching
WIDE = replace(TRUTH, deformation_radius=20e3)
RIGHT, OWN = TRUTH.model().gradient.ravel(), WIDE.model().gradient.ravel()
CASES = {
    "beta": (
        step(replace(TRUTH, beta=0.0)),
        {"psi_1 x": -1.5e-11, "psi_2 x": -1.5e-11},
    ),
    "drag": (step(replace(TRUTH, drag=0.0)), {"lap psi_2": -5.787e-7}),
    # U₁ is twice what it is: U₁ ∂q₁/∂x and the background gradients
    "shear": (
        step(replace(TRUTH, velocity=(0.05, 0.0))),
        {"q_1 x": 0.025, "psi_1 x": 0.025 * F1, "psi_2 x": -0.025 * F2},
    ),
    # 2 S(q/2) has half of the quadratic terms, and all others
    "jacobian": (
        lambda q: 2 * step(TRUTH)(q / 2),
        {"J(psi_1, q_1)": -0.5, "J(psi_2, q_2)": -0.5},
    ),
    # all terms with another ψ; of ∇²ψ₂ = q₂ - F₂ (ψ₁ - ψ₂) the difference
    "radius": (
        step(WIDE),
        {
            "J(psi_1, q_1)": -1,
            "J(psi_2, q_2)": -1,
            "J(psi_1, q_1) own": 1,
            "J(psi_2, q_2) own": 1,
            "psi_1 x": -RIGHT[0],
            "psi_2 x": -RIGHT[1],
            "psi_1 x own": OWN[0],
            "psi_2 x own": OWN[1],
            "psi_1 - psi_2 in 2": 5.787e-7 * F2,
            "psi_1 - psi_2 in 2 own": -5.787e-7 * WIDE.model().stretching[1],
        },
    ),
}


OTHERS = [pytest.param(w, marks=pytest.mark.slow) for w in CASES if w != "drag"]


@pytest.mark.parametrize("wrong", ["drag", *OTHERS])
def test_wrong_terms_are_found(wrong: str) -> None:
    model, expected = CASES[wrong]
    before = states(4)
    after = step(TRUTH)(before)
    library = layered_library(TRUTH)
    assert len(library) == 14
    if wrong == "radius":
        library |= layered_library(WIDE, " own")
        assert len(library) == 24
    found = discover(model, before, after, INTERVAL, library, least=1e-3, corrections=1)
    terms = {term.name: term.coefficient for term in found.terms}
    assert terms.keys() == expected.keys()
    for name, coefficient in expected.items():  # O(Δ²) of an hour
        assert terms[name] == pytest.approx(coefficient, rel=1e-3)
