"""Rubber in the plane: closed forms, order of convergence, balance, guesses, errors."""

import numpy as np
import pytest
from fixtures.grid_samples import batch, complete, draw, solve_one

from opkit.errors import NotConvergedError, OpkitInputError
from opkit.solvers.fem.newton import Numerics, solve
from opkit.solvers.fem.quads.fields import gauss, gradients, relative_l2
from opkit.solvers.fem.quads.grids import QuadGrid, channel_grid
from opkit.solvers.hyperelastic.cell import HyperelasticCell
from opkit.solvers.hyperelastic.cell_strain import HyperelasticCellStrain
from opkit.solvers.hyperelastic.stress import (
    C1,
    C2,
    DISPLACEMENT,
    plane_strain,
    plane_stress,
    von_mises,
)

pytestmark = pytest.mark.fem

TIGHT = 1e-11
# A relative residual of TIGHT is an error of the displacement some ten times larger
# (the stiffness of one cell against that of the whole); 1e-8 leaves a wide margin.
SAME = 1e-8


def square(n: int) -> tuple[QuadGrid, np.ndarray]:
    grid = QuadGrid(n, n)
    x = np.linspace(0, 1, 2 * n + 1)
    return grid, channel_grid(grid, x, 0 * x, 0 * x + 1)


def vector(fields: dict) -> np.ndarray:
    return np.stack([fields[name] for name in DISPLACEMENT])


def cell(plane: str, **parameters) -> HyperelasticCell | HyperelasticCellStrain:
    kinds = {"stress": HyperelasticCell, "strain": HyperelasticCellStrain}
    return kinds[plane](**{"resolution": (17, 80), "rtol": TIGHT, **parameters})


@pytest.mark.parametrize("stretch", [0.8, 1.5, 2.5])
def test_uniaxial_tension_of_a_sheet(stretch: float) -> None:
    """σ = 2 (L² - 1/L)(C1 + C2/L); the traction on the undeformed area is σ / L."""
    from opkit.solvers.hyperelastic.systems import PlaneStress

    grid, points = square(2)
    rollers = grid.edge("first"), grid.edge("low")
    system = PlaneStress(grid, points, rollers, lambda x: x[1] > 1 - 1e-9)
    exact = 2 * (stretch**2 - 1 / stretch) * (C1 + C2 / stretch)
    system.prepare(points, np.array([0.0, exact / stretch]), C1 + C2)
    state = solve(system, system.plain, system.plain, Numerics(TIGHT, 4))
    u = system.space.split(state.x)[0]
    moved = np.stack([points[:, 0] / np.sqrt(stretch), points[:, 1] * stretch])
    np.testing.assert_allclose(points.T + u, moved, atol=1e-8)
    F = np.eye(2) + gradients(grid, points, u, gauss(3)[0])
    sigma = plane_stress(F, C1, C2)
    np.testing.assert_allclose(sigma[..., 1], exact, rtol=1e-8)
    np.testing.assert_allclose(sigma[..., [0, 2]], 0.0, atol=1e-8 * abs(exact))


@pytest.mark.parametrize("stretch", [0.8, 1.7])
def test_uniaxial_tension_of_a_block(stretch: float) -> None:
    """In plane strain σ_yy = μ (λ² - 1/λ²) and p = μ (1/λ² - 1)."""
    from opkit.solvers.hyperelastic.systems import VOLUMETRIC, PlaneStrain

    grid, points = square(2)
    ends = np.concatenate([grid.edge("low"), grid.edge("high")])
    system = PlaneStrain(grid, points, (grid.edge("first"), ends))
    u = np.stack([0 * points[:, 0], (stretch - 1) * points[:, 1]])
    system.prepare(points, stretch, u)
    zero = np.zeros(system.space.size)
    state = solve(system, zero, system.plain, Numerics(TIGHT, 4))
    u, p = system.space.split(state.x)
    moved = np.stack([points[:, 0] / stretch, points[:, 1] * stretch])
    np.testing.assert_allclose(points.T + u, moved, atol=1e-8)
    np.testing.assert_allclose(p, 1 / stretch**2 - 1, rtol=1e-8)
    F = np.eye(2) + gradients(grid, points, u, gauss(2)[0])
    sigma = plane_strain(F, np.full(F.shape[:2], p[0]), VOLUMETRIC)
    exact = stretch**2 - 1 / stretch**2
    np.testing.assert_allclose(sigma[..., 1], exact, rtol=1e-8)
    np.testing.assert_allclose(sigma[..., [0, 2]], 0.0, atol=1e-8)


