"""The finite volumes of elliptic-boundary against finite elements of degree 2."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from opkit.solvers.elliptic_boundary.curve import trace
from opkit.solvers.elliptic_boundary.laws import CornerCuts
from opkit.solvers.elliptic_boundary.solver import EllipticBoundary

pytestmark = pytest.mark.fem
FINE = 96


def f(x, y):
    return 10 * np.cos(3 * x) * (1 + y)


def g(x, y):
    return np.sin(4 * x) + y**2


def q(x, y):
    return 1 + x - 2 * y


def neumann(x, y):
    return x < 1e-6  # the left side, between right angles


@pytest.fixture(scope="module")
def inside():
    """Two corners of sides in sixths, on 6 by 6 blocks."""
    blocks = np.ones((6, 6), bool)
    blocks[:2, :1] = blocks[4:, 3:] = False
    return blocks


@pytest.fixture(scope="module")
def elements(inside):
    """u at the vertices of a grid of FINE² squares, (vertex, 2) and (vertex,)."""
    from opkit.solvers.fem.stack import MPI, basix_ufl, fem, fem_petsc, mesh, ufl

    cells = np.kron(inside, np.ones((FINE // 6,) * 2, bool))
    row, column = np.nonzero(cells)
    corner = row * (FINE + 1) + column
    a, b, c, d = (corner + s for s in (0, 1, FINE + 2, FINE + 1))
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    used, triangles = np.unique(triangles, return_inverse=True)
    points = np.stack([used % (FINE + 1), used // (FINE + 1)], 1) / FINE
    shape = basix_ufl.element("Lagrange", "triangle", 1, shape=(2,))
    domain = mesh.create_mesh(MPI.COMM_SELF, triangles.reshape(-1, 3), shape, points)
    space = fem.functionspace(domain, ("Lagrange", 2))
    u, v, x = (
        ufl.TrialFunction(space),
        ufl.TestFunction(space),
        ufl.SpatialCoordinate(domain),
    )
    domain.topology.create_connectivity(1, 2)
    facets = mesh.exterior_facet_indices(domain.topology)
    middle = mesh.compute_midpoints(domain, 1, facets)
    free = neumann(middle[:, 0], middle[:, 1])
    tags = mesh.meshtags(domain, 1, facets, free.astype(np.int32))
    ds = ufl.Measure("ds", domain=domain, subdomain_data=tags)
    source = 10 * ufl.cos(3 * x[0]) * (1 + x[1])
    flux = 1 + x[0] - 2 * x[1]
    left = ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx
    right = -source * v * ufl.dx + flux * v * ds(1)
    boundary = fem.Function(space)
    boundary.interpolate(lambda p: g(p[0], p[1]))
    dofs = fem.locate_dofs_topological(space, 1, tags.find(0))
    condition = fem.dirichletbc(boundary, dofs)
    problem = fem_petsc.LinearProblem(
        left,
        right,
        bcs=[condition],
        petsc_options={"ksp_type": "preonly", "pc_type": "lu"},
        petsc_options_prefix="elliptic_boundary_",
    )
    solution = problem.solve()
    return space.tabulate_dof_coordinates()[:, :2], solution.x.array


def test_agrees_with_finite_elements(inside, elements):
    where, values = elements
    tree = cKDTree(where)
    errors = []
    for cells in (12, 24, 48):
        case = EllipticBoundary(resolution=(cells, cells), distribution=CornerCuts())
        domain = np.kron(inside, np.ones((cells // 6,) * 2, bool))
        places = trace(domain).places(cells)
        x, y = places["boundary_x"], places["boundary_y"]
        centres = (np.arange(cells) + 0.5) / cells
        cy, cx = np.meshgrid(centres, centres, indexing="ij")
        kind = neumann(x, y)
        fields = places | {
            "source": f(cx, cy),
            "inside": domain.astype(float),
            "boundary_kind": kind.astype(float),
            "boundary_value": np.where(kind, q(x, y), g(x, y)),
        }
        inputs = {name: field[None] for name, field in fields.items()}
        u = case.solve(inputs).outputs["potential"][0][domain]
        distance, node = tree.query(np.stack([cx[domain], cy[domain]], 1))
        assert distance.max() < 1e-9  # cell centres are nodes of the finer mesh
        errors.append(np.linalg.norm(u - values[node]) / np.linalg.norm(u))
    rates = np.log2(np.divide(errors[:-1], errors[1:]))
    # two re-entrant corners, u like r^(2/3) there: order 4/3
    assert (rates > 1.15).all(), errors
    assert errors[-1] < (1 / 48) ** (4 / 3)
