"""Lagrange elements for -∇·(a ∇p) = f with mixed boundary conditions, in dolfinx.

    ∫ a ∇p·∇v dx = ∫ f v dx + ∫ q v ds    for all v that vanish where p is given,

a constant on each cell, q = a ∂p/∂n the flux into the domain on Neumann parts.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from scipy.spatial import cKDTree

from opkit.base.arrays import Array
from opkit.solvers.fem.boundary import Conditions, check_conditions
from opkit.solvers.fem.lagrange import lagrange_nodes
from opkit.solvers.fem.simplex_mesh import MeshError, SimplexMesh
from opkit.solvers.fem.stack import MPI, PETSc, basix_ufl, fem, fem_petsc, ufl
from opkit.solvers.fem.stack import mesh as dolfinx_mesh

LinearSolver = Literal["auto", "direct", "iterative"]


class Poisson:
    """The assembled problem on one mesh; permeability is changed, the rest is kept.

    Args:
        mesh: triangles or tetrahedra.
        degree: 1 or 2.
        conditions: one for each part of the boundary.
        forcing: f, constant.
        linear_solver: Cholesky by MUMPS; or conjugate gradients with algebraic
            multigrid (GAMG), which ``auto`` takes above 30,000 nodes.
        rtol: of the iterative solver.
        max_iterations: of the iterative solver.
        communicator: who shares the mesh; every rank gives and gets everything.
    """

    def __init__(
        self,
        mesh: SimplexMesh,
        degree: int,
        conditions: Conditions,
        forcing: float,
        linear_solver: LinearSolver,
        rtol: float,
        max_iterations: int = 500,
        communicator: Any = None,
    ) -> None:
        check_conditions(mesh, conditions)
        self._comm = communicator or MPI.COMM_SELF
        self.nodes, self.cells = lagrange_nodes(mesh, degree)
        domain = _distribute(mesh, self._comm)
        self._cell = domain.topology.original_cell_index
        space = fem.functionspace(domain, ("Lagrange", degree))
        self._a = fem.Function(fem.functionspace(domain, ("DG", 0)))
        self._p = fem.Function(space)
        self._match(space, mesh.size)
        p, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        left = ufl.inner(self._a * ufl.grad(p), ufl.grad(v)) * ufl.dx
        right = fem.Constant(domain, PETSc.ScalarType(forcing)) * v * ufl.dx
        tags = _tag_facets(domain, mesh)
        ds = ufl.Measure("ds", domain=domain, subdomain_data=tags)
        sums = fem.Function(space)
        counts = np.zeros(len(sums.x.array))
        for number, name in enumerate(mesh.names):
            value = conditions[name].value
            if conditions[name].kind == "neumann":
                right += fem.Constant(domain, PETSc.ScalarType(value)) * v * ds(number)
                continue
            dofs = fem.locate_dofs_topological(
                space, mesh.dimension - 1, tags.find(number)
            )
            sums.x.array[dofs] += value
            counts[dofs] += 1
        # Where parts meet, the mean of their values: no order of names matters.
        sums.x.array[:] /= np.maximum(counts, 1)
        fixed = np.flatnonzero(counts).astype(np.int32)
        self._dirichlet = [fem.dirichletbc(sums, fixed)] if len(fixed) else []
        self._left, self._right = fem.form(left), fem.form(right)
        self._matrix = fem_petsc.create_matrix(self._left)
        direct = linear_solver == "direct" or (
            linear_solver == "auto" and len(self.nodes) <= 30_000
        )
        # The unit problem's inverse measures residuals in the H⁻¹ norm.
        self._unit = fem_petsc.create_matrix(self._left)
        self._assemble(self._unit, np.ones(len(mesh.cells)))
        self._unit_solver = self._krylov(self._unit, direct, rtol, 500)
        self._numerics = (direct, rtol, max_iterations)

    def solve(self, permeability: Array) -> tuple[Array, int, bool]:
        """Pressure on the nodes, iterations, and whether PETSc says it converged."""
        b = self._system(permeability)
        # A new solver each time: nothing of the sample before is left, no aggregates.
        solver = self._krylov(self._matrix, *self._numerics)
        x = self._p.x.petsc_vec
        solver.solve(b, x)
        self._p.x.scatter_forward()
        converged = solver.getConvergedReason() > 0
        iterations = int(solver.getIterationNumber())
        solver.destroy()
        b.destroy()
        return self._gather(), iterations, converged

    def residual(self, permeability: Array, pressure: Array) -> float:
        """|b - A p| / |b| in the discrete H⁻¹ norm, |r|² = rᵀ K⁻¹ r, K for a = 1.

        p need not meet the Dirichlet values: the given ones are put in first.
        """
        b = self._system(permeability)
        x = self._p.x.petsc_vec
        self._p.x.array[: len(self._owned)] = pressure[self._owned]
        self._p.x.scatter_forward()
        fem_petsc.set_bc(x, self._dirichlet)
        r = b.duplicate()
        self._matrix.mult(x, r)
        r.aypx(-1.0, b)
        # Measure b with the given values taken out: what the free nodes are to carry.
        fem_petsc.set_bc(r, self._dirichlet, alpha=0.0)
        fem_petsc.set_bc(b, self._dirichlet, alpha=0.0)
        size, scale = self._norm(r), self._norm(b)
        r.destroy()
        b.destroy()
        return size / (scale or 1.0)

    def _norm(self, r: Any) -> float:
        z = r.duplicate()
        self._unit_solver.solve(r, z)
        square = float(r.dot(z))
        z.destroy()
        return float(np.sqrt(max(square, 0.0)))

    def _assemble(self, matrix: Any, permeability: Array) -> None:
        self._a.x.array[:] = permeability[self._cell]
        matrix.zeroEntries()
        fem_petsc.assemble_matrix(matrix, self._left, bcs=self._dirichlet)
        matrix.assemble()

    def _system(self, permeability: Array) -> Any:
        self._assemble(self._matrix, permeability)
        b = fem_petsc.assemble_vector(self._right)
        fem_petsc.apply_lifting(b, [self._left], [self._dirichlet])
        b.ghostUpdate(addv=PETSc.InsertMode.ADD, mode=PETSc.ScatterMode.REVERSE)
        fem_petsc.set_bc(b, self._dirichlet)
        return b

    def _krylov(
        self, matrix: Any, direct: bool, rtol: float, max_iterations: int
    ) -> Any:
        solver = PETSc.KSP().create(self._comm)
        solver.setOperators(matrix)
        matrix.setOption(PETSc.Mat.Option.SPD, True)
        conditioner = solver.getPC()
        if direct:
            solver.setType(PETSc.KSP.Type.PREONLY)
            conditioner.setType(PETSc.PC.Type.CHOLESKY)
            conditioner.setFactorSolverType("mumps")
        else:
            solver.setType(PETSc.KSP.Type.CG)
            conditioner.setType(PETSc.PC.Type.GAMG)
            # The energy norm of the residual; a tenth leaves room for other norms.
            solver.setNormType(PETSc.KSP.NormType.NATURAL)
            solver.setTolerances(rtol=0.1 * rtol, max_it=max_iterations)
        return solver

    def _match(self, space: Any, size: float) -> None:
        """Find the node of each degree of freedom by where it is."""
        where = space.tabulate_dof_coordinates()[:, : self.nodes.shape[1]]
        owned = space.dofmap.index_map.size_local
        distance, node = cKDTree(self.nodes).query(where[:owned])
        # far from the origin, coordinates are rounded by more than the mesh is fine
        rounding = 8 * np.finfo(np.float64).eps * np.abs(self.nodes).max()
        if owned and distance.max() > 1e-9 * size + rounding:
            raise MeshError("a degree of freedom is at no node of the mesh")
        self._owned = node

    def _gather(self) -> Array:
        pressure = np.zeros(len(self.nodes))
        pressure[self._owned] = self._p.x.array[: len(self._owned)]
        if self._comm.size > 1:
            self._comm.Allreduce(MPI.IN_PLACE, pressure, op=MPI.SUM)
        return pressure


def _distribute(mesh: SimplexMesh, communicator: Any) -> Any:
    shape = "triangle" if mesh.dimension == 2 else "tetrahedron"
    element = basix_ufl.element("Lagrange", shape, 1, shape=(mesh.dimension,))
    mine = slice(None) if communicator.rank == 0 else slice(0, 0)
    return dolfinx_mesh.create_mesh(
        communicator, mesh.cells[mine], element, np.ascontiguousarray(mesh.points[mine])
    )


def _tag_facets(domain: Any, mesh: SimplexMesh) -> Any:
    dimension = mesh.dimension - 1
    domain.topology.create_connectivity(dimension, mesh.dimension)
    facets = dolfinx_mesh.exterior_facet_indices(domain.topology)
    middles = dolfinx_mesh.compute_midpoints(domain, dimension, facets)
    tree = cKDTree(mesh.points[mesh.facets].mean(axis=1))
    parts = np.zeros(0, dtype=np.int32)
    if len(facets):
        nearest = tree.query(middles[:, : mesh.dimension])[1]
        parts = mesh.parts[nearest].astype(np.int32)
    return dolfinx_mesh.meshtags(domain, dimension, facets, parts)
