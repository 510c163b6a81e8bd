"""Lagrange elements: exact integrals, exact polynomials, dolfinx, nested meshes."""

from itertools import product
from math import factorial

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.sparse.linalg import eigsh

from opkit.elements import (
    SparseMatrix,
    cell_moments,
    check_mesh,
    gradient_matrices,
    interpolation,
    mass,
    mass_matrix,
    restriction,
    stiffness,
    stiffness_matrices,
    stiffness_matrix,
)
from opkit.elements.basis import quadrature
from opkit.errors import OpkitInputError
from opkit.solvers.fem.domains import LShape, NotchedTriangle, Square
from opkit.solvers.fem.lagrange import lagrange_nodes
from opkit.solvers.fem.simplex_mesh import SimplexMesh, build

SPACES = [(2, 1), (2, 2), (3, 1), (3, 2)]


def cube(n: int = 2) -> SimplexMesh:
    """The unit cube in n³ cubes of six tetrahedra (Kuhn), nodes shaken inside."""
    grid = np.array(list(product(range(n + 1), repeat=3)))
    number = {tuple(p): i for i, p in enumerate(grid.tolist())}
    orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    cells = []
    for start in product(range(n), repeat=3):
        for order in orders:
            corner, cell = list(start), [number[start]]
            for axis in order:
                corner[axis] += 1
                cell.append(number[tuple(corner)])
            cells.append(cell)
    points = grid / n
    inside = ((points > 0) & (points < 1)).all(axis=1)
    points[inside] += (
        0.1 / n * np.random.default_rng(0).uniform(-1, 1, (inside.sum(), 3))
    )
    return build(points, np.array(cells))


def space(dimension: int, degree: int):
    return lagrange_nodes(LShape().mesh(4) if dimension == 2 else cube(), degree)


def polynomial(x: np.ndarray, degree: int) -> np.ndarray:
    """1 + 2x - 3y (+ z) and, for degree 2, + x² - 2xy + y²."""
    p = 1 + x @ np.array([2.0, -3.0, 1.0])[: x.shape[1]]
    return p + (x[:, 0] ** 2 - 2 * x[:, 0] * x[:, 1] + x[:, 1] ** 2) * (degree - 1)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_quadrature_is_exact_to_degree_five(dimension):
    """∫ λ^α = α! / (d + |α|)! over the reference simplex."""
    where, weight = quadrature(dimension)
    for powers in product(range(6), repeat=dimension + 1):
        if sum(powers) > 5:
            continue
        exact = np.prod([factorial(p) for p in powers]) / factorial(
            dimension + sum(powers)
        )
        integral = weight @ np.prod(where ** np.array(powers), axis=1)
        assert integral == pytest.approx(exact, rel=1e-13)


@pytest.mark.parametrize(("dimension", "degree"), SPACES)
def test_norms_of_polynomials_are_exact(dimension, degree):
    """On [0, 1]^d (Square, cube): ∫ u² and ∫ |∇u|² of u = 1 + 2x - 3y (+ z)."""
    mesh = Square().mesh(3) if dimension == 2 else cube()
    points, cells = lagrange_nodes(mesh, degree)
    u = polynomial(points, 1)
    slopes = np.array([2.0, -3.0, 1.0])[:dimension]
    mean = 1 + slopes.sum() / 2
    assert u @ mass(points, cells) @ u == pytest.approx(
        mean**2 + (slopes**2).sum() / 12, rel=1e-13
    )
    assert u @ stiffness(points, cells) @ u == pytest.approx(
        (slopes**2).sum(), rel=1e-13
    )
    second = stiffness_matrices(points, cells)
    for a, b in product(range(dimension), repeat=2):
        assert u @ second[a][b] @ u == pytest.approx(slopes[a] * slopes[b], rel=1e-12)
    for a, gradient in enumerate(gradient_matrices(points, cells)):
        moments = mass(points, cells).sum(axis=1) * slopes[a]
        np.testing.assert_allclose(gradient @ u, moments, atol=1e-13)
    volumes = np.asarray(cell_moments(points, cells).sum(axis=0)).ravel()
    np.testing.assert_allclose(volumes, np.abs(mesh.volumes()), rtol=1e-12)


