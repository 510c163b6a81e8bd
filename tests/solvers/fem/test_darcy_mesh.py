"""Darcy flow by finite elements: exact solutions, orders, the grid solver."""

from collections.abc import Callable

import numpy as np
import pytest

from opkit.solvers.darcy.solver import Darcy
from opkit.solvers.fem.boundary import Condition
from opkit.solvers.fem.darcy_mesh import DarcyMesh, Subdomains
from opkit.solvers.fem.domains import LShape, NotchedTriangle, Square
from opkit.solvers.fem.simplex_mesh import SimplexMesh, build, refine

ZERO = Condition(kind="dirichlet")
CLOSED = Condition(kind="neumann")
SIDES = ("left", "right", "bottom", "top")
Make = Callable[..., DarcyMesh]
Solve = Callable[[DarcyMesh, np.ndarray], np.ndarray]


def square(cells: int, **parameters: object) -> DarcyMesh:
    boundary = parameters.pop("boundary", dict.fromkeys(SIDES, ZERO))
    return DarcyMesh(
        resolution=(cells,), domain=Square(), boundary=boundary, **parameters
    )


def orders(errors: list[float]) -> np.ndarray:
    return np.log2(np.array(errors[:-1]) / errors[1:])


@pytest.mark.fem
@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("linear_solver", ["direct", "iterative"])
def test_layers_and_mixed_conditions_are_exact(
    pressure: Solve, degree: int, linear_solver: str
) -> None:
    """Constant flux through a = 2 | 30: pressure is linear on each side."""
    boundary = {
        "left": Condition(kind="dirichlet", value=1.0),
        "right": Condition(kind="neumann", value=6.0),
        "bottom": CLOSED,
        "top": CLOSED,
    }
    solver = square(
        10,
        boundary=boundary,
        degree=degree,
        forcing=0.0,
        linear_solver=linear_solver,
        rtol=1e-11,
    )
    a = np.where(solver.simplex_mesh().centroids()[:, 0] < 0.5, 2.0, 30.0)
    x = solver.mesh()[0][:, 0]
    exact = 1 + np.where(x < 0.5, 3 * x, 1.5 + (x - 0.5) / 5)
    assert pressure(solver, a) == pytest.approx(exact, abs=1e-9)


@pytest.mark.fem
def test_quadratic_elements_hold_a_parabola_exactly(pressure: Solve) -> None:
    boundary = {"left": ZERO, "right": ZERO, "bottom": CLOSED, "top": CLOSED}
    solver = square(5, boundary=boundary, degree=2)
    x = solver.mesh()[0][:, 0]
    p = pressure(solver, np.ones(50))
    assert p == pytest.approx(x * (1 - x) / 2, abs=1e-13)


def triangle(levels: int) -> SimplexMesh:
    mesh = build(
        np.array([(0, 0), (1, 0), (0.5, np.sqrt(0.75))]), np.array([(0, 1, 2)])
    )
    for _ in range(levels):
        mesh = refine(mesh)
    return mesh


@pytest.mark.fem
@pytest.mark.parametrize("degree", [1, 2])
def test_equilateral_triangle_is_exact_at_the_nodes(degree: int) -> None:
    """-Δp = 10: p = 10 d1 d2 d3 / h, d the distances to the sides.

    Six equilateral triangles around each node make a scheme whose error is a multiple
    of Δ²p = 0. The largest value, 10 h² / 27 = 0.27778, is at the centre.
    """
    from opkit.solvers.fem.poisson import Poisson

    mesh = triangle(4)
    poisson = Poisson(mesh, degree, {"boundary": ZERO}, 10.0, "direct", 1e-10)
    p, _, converged = poisson.solve(np.ones(len(mesh.cells)))
    assert converged
    x, y = poisson.nodes.T
    h, root = np.sqrt(0.75), np.sqrt(3.0)
    exact = 10 * y * (root * x - y) * (root * (1 - x) - y) / 4 / h
    assert p == pytest.approx(exact, abs=1e-13)
    assert p.max() == pytest.approx(0.27778, rel=0.02)


@pytest.mark.fem
@pytest.mark.parametrize(("degree", "order"), [(1, 2), (2, 4)])
def test_order_at_the_centre_of_the_square(
    pressure: Solve, degree: int, order: int
) -> None:
    """-Δp = 1; nodes of this mesh are superconvergent for degree 2."""
    errors = []
    for cells in (4, 8, 16, 32):
        solver = square(cells, degree=degree)
        centre = np.linalg.norm(solver.mesh()[0] - 0.5, axis=1).argmin()
        p = pressure(solver, np.ones(2 * cells**2))
        errors.append(abs(p[centre] - 0.0736713532))
    assert orders(errors) == pytest.approx(order, abs=0.2)


@pytest.mark.fem
def test_l_shape_converges_as_its_corner_allows(l_shape: Make, pressure: Solve) -> None:
    """-Δp = 1: ∫p = 0.214075803, approached as c h^(4/3) + d h² from below."""
    energies, steps = [], 2.0 / np.array([16, 32, 64, 128])
    for cells in (16, 32, 64, 128):
        solver = l_shape(cells)
        mesh = solver.simplex_mesh()
        p = pressure(solver, np.ones(len(mesh.cells)))
        energies.append((mesh.volumes() * p[mesh.cells].mean(axis=1)).sum())
    powers = np.stack([np.ones(4), steps ** (4 / 3), steps**2], axis=1)
    limit, corner, smooth = np.linalg.lstsq(powers, np.array(energies))[0]
    assert corner < 0
    assert smooth < 0
    # The next term of the expansion, h^(8/3), is 1e-6 here.
    assert limit == pytest.approx(0.214075803, abs=1e-6)
    without_corner = np.linalg.lstsq(powers[:, [0, 2]], np.array(energies))[0]
    assert abs(without_corner[0] - 0.214075803) > 1e-5