def test_an_inflated_tube_converges_with_the_orders_of_its_elements() -> None:
    """r² = R² + c: the displacement gains three orders, pressure and stress two.

    p' = -σ_zz = μ (1 - A) with σ_rr = 0 outside: σ_rr = -∫ (σ_θθ - σ_rr) dr / r,
    σ_θθ - σ_rr = μ (r²/R² - R²/r²), by quadrature.
    """
    from opkit.solvers.hyperelastic.systems import PlaneStrain

    inner, outer, c = 0.5, 1.0, 0.3
    errors = []
    for n in (2, 4, 8):
        grid = QuadGrid(n, 8 * n, periodic=True)
        R = np.repeat(np.linspace(inner, outer, grid.shape[0]), grid.shape[1])
        angle = np.tile(
            np.arange(grid.shape[1]) * 2 * np.pi / grid.shape[1], grid.shape[0]
        )
        normal = np.stack([np.cos(angle), np.sin(angle)])
        points = (R * normal).T
        exact = (np.sqrt(R**2 + c) - R) * normal
        hole = grid.edge("first")
        system = PlaneStrain(grid, points, (hole, hole))
        system.prepare(points, 1.0, exact)
        zero = np.zeros(system.space.size)
        state = solve(system, zero, system.plain, Numerics(1e-10, 2))
        u, p = system.space.split(state.x)
        pressure = tube_pressure(R, outer, c)[None]
        values = grid.at_nodes(p)[None]
        errors.append(
            [
                relative_l2(grid, points, u, exact),
                relative_l2(grid, points, values, pressure),
            ]
        )
    orders = np.log2(np.array(errors[:-1]) / errors[1:])[-1]
    # a tenth for what is left of higher terms on these meshes
    assert orders[0] > 2.9 and orders[1] > 1.9, (errors, orders)


def tube_pressure(R: np.ndarray, outer: float, c: float) -> np.ndarray:
    """p / μ = R²/r² - 1 - σ_rr / μ, from σ_rr = μ (R²/r² - 1) - p."""
    x, w = np.polynomial.legendre.leggauss(40)
    a, b = np.sqrt(R**2 + c)[:, None], np.sqrt(outer**2 + c)
    r = (a + b) / 2 + (b - a) / 2 * x
    square = r**2 / (r**2 - c)
    radial = -((b - a) / 2 * w * (square - 1 / square) / r).sum(axis=1)
    return R**2 / (R**2 + c) - 1 - radial


def test_the_published_load_is_linear_elasticity() -> None:
    """Traction 100: against own linear elements on triangles, E = 6 (C1 + C2), ν = 1/2.

    The non-linear part is of the size of the strain, some 1e-3. The triangles have
    straight edges with nodes at their middles, which differ from the grid's by the
    square of the cells' size: 1.7 % in the displacement on (8, 40), a quarter here.
    """
    from scipy import sparse
    from scipy.sparse.linalg import spsolve

    from opkit.elements import stiffness_matrices

    solver = cell("stress", traction=100.0, resolution=(33, 160))
    sample = draw(solver, np.random.default_rng(0))
    solution = solve_one(solver, sample)
    smaller = solve_one(cell("stress", traction=1.0, resolution=(33, 160)), sample)
    u, v = vector(solution.fields), 100 * vector(smaller.fields)
    assert np.abs(u - v).max() < 1e-3 * np.abs(u).max()
    points, cells = solution.points, solver.grid.triangles
    K = stiffness_matrices(points, cells, np.ones(len(cells)))
    E, nu = 6 * (C1 + C2), 0.5
    lame, shear = E * nu / (1 - nu**2), E / (2 * (1 + nu))
    both = shear * (K[0][0] + K[1][1])
    blocks = [
        [lame * K[a][b] + shear * K[b][a] + (a == b) * both for b in (0, 1)]
        for a in (0, 1)
    ]
    A = sparse.block_array(blocks).tocsr()
    top = solver.grid.edge("last")
    top = top[points[top, 1] == 1]
    order = top[np.argsort(points[top, 0])]
    load = np.zeros((2, len(points)))
    weights = np.array([1, 4, 1]) / 6
    for k in range(0, len(order) - 2, 2):
        width = points[order[k + 2], 0] - points[order[k], 0]
        load[1, order[k : k + 3]] += 100.0 * width * weights
    free = np.flatnonzero(np.tile(points[:, 1] > 0, 2))
    w = np.zeros(2 * len(points))
    w[free] = spsolve(A[free][:, free], load.ravel()[free])
    assert relative_l2(solver.grid, points, u, w.reshape(2, -1)) < 5e-3