def test_quadratic_norms_are_exact():
    """∫ (x² - y)² = 1/5 - 1/3 + 1/3, ∫ |∇(x² - y)|² = 4/3 + 1 on the unit square."""
    points, cells = lagrange_nodes(Square().mesh(3), 2)
    u = points[:, 0] ** 2 - points[:, 1]
    assert u @ mass(points, cells) @ u == pytest.approx(1 / 5, rel=1e-13)
    assert u @ stiffness(points, cells) @ u == pytest.approx(7 / 3, rel=1e-13)


@pytest.mark.fem
@pytest.mark.parametrize(("dimension", "degree"), SPACES)
def test_matrices_equal_dolfinx(dimension, degree):
    from scipy.spatial import cKDTree

    from opkit.solvers.fem.stack import MPI, basix_ufl, fem, ufl
    from opkit.solvers.fem.stack import mesh as dolfinx_mesh

    simplex = LShape().mesh(4) if dimension == 2 else cube()
    points, cells = lagrange_nodes(simplex, degree)
    shape = "triangle" if dimension == 2 else "tetrahedron"
    element = basix_ufl.element("Lagrange", shape, 1, shape=(dimension,))
    domain = dolfinx_mesh.create_mesh(
        MPI.COMM_SELF, simplex.cells, element, np.ascontiguousarray(simplex.points)
    )
    V = fem.functionspace(domain, ("Lagrange", degree))
    where = V.tabulate_dof_coordinates()[:, :dimension]
    distance, node = cKDTree(points).query(where)
    assert distance.max() < 1e-12
    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    forms = [
        (u * v * ufl.dx, mass(points, cells)),
        (ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx, stiffness(points, cells)),
        (u.dx(0) * v * ufl.dx, gradient_matrices(points, cells)[0]),
        (u.dx(1) * v.dx(1) * ufl.dx, stiffness_matrices(points, cells)[1][1]),
    ]
    for form, own in forms:
        theirs = fem.assemble_matrix(fem.form(form))
        theirs.scatter_reverse()
        assert abs(theirs.to_scipy() - own[node][:, node]).max() < 1e-12


@pytest.mark.parametrize(("dimension", "degree"), SPACES)
def test_interpolation_is_exact_on_polynomials(dimension, degree):
    points, cells = space(dimension, degree)
    rng = np.random.default_rng(0)
    simplices = points[cells[:, : dimension + 1]]
    weights = rng.dirichlet(np.ones(dimension + 1), (len(cells), 2))
    where = np.einsum("cqi,cia->cqa", weights, simplices).reshape(-1, dimension)
    P = interpolation(points, cells, where)
    np.testing.assert_allclose(
        P @ polynomial(points, degree), polynomial(where, degree), atol=1e-12
    )
    own = interpolation(points, cells, points)
    assert abs(own - sparse.eye_array(len(points))).max() < 1e-12


@pytest.mark.parametrize("domain", [LShape(), NotchedTriangle()])
def test_stiffness_of_a_nested_mesh_is_the_galerkin_product(domain):
    """K_c = P^T K P for nested spaces."""
    coarse = domain.mesh(2) if isinstance(domain, LShape) else domain.coarsest()
    fine = domain.mesh(4) if isinstance(domain, LShape) else domain.mesh(64)
    assert len(fine.points) > len(coarse.points)
    P = interpolation(coarse.points, coarse.cells, fine.points)
    own = stiffness(coarse.points, coarse.cells)
    galerkin = P.T @ stiffness(fine.points, fine.cells) @ P
    assert abs(galerkin - own).max() < 1e-11 * abs(own).max()
    R = restriction(P)
    np.testing.assert_allclose(R @ np.ones(len(fine.points)), 1.0, atol=1e-14)
    assert (R.data >= 0).all()


def test_quadratic_and_linear_spaces_of_one_mesh_nest():
    mesh = LShape().mesh(4)
    points, cells = lagrange_nodes(mesh, 2)
    P = interpolation(mesh.points, mesh.cells, points)
    galerkin = P.T @ mass(points, cells) @ P
    assert abs(galerkin - mass(mesh.points, mesh.cells)).max() < 1e-14


def test_points_beside_a_curved_boundary_take_the_nearest_value():
    """A polygon in a circle: u = x is off by the sagitta 1 - cos(π/n) there."""
    n = 24
    angle = 2 * np.pi * np.arange(n) / n
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    points = np.concatenate([[[0.0, 0.0]], ring])
    cells = np.array([(0, 1 + i, 1 + (i + 1) % n) for i in range(n)])
    turned = angle + np.pi / n
    where = np.stack([np.cos(turned), np.sin(turned)], 1)
    P = interpolation(points, cells, where)
    np.testing.assert_allclose(P @ np.ones(len(points)), 1.0, rtol=1e-14)
    sagitta = 1 - np.cos(np.pi / n)
    assert np.abs(P @ points - where).max() <= sagitta * (1 + 1e-9)


