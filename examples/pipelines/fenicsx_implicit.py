"""The loop of fenicsx_loop.py, implicit: Newton's method asks the surrogate's slope.

    ∂c/∂t + u·∇c + c = c_in,   u = -a ∇N(a),   a = a₀ exp(-c / 2)

N is the surrogate. The midpoint rule solves for c and the flow together: of second
order, where a loop with the flow of the step before is of first. The Jacobian

    J v = F_c v + F_p N'(a) δa + F_a δa,   δa = -a v / 2

is a shell matrix of PETSc: N'(a) δa is one `torch.func.jvp`. F_c preconditions.

    python examples/pipelines/fenicsx_implicit.py RUN [steps]
"""

import sys

import numpy as np
import torch  # before FEniCSx: loaded after it, it crashes

import opkit
from opkit.solvers.fem.stack import MPI, PETSc, fem, fem_petsc, mesh, ufl


class Transport:
    """Steps of Euler for c; p and a follow from c, or from the step before."""

    def __init__(self, surrogate, a0):
        self.surrogate, self.a0, n = surrogate, a0, len(a0)
        square = mesh.create_unit_square(MPI.COMM_SELF, n - 1, n - 1)
        space = fem.functionspace(square, ("Lagrange", 1))
        x, y = np.rint(space.tabulate_dof_coordinates()[:, :2] * (n - 1)).astype(int).T
        self.node = y * n + x
        self.c, self.old, self.p, self.a = (fem.Function(space) for _ in range(4))
        self.dt = fem.Constant(square, 1.0)
        test, u = ufl.TestFunction(space), -self.a * ufl.grad(self.p)
        along = ufl.dot(u, ufl.grad(test)) / (ufl.sqrt(ufl.dot(u, u)) + 1e-9)
        inflow = ufl.conditional(
            ufl.lt(ufl.SpatialCoordinate(square)[0], 0.5), 1.0, 0.0
        )
        change = (self.c - self.old) / self.dt + ufl.dot(u, ufl.grad(self.c)) + self.c
        form = (change - inflow) * (test + 0.5 / n * along) * ufl.dx
        self.residual, by = fem.form(form), (self.c, self.p, self.a)
        self.slopes = [fem.form(ufl.derivative(form, part)) for part in by]
        self.matrices = [fem_petsc.create_matrix(slope) for slope in self.slopes]
        vector = PETSc.Vec().createSeq(len(self.node))
        self.now, self.da, self.dp = (vector.duplicate() for _ in range(3))
        shell = PETSc.Mat().createPython((vector.sizes,) * 2, self, comm=MPI.COMM_SELF)
        self.snes = PETSc.SNES().create(MPI.COMM_SELF)
        self.snes.setFunction(self.function, vector)
        self.snes.setJacobian(self.jacobian, shell, self.matrices[0])
        self.snes.setTolerances(rtol=1e-6, atol=1e-10)
        self.snes.getKSP().getPC().setType("lu")

    def grid(self, values):
        """Values at the mesh's nodes as a batch of one field (1, 1, y, x)."""
        field = values[np.argsort(self.node)].astype(np.float32)
        return torch.from_numpy(field.reshape(1, 1, *self.a0.shape))

    def function(self, snes, x, out):
        """F(c), with the pressure that belongs to c."""
        self.c.x.array[:] = x.array_r
        self.a.x.array[:] = self.a0.ravel()[self.node] * np.exp(-self.c.x.array / 2)
        self.field = self.grid(self.a.x.array)
        self.p.x.array[:] = self.surrogate.predict(self.field).ravel()[self.node]
        out.array[:] = fem.assemble_vector(self.residual).array

    def jacobian(self, *_):
        """The parts of J at c."""
        for matrix, slope in zip(self.matrices, self.slopes, strict=True):
            matrix.zeroEntries()
            fem_petsc.assemble_matrix(matrix, slope)
            matrix.assemble()

    def mult(self, shell, v, out):
        """J v, as PETSc asks for it."""
        self.da.array[:] = -self.a.x.array * v.array_r / 2
        field, direction = (self.field,), (self.grid(self.da.array_r),)
        slope = torch.func.jvp(self.surrogate.predict, field, direction)[1]
        self.dp.array[:] = slope.ravel()[self.node]
        for matrix, part in zip(self.matrices, (v, self.dp, self.da), strict=True):
            matrix.mult(part, out) if part is v else matrix.multAdd(part, out, out)

    def run(self, steps, implicit=True, end=0.5):
        """Return c at the end, and Newton's iterations a step."""
        self.c.x.array[:], newton = 0, 0
        self.dt.value = end / steps / (2 if implicit else 1)
        for _ in range(steps):
            self.old.x.array[:] = self.now.array[:] = self.c.x.array
            if implicit:  # half a step of Euler gives the midpoint
                self.snes.solve(None, self.now)
                assert self.snes.is_converged, self.snes.reason
                newton += self.snes.its / steps
                self.c.x.array[:] = 2 * self.now.array_r - self.old.x.array
            else:  # the flow of the step before: one linear system
                self.function(None, self.now, self.da)
                self.jacobian()
                self.snes.getKSP().getPC().setOperators(self.matrices[0])
                self.snes.getKSP().getPC().apply(self.da, self.dp)
                self.c.x.array[:] -= self.dp.array_r
        return self.c.x.array.copy(), newton


def main(run, steps=4, seed=11):
    """Return relative errors of c at the end, against eight times the steps."""
    surrogate = opkit.load(run)
    solver = surrogate.context.case_solver.solver
    a0 = solver.sample(np.random.default_rng(seed))["permeability"]
    loop = Transport(surrogate, a0)
    (end, _), (c, newton) = loop.run(8 * steps), loop.run(steps)
    rows = {f"implicit, {steps} steps": c}
    for count in (steps, 8 * steps):
        rows[f"flow before, {count} steps"] = loop.run(count, implicit=False)[0]
    errors = {k: np.linalg.norm(c - end) / np.linalg.norm(end) for k, c in rows.items()}
    return errors | {"Newton iterations a step": newton}


if __name__ == "__main__":
    for name, value in main(sys.argv[1], *map(int, sys.argv[2:])).items():
        print(f"{name:>28}: {value:.3g}")
