"""Plates with holes: meshes, a manufactured solution, Kirsch's hole, equilibrium."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse.linalg import spsolve

import opkit
from opkit.elements import mass
from opkit.errors import OpkitInputError, SolverError
from opkit.solvers.fem.lagrange import facet_nodes, lagrange_nodes
from opkit.solvers.fem.plane_elasticity import (
    lame_of,
    nodal_stress,
    stiffness_of,
    von_mises,
)
from opkit.solvers.fem.simplex_mesh import SimplexMesh
from opkit.solvers.interface import MeshPerSample, Parametric
from opkit.solvers.plates.mesher import Plate, mesh_plate
from opkit.solvers.plates.solver import PARTS, HoledPlate, Holes

Array = NDArray[np.float64]
E, NU = 2.0, 0.3


def plate(size: float, around: int, *holes: tuple[float, float, float]) -> Plate:
    centres, radii = np.array([h[:2] for h in holes]), np.array([h[2] for h in holes])
    return Plate(2.0, 1.0, centres, radii, size, around)


def solve_given(mesh: SimplexMesh, fixed: Array, given: Array, load: Array) -> Array:
    """Displacement (2, node) of degree 2 with given values at some nodes."""
    points, cells = lagrange_nodes(mesh, 2)
    K = stiffness_of(points, cells, *lame_of(E, NU, True), None).tocsr()
    u = np.zeros((2, len(points)))
    u[:, fixed] = given[:, fixed]
    free = np.setdiff1d(np.arange(2 * len(points)), np.r_[fixed, fixed + len(points)])
    right = load.ravel() - K @ u.ravel()
    u.ravel()[free] = spsolve(K[free][:, free].tocsc(), right[free])
    return u


def test_meshes_have_the_areas_lengths_and_parts_of_their_plates() -> None:
    """Two holes close to each other and to a side; polygons of 24 edges."""
    mesh = mesh_plate(plate(0.1, 24, (0.4, 0.35, 0.25), (1.0, 0.35, 0.25)))
    assert mesh.names == PARTS
    # the polygon of n edges has the area n r² sin(2π/n) / 2
    hole = 24 * 0.25**2 * np.sin(2 * np.pi / 24) / 2
    assert mesh.volumes().sum() == pytest.approx(2 - 2 * hole, rel=1e-12)
    around = 2 * 24 * 2 * 0.25 * np.sin(np.pi / 24)
    assert mesh.part_sizes() == pytest.approx(
        {"edges": 4, "holes": around, "left": 1, "right": 1}, rel=1e-12
    )
    again = mesh_plate(plate(0.1, 24, (0.4, 0.35, 0.25), (1.0, 0.35, 0.25)))
    np.testing.assert_array_equal(mesh.points, again.points)
    np.testing.assert_array_equal(mesh.cells, again.cells)


def test_order_of_convergence_of_a_manufactured_solution() -> None:
    """u = (sin x cos 2y, x² y + cos y) with its body force: order 3 in L2 of degree 2.

    The load is ∫ f φ with f interpolated, which is of order 3 itself. Meshes do not
    nest and are graded: h is that of the number of nodes, and the order within 0.4.
    """
    lame, mu = lame_of(E, NU, True)

    def exact(x: Array, y: Array) -> Array:
        return np.stack([np.sin(x) * np.cos(2 * y), x**2 * y + np.cos(y)])

    def force(x: Array, y: Array) -> Array:
        s, c = np.sin(x), np.cos(x)
        u_xx, u_xy = -s * np.cos(2 * y), -2 * c * np.sin(2 * y)
        u_yy = 4 * u_xx
        v_xx, v_yy, v_xy = 2 * y, -np.cos(y), 2 * x
        return -np.stack(
            [
                (lame + 2 * mu) * u_xx + mu * u_yy + (lame + mu) * v_xy,
                (lame + 2 * mu) * v_yy + mu * v_xx + (lame + mu) * u_xy,
            ]
        )

    errors, sizes = [], []
    for size, around in ((0.2, 12), (0.05, 48)):
        mesh = mesh_plate(plate(size, around, (0.5, 0.5, 0.2), (1.4, 0.6, 0.15)))
        points, cells = lagrange_nodes(mesh, 2)
        M = mass(points, cells)
        fixed = facet_nodes(mesh, mesh.facets, 2)
        true = exact(*points.T)
        u = solve_given(mesh, fixed, true, (M @ force(*points.T).T).T)
        off = u - true
        errors.append(np.sqrt(sum(d @ (M @ d) for d in off)))
        sizes.append(len(points) ** -0.5)
    order = np.log(errors[0] / errors[1]) / np.log(sizes[0] / sizes[1])
    assert order == pytest.approx(3, abs=0.4)


def test_the_stress_at_a_hole_is_three_times_that_far_away() -> None:
    """Kirsch's solution: displacement given outside, a free hole of radius 0.15.

    σ_θ / σ = 1 - 2 cos 2θ at the hole: 3 at its top, -1 at its sides. Edges are
    straight, so the stress at the corners of the polygon is that of a smooth hole to
    O(h): halving the edges halves the error at least.
    """
    a, mu, kappa = 0.15, E / (2 * (1 + NU)), (3 - NU) / (1 + NU)
    errors = []
    for size, around in ((0.1, 32), (0.05, 64)):
        mesh = mesh_plate(plate(size, around, (1.0, 0.5, a)))
        points, cells = lagrange_nodes(mesh, 2)
        x, y = (points - [1.0, 0.5]).T
        r, t = np.hypot(x, y), np.arctan2(y, x)
        q = a / r
        true = (a / (8 * mu)) * np.stack(
            [
                (kappa + 1) * np.cos(t) / q
                + 2 * q * ((1 + kappa) * np.cos(t) + np.cos(3 * t))
                - 2 * q**3 * np.cos(3 * t),
                (kappa - 3) * np.sin(t) / q
                + 2 * q * ((1 - kappa) * np.sin(t) + np.sin(3 * t))
                - 2 * q**3 * np.sin(3 * t),
            ]
        )
        outer = mesh.facets[mesh.parts != mesh.names.index("holes")]
        fixed = facet_nodes(mesh, outer, 2)
        u = solve_given(mesh, fixed, true, np.zeros_like(true))
        stress = nodal_stress(points, cells, u, *lame_of(E, NU, True))
        ring = np.flatnonzero(np.abs(r - a) < 1e-9)
        angle = t[ring]
        turned = (
            stress[ring, 0] * np.sin(angle) ** 2
            + stress[ring, 1] * np.cos(angle) ** 2
            - stress[ring, 2] * np.sin(2 * angle)
        )
        errors.append(np.abs(turned - (1 - 2 * np.cos(2 * angle))).max())
        peak = turned.max()
    assert peak == pytest.approx(3, rel=0.03)
    assert errors[1] < 0.5 * errors[0]


def test_equilibrium_and_superposition() -> None:
    """Forces at the clamped side balance the traction; answers are linear in it."""
    solver = opkit.load_case("elasticity-plates", ("resolution=6",)).build_solver()
    assert isinstance(solver, MeshPerSample) and isinstance(solver, Parametric)
    arrays = {k: v[None] for k, v in solver.sample(np.random.default_rng(5)).items()}
    pulls = np.array([[1.0, 0.0], [0.0, 1.0], [0.7, -0.1]])
    solved = [solver.solve({**arrays, "traction": t[None]}) for t in pulls]
    u = [np.stack([s.outputs[f"displacement_{k}"][0] for k in "xy"]) for s in solved]
    np.testing.assert_allclose(u[2], 0.7 * u[0] - 0.1 * u[1], atol=1e-10)
    points, cells = arrays["points"][0], arrays["cells"][0]
    K = stiffness_of(points, cells, *lame_of(1.0, 0.3, True), None)
    force = (K @ u[2].ravel()).reshape(2, -1)
    clamped = points[:, 0] == 0
    np.testing.assert_allclose(force[:, clamped].sum(1), [-0.7, 0.1], atol=1e-9)
    inputs = {**arrays, "traction": pulls[2:]}
    assert solver.residual(inputs, solved[2].outputs)[0] < 1e-9
    wrong = {k: 1.01 * v for k, v in solved[2].outputs.items()}
    assert solver.residual(inputs, wrong)[0] == pytest.approx(0.01, rel=1e-4)


def test_von_mises_of_simple_states() -> None:
    """Uniaxial stress is its own equivalent, pure shear √3 times."""
    states = np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    np.testing.assert_allclose(von_mises(states), [2.0, np.sqrt(3), 1.0])


def test_what_cannot_be_drawn_or_solved() -> None:
    """One line each, with the remedy."""
    solver = HoledPlate(
        resolution=(6,), distribution=Holes(fewest=20, most=20, radius=(0.2, 0.2))
    )
    with pytest.raises(SolverError, match="no room for 20 holes: make radius"):
        solver.sample(np.random.default_rng(0))
    with pytest.raises(OpkitInputError, match=r"one sample at a time: give points"):
        solver.solve({"traction": np.ones((1, 2))})
    with pytest.raises(ValueError, match="fewest 3 is above most 2"):
        Holes(fewest=3, most=2)