def test_another_domain_is_refused():
    mesh = LShape().mesh(4)
    with pytest.raises(OpkitInputError, match=r"point 1 at \(1, 1\) is outside"):
        interpolation(mesh.points, mesh.cells, np.array([(0.0, -0.5), (1.0, 1.0)]))
    with pytest.raises(OpkitInputError, match="2 dimensions"):
        interpolation(mesh.points, mesh.cells, np.zeros((3, 3)))
    with pytest.raises(OpkitInputError, match="triangles or tetrahedra"):
        mass(mesh.points, mesh.cells[:, :2])


def test_meshes_that_carry_no_elements_are_refused():
    points, cells = lagrange_nodes(LShape().mesh(4), 2)
    check_mesh(points, cells)
    faults = {
        "node 3 has a coordinate": ("points", 3, [np.nan, 0.0]),
        "cell 5 names a node": ("cells", (5, 1), len(points)),
        "cell 2 names a node": ("cells", (2, 0), -1),
        "cell 7 has no volume": ("cells", (7, 2), cells[7, 1]),
        "cell 4 has a curved edge": ("cells", (4, slice(3, 5)), cells[4, [4, 3]]),
    }
    for fault, (name, where, value) in faults.items():
        broken = {"points": points.copy(), "cells": cells.copy()}
        broken[name][where] = value
        for refuse in (check_mesh, mass_matrix, stiffness_matrix):
            with pytest.raises(OpkitInputError, match=fault):
                refuse(**broken)
    with pytest.raises(OpkitInputError, match=f"node {len(points)} belongs to no cell"):
        check_mesh(np.concatenate([points, [[9.0, 9.0]]]), cells)


def test_a_graded_mesh_finds_the_cell_around_a_point():
    """One huge triangle beside thousands of tiny ones whose centroids are nearer."""
    n = 40
    y = np.linspace(0, 1, n + 1)
    tiny = np.concatenate([np.stack([0 * y, y], 1), np.stack([0 * y + 0.02, y], 1)])
    left = np.arange(n)
    cells = [np.stack([left, left + n + 1, left + 1], 1)]
    cells += [np.stack([left + 1, left + n + 1, left + n + 2], 1)]
    apex = len(tiny)
    cells += [np.stack([left + n + 1, np.full(n, apex), left + n + 2], 1)]
    points = np.concatenate([tiny, [[50.0, 0.5]]])
    where = np.array([[0.03, 0.5001], [0.021, 0.9], [40.0, 0.5]])
    P = interpolation(points, np.concatenate(cells), where)
    np.testing.assert_allclose(P @ points, where, atol=1e-10)


def test_mass_is_bounded_by_its_diagonal():
    """Eigenvalues of D⁻¹ M of linear triangles lie in [1/2, 2] (Wathen 1987)."""
    M = mass(*lagrange_nodes(NotchedTriangle().mesh(8), 1))
    scale = sparse.diags_array(M.diagonal() ** -0.5)
    similar = scale @ M @ scale
    assert eigsh(similar, 1, which="LA")[0][0] <= 2 + 1e-10
    assert eigsh(similar, 1, which="SA")[0][0] >= 0.5 - 1e-10


def test_sparse_matrices_multiply_and_differentiate():
    mesh = LShape().mesh(4)
    for applied, own in (
        (mass_matrix(mesh.points, mesh.cells, torch.float64), mass),
        (stiffness_matrix(mesh.points, mesh.cells, torch.float64), stiffness),
    ):
        dense = torch.from_numpy(own(mesh.points, mesh.cells).toarray())
        assert torch.equal(applied.to_dense(), dense)
    P = interpolation(mesh.points, mesh.cells, np.array([(0.1, -0.3), (-0.5, 0.4)]))
    module = SparseMatrix(P, torch.float64)
    assert not module.state_dict()
    x = torch.randn(len(mesh.points), 3, 2, dtype=torch.float64, requires_grad=True)
    assert module(x).shape == (2, 3, 2)
    torch.testing.assert_close(
        module(x).flatten(1), torch.from_numpy(P.toarray()) @ x.flatten(1)
    )
    assert torch.autograd.gradcheck(module, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert module(x.bfloat16()).dtype == torch.float64
