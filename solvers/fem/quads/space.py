"""Q2 and Q2-Q1 finite element spaces on a `QuadGrid`, and Newton systems, in dolfinx.

The mesh is built once, with isoparametric Q2 cells; a sample moves its points. States
are arrays of all degrees of freedom; `QuadSpace.split` and `join` carry them to and
from fields in the grid's order of nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from opkit.base.arrays import Array, Indices
from opkit.solvers.fem.quads.grids import QuadGrid
from opkit.solvers.fem.stack import MPI, PETSc, basix_ufl, fem, fem_petsc, ufl
from opkit.solvers.fem.stack import mesh as dolfinx_mesh

QUADRATURE = 5  # 3 x 3 Gauss points


class QuadSpace:
    """Vectors (2, node) of degree 2 and, where ``mixed``, bilinear scalars (vertex,).

    Args:
        grid: topology and numbering.
        points: (node, 2) of any sample, all different.
        mixed: add the bilinear scalar (a pressure).
    """

    def __init__(self, grid: QuadGrid, points: Array, mixed: bool) -> None:
        self.grid, self.mixed = grid, mixed
        cell = "quadrilateral"
        vector = basix_ufl.element("Lagrange", cell, 2, shape=(2,))
        self.domain = dolfinx_mesh.create_mesh(
            MPI.COMM_SELF, grid.basix_cells, vector, np.ascontiguousarray(points)
        )
        self._order = np.asarray(self.domain.geometry.input_global_indices)
        element = vector
        if mixed:
            scalar = basix_ufl.element("Lagrange", cell, 1)
            element = basix_ufl.mixed_element([vector, scalar])
        self.space = fem.functionspace(self.domain, element)
        self.state = fem.Function(self.space)
        self.dx = ufl.dx(degree=QUADRATURE, domain=self.domain)
        self.vector = np.empty((2, len(points)), dtype=np.int64)
        self.scalar = np.empty(0, dtype=np.int64)
        if mixed:
            part, dofs = self.space.sub(0).collapse()
            nodes = _match(part, points)
            self.vector[:, nodes] = np.reshape(dofs, (-1, 2)).T
            part, dofs = self.space.sub(1).collapse()
            self.scalar = np.empty(len(grid.vertices), dtype=np.int64)
            self.scalar[_match(part, points[grid.vertices])] = dofs
        else:
            nodes = _match(self.space, points)
            self.vector[:, nodes] = np.arange(2 * len(points)).reshape(-1, 2).T

    @property
    def size(self) -> int:
        """Degrees of freedom."""
        return self.vector.size + self.scalar.size

    def move(self, points: Array) -> None:
        """Give the nodes another place (node, 2)."""
        self.domain.geometry.x[:, :2] = points[self._order]

    def join(self, vector: Array, scalar: Array | None = None) -> Array:
        """The state of a vector field (2, node) and a scalar (vertex,), or zero."""
        x = np.zeros(self.size)
        x[self.vector] = vector
        if scalar is not None:
            x[self.scalar] = scalar
        return x

    def split(self, x: Array) -> tuple[Array, Array]:
        """Vector field (2, node) and scalar (vertex,) of a state."""
        return x[self.vector], x[self.scalar]

    def boundary_measure(self, on: Callable[[Array], NDArray[np.bool_]]) -> Any:
        """Measure of facets whose points (3, n) of the first sample satisfy ``on``."""
        self.domain.topology.create_connectivity(1, 2)
        facets = dolfinx_mesh.locate_entities_boundary(self.domain, 1, on)
        tags = dolfinx_mesh.meshtags(
            self.domain, 1, np.sort(facets), np.ones(len(facets), dtype=np.int32)
        )
        return ufl.ds(domain=self.domain, subdomain_data=tags, degree=QUADRATURE)(1)


class Equations:
    """Assembled equations F(x) = 0 with some degrees of freedom given.

    Args:
        space: with the state that the form contains.
        form: F, linear in its test function, a form in ``space.state``.
        fixed: degrees of freedom that are given.
        symmetric: J is symmetric: factorise as L D Lᵀ.
        tangent: form of J; the derivative of ``form`` where None.
    """

    def __init__(
        self,
        space: QuadSpace,
        form: Any,
        fixed: Indices,
        symmetric: bool,
        tangent: Any = None,
    ) -> None:
        self.space, self.fixed, self._symmetric = space, np.sort(fixed), symmetric
        self._rows = self.fixed.astype(np.int32)
        self._form = fem.form(form)
        self._tangent = fem.form(tangent or ufl.derivative(form, space.state))
        self._matrix = fem_petsc.create_matrix(self._tangent)
        self._matrix.setOption(PETSc.Mat.Option.KEEP_NONZERO_PATTERN, True)
        self._vector = fem_petsc.create_vector(self.space.space)
        self._solver: Any = None
        self._fresh = False

    def forget(self) -> None:
        """Drop the factorisation: the next sample must not depend on this one.

        Its analysis stays: it follows from where the matrix has entries alone.
        """
        self._fresh = False

    def force(self, x: Array) -> Array:
        """F(x) in all rows, those of given degrees of freedom too: the reactions."""
        self.space.state.x.array[:] = x
        with self._vector.localForm() as local:
            local.set(0.0)
        fem_petsc.assemble_vector(self._vector, self._form)
        rows: Array = self._vector.array.copy()
        return rows

    def residual(self, x: Array, values: Array, force: Array) -> Array:
        """F(x) in the free rows, x minus the given values in the fixed ones."""
        r = force.copy()
        r[self.fixed] = x[self.fixed] - values
        return r

    def correction(
        self, x: Array, values: Array, factorise: bool, force: Array
    ) -> Array:
        """Solve J dx = -F(x) for dx, such that x + dx has the given values."""
        jump = values - x[self.fixed]
        dx = self._vector.duplicate()
        dx.array[self.fixed] = jump
        self._vector.array[:] = -force
        # A factorisation has forgotten the columns that a jump would need.
        far = np.abs(jump).max() > 1e-9 * (np.abs(values).max() + np.abs(x).max())
        if factorise or not self._fresh or far:
            self.space.state.x.array[:] = x
            self._matrix.zeroEntries()
            fem_petsc.assemble_matrix(self._matrix, self._tangent)
            self._matrix.assemble()
            # Rows and columns of given values become those of 1; b loses J dx of them.
            self._matrix.zeroRowsColumns(self._rows, 1.0, dx, self._vector)
            if self._solver is None:
                self._solver = self._factorisation()
            else:
                self._solver.setOperators(self._matrix)
            self._fresh = True
        else:
            self._vector.array[self.fixed] = jump
        self._solver.solve(self._vector, dx)
        step: Array = dx.array.copy()
        dx.destroy()
        if self._solver.getConvergedReason() < 0:
            step[:] = np.nan
            self._solver.destroy()
            self._solver, self._fresh = None, False
        return step

    def negative_pivots(self) -> int:
        """Negative eigenvalues of the last symmetric J that was factorised."""
        return int(self._solver.getPC().getFactorMatrix().getInertia()[0])

    @property
    def factorised(self) -> bool:
        """Is there a factorisation."""
        return self._fresh

    def _factorisation(self) -> Any:
        solver = PETSc.KSP().create(MPI.COMM_SELF)
        solver.setOperators(self._matrix)
        solver.setType(PETSc.KSP.Type.PREONLY)
        conditioner = solver.getPC()
        kind = PETSc.PC.Type.LU
        if self._symmetric:
            self._matrix.setOption(PETSc.Mat.Option.SYMMETRIC, True)
            kind = PETSc.PC.Type.CHOLESKY
        conditioner.setType(kind)
        conditioner.setFactorSolverType("mumps")
        conditioner.setFactorSetUpSolverType()
        factor = conditioner.getFactorMatrix()
        # 6, 12: no permutation by the values, so that one analysis serves all samples;
        # 7: least fill, or PORD, whose factors are the smallest of unsymmetric J here;
        # 14: per cent of room for pivoting; 24: needed to count negative pivots.
        order = 2 if self._symmetric else 4
        for number, value in ((6, 0), (7, order), (12, 1), (14, 80), (24, 1)):
            factor.setMumpsIcntl(number, value)
        return solver


class GridSystem:
    """Equations of one kind on one grid as `newton.System`; samples only differ.

    Args:
        space: spaces and state.
        equations: F(x) = 0.

    Attributes:
        multiplier: the same with `projection` as tangent, where there is a pressure.
    """

    multiplier: Equations

    def __init__(self, space: QuadSpace, equations: Equations) -> None:
        self.space, self.equations = space, equations
        self.points = self.plain = np.empty(0)
        self._scale = 1.0
        self._last: tuple[Array, float, Array] | None = None

    def place(self, points: Array, plain: Array) -> None:
        """Move to another sample, whose given values are those of the plain state."""
        self.equations.forget()
        self.space.move(points)
        self.points, self.plain, self._last = points, plain, None
        self._scale = float(np.linalg.norm(self.force(plain, 1.0))) or 1.0

    def set_load(self, load: float) -> None:
        """Put the load into the constants of the form."""

    def values(self, load: float) -> Array:
        """The given values."""
        values: Array = self.plain[self.equations.fixed]
        return values

    def label(self, load: float) -> str:
        """The load in words."""
        return f"{100 * load:.3g} % of the load"

    def force(self, x: Array, load: float) -> Array:
        """F(x) in all rows; the last one is kept, for the correction at the same x."""
        last = self._last
        if last is None or last[0] is not x or last[1] != load:
            self.set_load(load)
            last = self._last = (x, load, self.equations.force(x))
        return last[2]

    def residual(self, x: Array, load: float) -> float:
        """|F(x)| over |F| of the plain state at the full load."""
        force = self.force(x, load)
        r = self.equations.residual(x, self.values(load), force)
        norm = float(np.linalg.norm(r))
        return norm / self._scale if np.isfinite(norm) else np.inf

    def correction(self, x: Array, load: float, factorise: bool) -> Array:
        """Newton's correction, or a chord's."""
        force = self.force(x, load)
        self.set_load(load)
        return self.equations.correction(x, self.values(load), factorise, force)

    def with_multiplier(self, x: Array) -> Array:
        """The state with the p that leaves the least residual in the dual norm.

        p minimises |F(u, p)| in the norm dual to |∇w|: one linear solve.
        """
        prescribed, force = x[self.equations.fixed], self.force(x, 1.0)
        step = self.multiplier.correction(x, prescribed, True, force)
        state = x.copy()
        state[self.space.scalar] += step[self.space.scalar]
        return state

    def unstable_modes(self, x: Array) -> int:
        """Directions in which the energy falls, by the last tangent (Sylvester)."""
        if not self.equations.factorised:
            self.correction(x, 1.0, True)
        return self.equations.negative_pivots() - len(self.space.scalar)


def projection(space: QuadSpace, cofactor: Any) -> Any:
    """∇w·∇v - q cof·∇v - r cof·∇w: Laplacians that pair with p as J does.

    Args:
        space: with a bilinear scalar.
        cofactor: cof F of a solid, the identity of a flow.
    """
    w, q = ufl.TrialFunctions(space.space)
    v, r = ufl.TestFunctions(space.space)
    pair = ufl.inner(cofactor, ufl.grad(v)) * q + ufl.inner(cofactor, ufl.grad(w)) * r
    return (ufl.inner(ufl.grad(w), ufl.grad(v)) - pair) * space.dx


def _match(space: Any, points: Array) -> Indices:
    """The node of each (block of) degree of freedom, by where it is."""
    where = space.tabulate_dof_coordinates()[:, :2]
    nodes: Indices = cKDTree(points).query(where)[1]
    return nodes