@pytest.mark.fem
def test_agrees_with_the_grid_solver_at_second_order(pressure: Solve) -> None:
    """Two discretisations that share no code, one smooth permeability."""

    def permeability(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.exp(np.sin(2 * np.pi * x) * np.cos(np.pi * y) + x)

    gaps = []
    for cells in (16, 32, 64, 128):
        mesh = square(cells)
        centres = mesh.simplex_mesh().centroids()
        p = pressure(mesh, permeability(*centres.T))
        x = np.linspace(0, 1, cells + 1)
        grid = Darcy(resolution=(cells + 1, cells + 1), rtol=1e-10)
        a = permeability(x, x[:, None])[None]
        other = grid.solve({"permeability": a}).outputs["pressure"][0].ravel()
        gaps.append(float(np.linalg.norm(p - other) / np.linalg.norm(other)))
    assert orders(gaps) == pytest.approx(2.0, abs=0.2)
    assert gaps[-1] < 2e-4


@pytest.mark.fem
def test_agrees_with_the_grid_solver_on_two_phases(pressure: Solve) -> None:
    """Both are of first order across jumps; a mesh that has them on its edges."""
    solver = square(80)
    x, y = solver.simplex_mesh().centroids().T
    inside = (abs(x - 0.5) < 0.2) & (abs(y - 0.5) < 0.2)
    p = pressure(solver, np.where(inside, 12.0, 3.0))
    x = np.linspace(0, 1, 82)  # jumps near the middles between nodes
    inside = (abs(x - 0.5) < 0.2) & (abs(x[:, None] - 0.5) < 0.2)
    grid = Darcy(resolution=(82, 82))
    a = np.where(inside, 12.0, 3.0)[None]
    other = grid.solve({"permeability": a}).outputs["pressure"][0]
    assert other.max() == pytest.approx(p.max(), rel=0.01)


@pytest.mark.fem
def test_tetrahedra() -> None:
    """The unit cube, p = 1 - z by fixing both ends: exact; then -Δp = 1 converges."""
    from opkit.solvers.fem.poisson import Poisson

    mesh = cube(4)
    conditions = {"bottom": Condition(kind="dirichlet", value=1.0), "top": ZERO}
    poisson = Poisson(
        mesh, 2, conditions | {"boundary": CLOSED}, 0.0, "iterative", 1e-11
    )
    p, _, _ = poisson.solve(np.full(len(mesh.cells), 7.0))
    assert p == pytest.approx(1 - poisson.nodes[:, 2], abs=1e-9)
    # Series: the largest pressure of -Δp = 1 in the cube is 0.0562128.
    poisson = Poisson(mesh, 2, dict.fromkeys(mesh.names, ZERO), 1.0, "direct", 1e-10)
    p, _, _ = poisson.solve(np.ones(len(mesh.cells)))
    assert p.max() == pytest.approx(0.0562128, rel=5e-3)


def cube(n: int) -> SimplexMesh:
    """Kuhn's six tetrahedra in each of n³ cubes."""
    from itertools import permutations

    k = np.arange(n + 1) / n
    points = np.stack(np.meshgrid(k, k, k, indexing="ij"), -1).reshape(-1, 3)
    steps = np.array([(n + 1) ** 2, n + 1, 1])
    i = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), -1).reshape(-1, 3)
    start = i @ steps
    cells = []
    for path in permutations(range(3)):
        corners = [start]
        for axis in path:
            corners.append(corners[-1] + steps[axis])
        cells.append(np.stack(corners, axis=1))
    cells = np.concatenate(cells)
    from opkit.solvers.fem.simplex_mesh import boundary_facets

    facets = boundary_facets(cells)
    z = points[facets][..., 2]
    tagged = {"bottom": facets[(z == 0).all(1)], "top": facets[(z == 1).all(1)]}
    return build(points, cells, tagged=tagged)


@pytest.mark.fem
def test_notched_triangle_with_a_held_outside(pressure: Solve) -> None:
    """Pressure stays between the given values, and is symmetric as the domain is."""
    solver = DarcyMesh(
        resolution=(12,),
        domain=NotchedTriangle(),
        forcing=0.0,
        boundary={"notch": ZERO, "outer": Condition(kind="dirichlet", value=1.0)},
        distribution=Subdomains(),
    )
    p = pressure(solver, np.ones(len(solver.simplex_mesh().cells)))
    assert p.min() == 0.0
    assert p.max() == 1.0
    points = solver.mesh()[0]
    left = points[:, 0] < 0.5 - 1e-9
    mirrored = {
        (round(1 - x, 9), round(y, 9)): v for (x, y), v in zip(points, p, strict=True)
    }
    partners = [mirrored.get((round(x, 9), round(y, 9))) for x, y in points[left]]
    paired = [(a, b) for a, b in zip(p[left], partners, strict=True) if b is not None]
    assert len(paired) > 0.8 * left.sum()
    a, b = np.array(paired).T
    assert a == pytest.approx(b, abs=0.02)  # the triangulation itself is not mirrored


def test_l_shape_is_the_default_domain(l_shape: Make) -> None:
    assert isinstance(l_shape(4).domain, LShape)
