"""The cantilever: exact bars, beam theory, order of convergence, what it tells."""

import numpy as np
import pytest

from opkit.case import load_case
from opkit.elements import interpolation, mass
from opkit.errors import OpkitInputError
from opkit.solvers.fem.elasticity import Cantilever, _System


def displacement(solver: Cantilever, modulus: np.ndarray) -> np.ndarray:
    solution = solver.solve({"modulus": modulus[None]})
    assert (solution.error < 1e-8).all()
    return np.stack([solution.outputs[f"displacement_{axis}"][0] for axis in "xy"])


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("poisson", [0.0, 0.3])
def test_uniform_strain_is_exact(degree: int, poisson: float) -> None:
    """Patch test: A u = 0 inside for u linear and E constant (zero mean traction)."""
    system = _System(2, 3, poisson, degree)
    x, y = system.points.T
    system.free = np.arange(2 * len(x))
    force = system.matrix(np.full(len(system.cells), 7.0))
    inside = (x > 0) & (x < 2) & (y > 0) & (y < 1)
    u = np.concatenate([2 * x - y, 3 * x + 0.5 * y])
    residual = (force @ u).reshape(2, -1)
    np.testing.assert_allclose(residual[:, inside], 0.0, atol=1e-12)
    # and a rotation costs nothing anywhere
    turn = np.concatenate([-y, x])
    np.testing.assert_allclose(force @ turn, 0.0, atol=1e-12)
    # stretching by ε along x with ν = 0: energy E ε² / 2 times the area, 2
    if poisson == 0:
        stretch = np.concatenate([x, 0 * y])
        assert stretch @ force @ stretch == pytest.approx(7.0 * 2.0, rel=1e-13)


def test_slender_beams_follow_timoshenko() -> None:
    """Tip: g L⁴ / (8 E I) + g L² / (2 κ G), I = 1/12, κ = 5/6, G = E / 2 for ν = 0."""
    solver = Cantilever(resolution=(2,), length=12, poisson=0.0, degree=2)
    points, cells = solver.mesh()
    u = displacement(solver, np.full(len(cells), 1e3))
    L, E = 12.0, 1e3
    tip = 12 * L**4 / (8 * E) + L**2 / (2 * (5 / 6) * E / 2)
    end = np.abs(points - (L, 0.5)).sum(axis=1).argmin()
    # the clamped end's local field is of order 1 / L² of the whole
    assert u[1, end] == pytest.approx(-tip, rel=1 / L**2)


def test_refinement_converges() -> None:
    """The clamped corners, u ~ r^0.71 at ν = 0.3, limit the order in L2 to 1.42."""
    finest = Cantilever(resolution=(16,), length=2, degree=2)
    points, cells = finest.mesh()
    exact = displacement(finest, np.ones(len(cells)))
    M, errors = mass(points, cells), []
    for n in (4, 8):
        solver = Cantilever(resolution=(n,), length=2, degree=1)
        own, triangles = solver.mesh()
        P = interpolation(own, triangles, points)
        e = (displacement(solver, np.ones(len(triangles))) @ P.T) - exact
        errors.append(np.sqrt(np.einsum("kn,kn->", e @ M, e)))
    assert np.log2(errors[0] / errors[1]) > 1.42


@pytest.mark.parametrize("degree", [1, 2])
def test_the_mesh_nests_and_the_end_is_clamped(degree: int) -> None:
    solver = Cantilever(resolution=(4,), length=3, degree=degree)
    points, cells = solver.mesh()
    assert len(points) == (4 * degree + 1) * (12 * degree + 1)
    fixed, values = solver.dirichlet()
    assert fixed.sum() == 4 * degree + 1 and not values.any()
    u = displacement(solver, np.linspace(1, 2, len(cells)))
    assert (u[:, fixed] == 0).all() and (u[:, ~fixed] != 0).all()
    for coarse, triangles in solver.hierarchy():
        P = interpolation(coarse, triangles, points)
        galerkin = P.T @ mass(points, cells) @ P
        assert abs(galerkin - mass(coarse, triangles)).max() < 1e-14


def test_the_case_and_bad_input() -> None:
    solver = load_case("elastic-cantilever").build_solver()
    modulus = solver.sample(np.random.default_rng(0))["modulus"]
    assert (modulus > 0).all() and modulus.std() > 0.1 * modulus.mean()
    u = solver.solve({"modulus": modulus[None]})
    assert u.outputs["displacement_y"].min() < 0
    with pytest.raises(OpkitInputError, match=r"give \(batch"):
        solver.solve({"modulus": modulus[None, :-1]})
    with pytest.raises(OpkitInputError, match="above zero"):
        solver.solve({"modulus": -modulus[None]})