@pytest.mark.parametrize("plane", ["stress", "strain"])
def test_forces_balance_and_mirrors_agree(plane: str) -> None:
    solver = cell(plane)
    sample = draw(solver, np.random.default_rng(4))
    k = np.arange(1, 6)
    mirror = np.concatenate(
        [sample["void"][:5] * (-1.0) ** k, -sample["void"][5:] * (-1.0) ** k]
    )
    one, other = (
        solve_one(solver, {**sample, "void": v}) for v in (sample["void"], mirror)
    )
    I, J = solver.grid.shape
    swap = (3 * J // 4 - np.arange(J)) % J
    u, v = (vector(s.fields).reshape(2, I, J) for s in (one, other))
    np.testing.assert_allclose(v[:, :, swap], [-u[0], u[1]], atol=SAME)
    # nothing pushes sideways or turns on the whole: reactions sum up to nothing
    system = solver._system(complete(solver, {**sample, "void": mirror}))[0]
    x = system.space.join(vector(other.fields))
    if plane == "strain":
        p = other.fields["pressure"][solver.grid.vertices] / solver.modulus
        x = system.space.join(vector(other.fields), p)
    system.set_load(1.0)
    forces = system.equations.force(x)[system.space.vector]
    np.testing.assert_allclose(
        forces.sum(axis=1),
        [0, -solver.traction / (C1 + C2)] if plane == "stress" else 0.0,
        atol=1e-9,
    )


@pytest.mark.parametrize("plane", ["stress", "strain"])
def test_von_mises_settles_under_refinement(plane: str) -> None:
    """In the inner half of the cell, where no corner of the clamped edge is near."""
    fine = QuadGrid(8, 40, periodic=True)
    fields = []
    for resolution in ((9, 40), (13, 80), (17, 80)):
        solver = cell(plane, resolution=resolution)
        sample = draw(solver, np.random.default_rng(1), **extra(plane, stretch=1.3))
        solution = solve_one(solver, sample)
        field = solver.grid.interpolate(solution.fields["von_mises"], fine)
        fields.append(field.reshape(fine.shape)[:9])
    change = [
        np.linalg.norm(f - fields[-1]) / np.linalg.norm(fields[-1]) for f in fields
    ]
    assert change[1] < 0.02 and change[1] < change[0] / 2


def test_gauss_points_are_those_of_the_published_cloud() -> None:
    solver = cell("stress", resolution=(7, 72))
    solution = solve_one(solver, draw(solver, np.random.default_rng(0)))
    cloud = solver.at_gauss_points(solution)
    assert cloud["points"].shape == (972, 2) and cloud["von_mises"].shape == (972,)
    at_nodes = von_mises(*(solution.fields[f"stress_{c}"] for c in ("xx", "yy", "xy")))
    np.testing.assert_array_equal(at_nodes, solution.fields["von_mises"])
    assert 0.5 < cloud["von_mises"].mean() / at_nodes.mean() < 2


@pytest.mark.parametrize("plane", ["stress", "strain"])
def test_a_guess_one_per_cent_off_takes_few_solves(plane: str) -> None:
    solver = cell(plane)
    sample = draw(solver, np.random.default_rng(0))
    cold = solve_one(solver, sample)
    x, y = cold.points.T
    off = {
        k: v * (1 + 0.014 * np.sin(5 * x) * np.cos(4 * y))
        for k, v in cold.fields.items()
    }
    noise = np.random.default_rng(1).standard_normal((2, len(x)))
    rough = {
        name: cold.fields[name] + 1e-3 * np.sqrt((cold.fields[name] ** 2).mean()) * n
        for name, n in zip(DISPLACEMENT, noise, strict=True)
    }
    without = {name: off[name] for name in DISPLACEMENT}
    for guess, factorisations in ((off, 1), (without, 2), (rough, 4)):
        warm = solve_one(solver, sample, guess)
        assert warm.start == "guess" and warm.load == 1
        assert warm.factorisations <= factorisations
        np.testing.assert_allclose(vector(warm.fields), vector(cold.fields), atol=SAME)
    assert solver.residual_one(complete(solver, sample), cold.fields) <= TIGHT
    assert 1e-4 < solver.residual_one(complete(solver, sample), off) < 1


@pytest.mark.parametrize("plane", ["stress", "strain"])
def test_a_useless_guess_does_no_harm(plane: str) -> None:
    solver, rng = cell(plane), np.random.default_rng(0)
    sample, another = draw(solver, rng), draw(solver, rng)
    cold, other = solve_one(solver, sample), solve_one(solver, another)
    nodes = len(cold.points)
    garbage = dict(zip(DISPLACEMENT, rng.standard_normal((2, nodes)), strict=True))
    huge = {name: 1e8 * value for name, value in garbage.items()}
    for guess in (other.fields, garbage, huge):
        solution = solve_one(solver, sample, guess)
        # a recovered pressure, one correction to judge it, and a few before it fails
        assert solution.linear_solves <= cold.linear_solves + 8
        np.testing.assert_allclose(
            vector(solution.fields), vector(cold.fields), atol=SAME
        )


@pytest.mark.parametrize("plane", ["stress", "strain"])
def test_samples_do_not_depend_on_each_other(plane: str) -> None:
    solver, rng = cell(plane), np.random.default_rng(7)
    one, two = draw(solver, rng), draw(solver, rng)
    before = solve_one(solver, one)
    solve_one(solver, two)
    after = solve_one(solver, one)
    for name, values in before.fields.items():
        np.testing.assert_array_equal(values, after.fields[name])


def test_an_impossible_load_names_the_last_one_reached() -> None:
    solver = cell("strain", resolution=(9, 48))
    sample = {"void": np.zeros(10), "stretch": np.array(0.5)}
    with pytest.raises(NotConvergedError, match="last load reached is stretch 0") as e:
        solve_one(solver, sample)
    reached = float(str(e.value).split("reached is stretch ")[1].split(",")[0])
    assert 0.5 < reached < 0.95 and "\n" not in str(e.value)


@pytest.mark.parametrize("plane", ["stress", "strain"])
def test_bad_input_is_refused_in_one_line(plane: str) -> None:
    solver = cell(plane, resolution=(5, 16))
    good = batch(draw(solver, np.random.default_rng(0), **extra(plane, stretch=1.2)))
    zeros = np.zeros((1, 5, 16))
    guess = dict.fromkeys(DISPLACEMENT, zeros)
    cases = [
        ({**good, "void": np.full((1, 10), np.nan)}, None, "void of sample 0 is not"),
        ({**good, "void": np.zeros((1, 3))}, None, r"shape \(1, 3\): give \(batch, 10"),
        ({**good, "void": np.full((1, 10), 1e308)}, None, "finite and above zero"),
        ({name: good[name] for name in good if name != "void"}, None, "no void in"),
        (good, {**guess, "displacement_x": zeros + np.nan}, "displacement_x holds NaN"),
        (good, {**guess, "displacement_y": zeros[:, 1:]}, r"give \(batch, 5, 16\)"),
        (good, {"displacement_x": zeros}, "displacement_y is missing"),
        (good, {n: np.repeat(v, 2, 0) for n, v in guess.items()}, "1 samples and"),
    ]
    if plane == "stress":
        cases += [({**good, "traction": np.array([2e6])}, None, "traction 2e.06 must")]
    else:
        cases += [
            ({**good, "stretch": np.array([0.2])}, None, r"must be in \[0.5"),
            ({**good, "stretch": np.array([1.0])}, None, "nothing moves"),
            (good, {**guess, "pressure": zeros + np.inf}, "pressure holds NaN or inf"),
        ]
    for inputs, start, message in cases:
        with pytest.raises(OpkitInputError, match=message) as caught:
            solver.solve(inputs) if start is None else solver.solve_from(inputs, start)
        assert "\n" not in str(caught.value)


def extra(plane: str, stretch: float) -> dict[str, float]:
    return {"stretch": stretch} if plane == "strain" else {}
