"""Elliptic problems by quadratic elements on curved triangles, with scipy alone.

    ∫ c_0 u v + (c_1 u_x + c_2 u_y) v - c_3 u_x v_x - c_4 u_y v_y + ∮ c_tn u_t v
        = ∫ f v - ∮ c_nn h v

for all v that vanish where u is given. With the outward normal n and the tangent
t = (-n_y, n_x), the flux h = u_n is given on the rest, c_nn = c_3 n_x² + c_4 n_y² and
c_tn = (c_4 - c_3) n_x n_y: where c_3 ≠ c_4, the flux that integration by parts leaves
on a slanted boundary is not u_n, and its tangential part stands on the left.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import SuperLU, splu

from opkit.base.arrays import Array
from opkit.errors import NonFiniteError
from opkit.pde import SIDES
from opkit.pde.problem import Disk, LinearProblem
from opkit.solvers.linear_pde.curved_mesh import PlanarMesh, planar_mesh

# Dunavant, Int. J. Numer. Meth. Engng 21 (1985): twelve points, exact to degree six.
_ORBITS = (
    (0.116786275726379, (0.501426509658179, 0.249286745170910, 0.249286745170910)),
    (0.050844906370207, (0.873821971016996, 0.063089014491502, 0.063089014491502)),
    (0.082851075618374, (0.053145049844817, 0.310352451033784, 0.636502499121399)),
)
_EDGE_POINTS, _EDGE_WEIGHTS = np.polynomial.legendre.leggauss(5)
_SLOPES = np.array([[-1.0, -1.0], [1.0, 0.0], [0.0, 1.0]])  # of l_0, l_1, l_2
_OPPOSITE = ((1, 2), (2, 0), (0, 1))


def _rule() -> tuple[Array, Array]:
    """Barycentric coordinates (point, 3) and weights (point,) that sum to 1/2."""
    points, weights = [], []
    for weight, corner in _ORBITS:
        orders = {(0, 1, 2), (1, 2, 0), (2, 0, 1)}
        if len(set(corner)) == 3:
            orders |= {(0, 2, 1), (2, 1, 0), (1, 0, 2)}
        for order in sorted(orders):
            points.append([corner[k] for k in order])
            weights.append(weight / 2)
    return np.array(points), np.array(weights)


def shapes(l: Array) -> tuple[Array, Array]:
    """Six quadratic functions (point, 6) and their slopes (point, 6, 2).

    Args:
        l: barycentric coordinates (point, 3); slopes are along the second and third.
    """
    values, slopes = np.empty((len(l), 6)), np.empty((len(l), 6, 2))
    for i, (j, k) in enumerate(_OPPOSITE):
        values[:, i] = l[:, i] * (2 * l[:, i] - 1)
        values[:, 3 + i] = 4 * l[:, j] * l[:, k]
        slopes[:, i] = (4 * l[:, i, None] - 1) * _SLOPES[i]
        slopes[:, 3 + i] = 4 * (l[:, k, None] * _SLOPES[j] + l[:, j, None] * _SLOPES[k])
    return values, slopes


@dataclass(frozen=True)
class Discrete:
    """A problem on one mesh: ``matrix @ u = load`` on free nodes, ``u = values`` else.

    Args:
        mesh: the triangles.
        matrix: of L, (node, node).
        mass: ∫ u v, (node, node).
        load: right-hand side (node,).
        fixed: where u is given, (node,).
        values: what is given there, 0 elsewhere, (node,).
        source_norm: root mean square of f where it was sampled.
    """

    mesh: PlanarMesh
    matrix: sparse.csr_matrix
    mass: sparse.csr_matrix
    load: Array
    fixed: NDArray[np.bool_]
    values: Array
    source_norm: float

    @cached_property
    def free_matrix(self) -> sparse.csc_matrix:
        """L among free nodes."""
        return self.matrix[~self.fixed][:, ~self.fixed].tocsc()

    @cached_property
    def free_mass(self) -> sparse.csc_matrix:
        """∫ u v among free nodes."""
        return self.mass[~self.fixed][:, ~self.fixed].tocsc()

    @cached_property
    def factors(self) -> SuperLU:
        """L U of `free_matrix`.

        Raises:
            RuntimeError: it is singular.
        """
        return factorise(self.free_matrix)

    def solve(self) -> tuple[Array, float]:
        """Solution (node,), and the norm of what round-off leaves of the equations.

        The norm is that of a density: its quotient by the smallest singular value of
        L bounds the root mean square error of u, over the root of the area.
        """
        u = self.values.copy()
        right = (self.load - self.matrix @ u)[~self.fixed]
        free = self.factors.solve(right)
        free += self.factors.solve(right - self.free_matrix @ free)
        residual = right - self.free_matrix @ free
        u[~self.fixed] = free
        lumped = np.maximum(np.asarray(self.free_mass.diagonal()), 1e-300)
        return u, float(np.sqrt((residual**2 / lumped).sum()))


def factorise(matrix: sparse.csc_matrix) -> SuperLU:
    """L U of a matrix whose pattern is symmetric."""
    return splu(
        matrix,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.01,
        options={"SymmetricMode": True},
    )


class Data(Protocol):
    """What stands on the right of a problem, in place of its own formulas."""

    def source(self, x: Array, y: Array) -> Array:
        """F at points of any shape."""
        ...

    def boundary(self, part: str, x: Array, y: Array, n_x: Array, n_y: Array) -> Array:
        """U or u_n on a part at points of any shape, n the outward normal.

        Where u is given, at nodes, the normals are 0.
        """
        ...


@dataclass(frozen=True)
class Formulas:
    """The right-hand side as the problem states it."""

    problem: LinearProblem

    def source(self, x: Array, y: Array) -> Array:
        """F at points."""
        return np.asarray(self.problem.linear.source(x, y, np))

    def boundary(self, part: str, x: Array, y: Array, n_x: Array, n_y: Array) -> Array:
        """U or u_n at points of a part."""
        return np.asarray(self.problem.conditions()[part][0][1](x, y, np))


def discretise(
    problem: LinearProblem, cells: float, data: Data | None = None
) -> Discrete:
    """Assemble an elliptic problem.

    Args:
        problem: elliptic.
        cells: elements along a side of the square.
        data: another right-hand side than the problem's.

    Raises:
        MeshError: the domain cannot be meshed.
        NonFiniteError: source or boundary data are not finite somewhere.
    """
    mesh = planar_mesh(problem, 2 / cells)
    data = data or Formulas(problem)
    c = problem.linear.coefficients
    l, weights = _rule()
    values, slopes = shapes(l)
    corners = mesh.points[mesh.cells]
    jacobian = np.einsum("cak,qal->cqkl", corners, slopes)
    determinant = np.linalg.det(jacobian)
    gradient = np.einsum("qal,cqlk->cqak", slopes, np.linalg.inv(jacobian))
    weight = weights * np.abs(determinant)
    stiff = [
        (g * weight[..., None]).transpose(0, 2, 1) @ g
        for g in (gradient[..., 0], gradient[..., 1])
    ]
    products = (values[:, :, None] * values[:, None, :]).reshape(len(l), 36)
    mass = (weight @ products).reshape(-1, 6, 6)
    local = c[0] * mass - c[3] * stiff[0] - c[4] * stiff[1]
    if c[1] or c[2]:
        along = c[1] * gradient[..., 0] + c[2] * gradient[..., 1]
        local += values.T @ (weight[..., None] * along)
    at = np.einsum("qa,cak->cqk", values, corners)
    source = finite(data.source(at[..., 0], at[..., 1]), "the source")
    load = np.zeros(len(mesh.points))
    np.add.at(load, mesh.cells, (weight * source) @ values)
    rows = np.repeat(mesh.cells, 6, axis=1).ravel()
    columns = np.tile(mesh.cells, 6).ravel()
    shape = (len(load), len(load))
    entries = sparse.csr_matrix((local.ravel(), (rows, columns)), shape)
    whole = sparse.csr_matrix((mass.ravel(), (rows, columns)), shape)
    boundary, fixed, nodal = _boundary(problem, mesh, load, data)
    norm = float(np.sqrt((weight * source**2).sum() / weight.sum()))
    return Discrete(mesh, (entries + boundary).tocsr(), whole, load, fixed, nodal, norm)


def _boundary(
    problem: LinearProblem, mesh: PlanarMesh, load: Array, data: Data
) -> tuple[sparse.csr_matrix, NDArray[np.bool_], Array]:
    """What the tangential flux adds to L; where u is given; what it is there.

    Adds the given flux to the load.
    """
    c = problem.linear.coefficients
    count = np.zeros(len(load))
    total = np.zeros(len(load))
    added = sparse.csr_matrix((len(load), len(load)))
    unassigned = np.ones(len(mesh.rim), dtype=bool)
    middle = mesh.points[mesh.rim[:, 2]]
    for part, conditions in problem.conditions().items():
        here = unassigned & on_part(problem, part, middle[:, 0], middle[:, 1])
        unassigned &= ~here
        edges = mesh.rim[here]
        if conditions[0][0] == "u":
            nodes = np.unique(edges)
            x, y = mesh.points[nodes].T
            count[nodes] += 1
            none = np.zeros_like(x)
            u = data.boundary(part, x, y, none, none)
            total[nodes] += finite(u, f"u on {part}")
            continue
        s = _EDGE_POINTS
        values = np.stack([s * (s - 1) / 2, s * (s + 1) / 2, 1 - s * s], 1)
        slopes = np.stack([s - 0.5, s + 0.5, -2 * s], 1)
        at = np.einsum("qa,eak->eqk", values, mesh.points[edges])
        along = np.einsum("qa,eak->eqk", slopes, mesh.points[edges])
        length = np.hypot(along[..., 0], along[..., 1])
        nx, ny = along[..., 1] / length, -along[..., 0] / length
        flux = data.boundary(part, at[..., 0], at[..., 1], nx, ny)
        flux = finite(flux, f"u_n on {part}")
        flux = flux * (c[3] * nx**2 + c[4] * ny**2) * length * _EDGE_WEIGHTS
        np.subtract.at(load, edges, flux @ values)
        oblique = (c[4] - c[3]) * nx * ny * _EDGE_WEIGHTS
        local = np.einsum("eq,qa,qb->eab", oblique, values, slopes)
        rows = np.repeat(edges, 3, axis=1).ravel()
        columns = np.tile(edges, 3).ravel()
        added += sparse.csr_matrix((local.ravel(), (rows, columns)), added.shape)
    fixed = count > 0
    return added, fixed, np.where(fixed, total / np.maximum(count, 1), 0.0)


def finite(values: Array, what: str) -> Array:
    """Return values, all finite.

    Raises:
        NonFiniteError: some are not.
    """
    if not np.isfinite(values).all():
        raise NonFiniteError(
            f"{what} is not finite somewhere in the domain: check for divisions by "
            "zero, logarithms and roots"
        )
    return values


def on_part(problem: LinearProblem, part: str, x: Array, y: Array) -> NDArray[np.bool_]:
    """Whether points (point,) lie on a part of the boundary, to 1e-9."""
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


@dataclass(frozen=True)
class PlanarField:
    """A quadratic function on a mesh, with recovered derivatives.

    Args:
        mesh: the triangles.
        nodal: values (node,).
    """

    mesh: PlanarMesh
    nodal: Array

    def values(self, x: Array, y: Array) -> Array:
        """U at points (point,) of the domain."""
        cells, l = self.mesh.locate(np.stack([x, y], 1))
        return _combine(shapes(l)[0], self.nodal[self.mesh.cells[cells]])

    def jet(self, x: Array, y: Array) -> Array:
        """(u, u_x, u_y, u_xx, u_yy) at points (point,): (5, point).

        u has third order in the length of edges, the slopes second, u_xx and u_yy
        first: slopes of elements are averaged at nodes, and once more.
        """
        cells, l = self.mesh.locate(np.stack([x, y], 1))
        values = shapes(l)[0]
        nodes = self.mesh.cells[cells]
        fields = (self.nodal, *self._slopes, self._bends[0], self._bends[1])
        return np.stack([_combine(values, field[nodes]) for field in fields])

    @cached_property
    def _slopes(self) -> tuple[Array, Array]:
        return _recover(self.mesh, self.nodal)

    @cached_property
    def _bends(self) -> tuple[Array, Array]:
        along_x, along_y = self._slopes
        return _recover(self.mesh, along_x)[0], _recover(self.mesh, along_y)[1]


def _combine(values: Array, nodal: Array) -> Array:
    return np.asarray((values * nodal).sum(1))


def _recover(mesh: PlanarMesh, nodal: Array) -> tuple[Array, Array]:
    """Slopes at nodes: means over adjacent elements, weighted by their area."""
    corners = np.vstack([np.eye(3), (1 - np.eye(3)) / 2])
    slopes = shapes(corners)[1]
    points = mesh.points[mesh.cells]
    jacobian = np.einsum("cak,qal->cqkl", points, slopes)
    gradient = np.einsum("qal,cqlk->cqak", slopes, np.linalg.inv(jacobian))
    cell_slopes = np.einsum("cqak,ca->cqk", gradient, nodal[mesh.cells])
    area = np.abs(np.linalg.det(jacobian))
    total, weight = np.zeros((len(nodal), 2)), np.zeros(len(nodal))
    np.add.at(total, mesh.cells, cell_slopes * area[..., None])
    np.add.at(weight, mesh.cells, area)
    total /= weight[:, None]
    return total[:, 0], total[:, 1]
