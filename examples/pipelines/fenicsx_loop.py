"""A FEniCSx time loop that asks a surrogate for the Darcy pressure at every step.

    ∂c/∂t + u·∇c + c = c_in,   u = -a ∇p,   -∇·(a ∇p) = 1,   a = a₀ exp(-c / 2)

Fluid enters everywhere, on the left with a dissolved substance (c_in = 1) that makes it
more viscous: c changes the mobility a, and a the flow. c: linear elements on triangles,
implicit Euler, streamline diffusion. a, p: the surrogate's grid. c is evaluated at the
grid's nodes, p and a at the mesh's. The same loop runs with the classical solver.

    python examples/pipelines/fenicsx_loop.py RUN [steps]
"""

import sys
import time

import numpy as np
import torch  # noqa: F401  before FEniCSx: loaded after it, it crashes
from scipy.interpolate import RegularGridInterpolator

import opkit
from opkit.case.record import parse_case
from opkit.solvers.fem.stack import MPI, dolfinx, fem, fem_petsc, mesh, ufl

DIRECT = {"ksp_type": "preonly", "pc_type": "lu"}


def transport(pressure_of, a0, steps, cells):
    """Return c at the grid's nodes (y, x) at the end, and seconds spent on pressure."""
    square = mesh.create_unit_square(MPI.COMM_SELF, cells, cells)
    space = fem.functionspace(square, ("Lagrange", 1))
    c, p, mobility = (fem.Function(space) for _ in range(3))
    new, test = ufl.TrialFunction(space), ufl.TestFunction(space)
    dt, u = 0.5 / steps, -mobility * ufl.grad(p)
    along = ufl.dot(u, ufl.grad(test)) / (ufl.sqrt(ufl.dot(u, u)) + 1e-9)
    left = ufl.lt(ufl.SpatialCoordinate(square)[0], 0.5)
    inflow = ufl.conditional(left, 1.0, 0.0) - new
    change = (new - c) / dt + ufl.dot(u, ufl.grad(new)) - inflow
    form = change * (test + 0.5 / cells * along) * ufl.dx
    problem = fem_petsc.LinearProblem(
        *ufl.system(form), u=c, petsc_options=DIRECT, petsc_options_prefix="transport_"
    )
    grid = np.linspace(0, 1, len(a0))
    nodes = np.stack([*np.meshgrid(grid, grid), np.zeros_like(a0)], -1).reshape(-1, 3)
    tree = dolfinx.geometry.bb_tree(square, 2)
    near = dolfinx.geometry.compute_collisions_points(tree, nodes)
    hits = dolfinx.geometry.compute_colliding_cells(square, near, nodes)
    cell_of = hits.array[hits.offsets[:-1]]  # the first of the cells at each node
    seconds = 0.0
    for _ in range(steps):
        a = a0 * np.exp(-c.eval(nodes, cell_of).reshape(a0.shape) / 2)
        begin = time.perf_counter()
        values = pressure_of(a)
        seconds += time.perf_counter() - begin
        for function, field in ((p, values), (mobility, a)):
            at = RegularGridInterpolator((grid, grid), field)
            function.interpolate(lambda x, at=at: at(x[1::-1].T.clip(0, 1)))
        problem.solve()
    return c.eval(nodes, cell_of).reshape(a0.shape), seconds


def main(run, steps=50, cells=40, seed=11):
    """Return the relative difference of c at the end, and seconds for pressure."""
    surrogate = opkit.load(run)
    shape = surrogate.config.shape.shape
    solver = parse_case({**surrogate.config.case, "resolution": shape}).build_solver()
    a0 = solver.sample(np.random.default_rng(seed))["permeability"]

    def solve(a):
        return solver.solve({"permeability": a[None]}).outputs["pressure"][0]

    exact, slow = transport(solve, a0, steps, cells)
    concentration, fast = transport(surrogate, a0, steps, cells)
    error = np.linalg.norm(concentration - exact) / np.linalg.norm(exact)
    return {"difference of c": error, "solver, s": slow, "surrogate, s": fast}


if __name__ == "__main__":
    for name, value in main(sys.argv[1], *map(int, sys.argv[2:])).items():
        print(f"{name:>15}: {value:.4g}")
