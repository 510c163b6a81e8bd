"""Reference solutions of elliptic problems by quadratic elements on curved triangles.

    ∫ c_0 u v + (c_1 u_x + c_2 u_y) v - c_3 u_x v_x - c_4 u_y v_y = ∫ f v

for all v that vanish on the boundary, where u is given.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from opkit.errors import OpkitInputError
from opkit.pde.problem import SIDES, Disk, LinearProblem
from opkit.solvers.fem.stack import MPI, PETSc, basix_ufl, dolfinx, fem, fem_petsc, ufl
from opkit.solvers.fem.stack import mesh as dolfinx_mesh
from opkit.solvers.linear_pde.curved_mesh import Array, planar_mesh


def reference(
    problem: LinearProblem, cells: int, x: Array, y: Array
) -> tuple[Array, float]:
    """Solve on two meshes and compare.

    Args:
        problem: elliptic, u given on the whole boundary, holes disjoint.
        cells: elements along the square's side on the coarser mesh; the finer one has
            half as many again.
        x: where the solution is wanted, (point,), in the domain.
        y: the same.

    Returns:
        u of the finer mesh (point,), and its largest distance from the coarser one:
        the third order of the method makes its own error about 0.4 of that.

    Raises:
        OpkitInputError: the problem is not elliptic or has Neumann parts.
    """
    c = problem.linear.coefficients
    given = [kind for part in problem.conditions().values() for kind, _ in part]
    if not c[3] * c[4] > 0 or set(given) != {"u"}:
        raise OpkitInputError(
            "reference solutions without a closed form are made for elliptic problems "
            "with u given on the whole boundary: give the solution's formula"
        )
    coarse, fine = (_solve(problem, 2 / n, x, y) for n in (cells, 1.5 * cells))
    return fine, float(np.abs(fine - coarse).max())


def _solve(problem: LinearProblem, h: float, x: Array, y: Array) -> Array:
    mesh = planar_mesh(problem, h)
    element = basix_ufl.element("Lagrange", "triangle", 2, shape=(2,))
    domain = dolfinx_mesh.create_mesh(MPI.COMM_SELF, mesh.cells, element, mesh.points)
    space = fem.functionspace(domain, ("Lagrange", 2))
    u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    source = fem.Function(fem.functionspace(domain, ("Lagrange", 4)))
    formula = problem.linear.source
    source.interpolate(lambda p: formula(p[0], p[1], np))
    c = problem.linear.coefficients
    left = c[0] * u * v + (c[1] * u.dx(0) + c[2] * u.dx(1)) * v
    left = (left - c[3] * u.dx(0) * v.dx(0) - c[4] * u.dx(1) * v.dx(1)) * ufl.dx
    given = _conditions(problem, domain, space)
    form = fem.form(left)
    matrix = fem_petsc.assemble_matrix(form, bcs=given)
    matrix.assemble()
    b = fem_petsc.assemble_vector(fem.form(source * v * ufl.dx))
    fem_petsc.apply_lifting(b, [form], [given])
    b.ghostUpdate(addv=PETSc.InsertMode.ADD, mode=PETSc.ScatterMode.REVERSE)
    fem_petsc.set_bc(b, given)
    solver = PETSc.KSP().create(MPI.COMM_SELF)
    solver.setOperators(matrix)
    solver.setType(PETSc.KSP.Type.PREONLY)
    solver.getPC().setType(PETSc.PC.Type.LU)
    solver.getPC().setFactorSolverType("mumps")
    found = fem.Function(space)
    solver.solve(b, found.x.petsc_vec)
    found.x.scatter_forward()
    values = _evaluate(found, domain, x, y)
    for used in (solver, matrix, b):
        used.destroy()
    return values


def _conditions(problem: LinearProblem, domain: Any, space: Any) -> list[Any]:
    domain.topology.create_connectivity(1, 2)
    made = []
    for part, given in problem.conditions().items():
        facets = dolfinx_mesh.locate_entities_boundary(
            domain, 1, lambda p, part=part: _on(problem, part, p[0], p[1])
        )
        value = fem.Function(space)
        value.interpolate(lambda p, formula=given[0][1]: formula(p[0], p[1], np))
        dofs = fem.locate_dofs_topological(space, 1, facets)
        made.append(fem.dirichletbc(value, dofs))
    return made


def _on(problem: LinearProblem, part: str, x: Array, y: Array) -> Array:
    """Whether points lie on a part of the boundary."""
    if part in SIDES:
        coordinate, place = ((x, -1), (x, 1), (y, -1), (y, 1))[SIDES.index(part)]
        return np.asarray(np.abs(coordinate - place) < 1e-9)
    hole = problem.holes[int(part.split()[1]) - 1]
    if isinstance(hole, Disk):
        r = np.hypot(x - hole.centre[0], y - hole.centre[1])
        return np.asarray(np.abs(r - hole.radius) < 1e-9)
    v = np.array(hole.vertices)
    points = np.stack([x, y], 1)
    on = np.zeros(len(x), dtype=bool)
    for start, along in zip(v, np.roll(v, -1, 0) - v, strict=True):
        t = np.clip((points - start) @ along / (along @ along), 0, 1)
        on |= np.hypot(*(points - start - t[:, None] * along).T) < 1e-9
    return on


def _evaluate(found: Any, domain: Any, x: Array, y: Array) -> Array:
    geometry = dolfinx.geometry
    points = np.stack([x, y, np.zeros_like(x)], 1)
    tree = geometry.bb_tree(domain, 2, padding=1e-9)
    candidates = geometry.compute_collisions_points(tree, points)
    colliding = geometry.compute_colliding_cells(domain, candidates, points)
    cells = np.array(
        [
            (list(colliding.links(k)) or list(candidates.links(k)))[0]
            for k in range(len(points))
        ],
        dtype=np.int32,
    )
    return np.asarray(found.eval(points, cells)).reshape(-1)
