"""The meshes of a hierarchy as fixed sparse matrices.

Matrices of the finest space V_0 are assembled, those of coarser ones are Galerkin
products P^T A P with the prolongations P_l : V_{l+1} → V_l, which for nested meshes are
the assembled ones. Where a mesh brings no coarser ones, coarse nodes are a maximal
independent set of the finer ones, as in algebraic multigrid.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from opkit.elements import (
    check_mesh,
    gradient_matrices,
    interpolation,
    mass,
    stiffness_matrices,
)
from opkit.errors import OpkitInputError
from opkit.operators.shapes import MeshShape

Array = NDArray[np.float64]
Matrix = Any
SMALLEST = 12
"""Nodes below which no coarser level is made."""


@dataclass(frozen=True)
class Space:
    """One level: nodes and the matrices of its elements.

    Args:
        points: (node, d).
        mass: M (node, node).
        gradients: G^a, one for each axis.
        seconds: K^ab_ij = ½ ∫ (∂_a φ_i ∂_b φ_j + ∂_b φ_i ∂_a φ_j), as [a][b].
    """

    points: Array
    mass: Matrix
    gradients: list[Matrix]
    seconds: list[list[Matrix]]

    @cached_property
    def stiffness(self) -> Matrix:
        """K, the sum of K^aa."""
        return sum(row[a] for a, row in enumerate(self.seconds))

    @cached_property
    def volume(self) -> Array:
        """Σ_j |M_ij|, the lumped mass of linear elements (node,)."""
        return np.asarray(abs(self.mass).sum(axis=1)).ravel()

    @property
    def spacing(self) -> float:
        """Mean distance of nodes, the d-th root of the mean volume."""
        return float(self.volume.mean() ** (1 / self.points.shape[1]))

    def operators(self) -> list[Matrix]:
        """Dimensionless matrices of order 1, the same for a mesh and its copies.

        With V = diag(Σ_j |M_ij|), h = V^(1/d) and D = diag(K): the mean V⁻¹ M, first
        derivatives h V⁻¹ G^a, the Laplacian D⁻¹ K, and the second derivatives
        D⁻¹ (K^aa - K / d) but one, and D⁻¹ K^ab, a < b.
        """
        d = self.points.shape[1]
        inverse = sparse.diags_array(1 / self.volume)
        sized = sparse.diags_array(self.volume ** (1 / d - 1))
        diagonal = sparse.diags_array(1 / self.stiffness.diagonal())
        first = [sized @ gradient for gradient in self.gradients]
        axes = [self.seconds[a][a] - self.stiffness / d for a in range(d - 1)]
        mixed = [self.seconds[a][b] for a, b in combinations(range(d), 2)]
        second = [diagonal @ matrix for matrix in (self.stiffness, *axes, *mixed)]
        return [inverse @ self.mass, *first, *second]

    def edges(self) -> tuple[NDArray[np.int64], Array]:
        """Directed edges (edge, 2), from all nodes that share a cell with a node.

        Returns:
            Edges (to, from), and (x_to - x_from, |x_to - x_from|) / h̄ (edge, d + 1)
            with the mean distance h̄.
        """
        pattern = self.mass.tocoo()
        ends = np.stack([pattern.row, pattern.col], 1).astype(np.int64)
        ends = ends[ends[:, 0] != ends[:, 1]]
        step = self.points[ends[:, 0]] - self.points[ends[:, 1]]
        length = np.linalg.norm(step, axis=1, keepdims=True)
        return ends, np.concatenate([step, length], axis=1) / length.mean()

    def coarser(self, prolongation: Matrix, points: Array) -> Space:
        """The space spanned by the columns of a prolongation."""

        def galerkin(matrix: Matrix) -> Matrix:
            return (prolongation.T @ matrix @ prolongation).tocsr()

        d = self.points.shape[1]
        half = {
            (a, b): galerkin(self.seconds[a][b]) for a in range(d) for b in range(a, d)
        }
        seconds = [[half[min(a, b), max(a, b)] for b in range(d)] for a in range(d)]
        gradients = [galerkin(gradient) for gradient in self.gradients]
        return Space(points, galerkin(self.mass), gradients, seconds)


def build_levels(data: MeshShape, count: int) -> tuple[list[Space], list[Matrix]]:
    """Spaces of a hierarchy, finest first, and the prolongations between them.

    Args:
        data: the mesh with its coarser ones.
        count: levels at most; 1 is the mesh alone.

    Raises:
        OpkitInputError: a mesh that carries no elements, or coarser ones of another
            domain.
    """
    for points, cells in ((data.points, data.cells), *data.coarse[: count - 1]):
        check_mesh(points, cells)
    seconds = stiffness_matrices(data.points, data.cells)
    finest = Space(
        data.points,
        mass(data.points, data.cells),
        gradient_matrices(data.points, data.cells),
        [[(own + own.T) / 2 for own in row] for row in seconds],
    )
    spaces, prolongations = [finest], []
    fine = data.points
    for points, cells in data.coarse[: count - 1]:
        if len(points) >= len(fine):
            raise OpkitInputError(
                f"coarse mesh of {len(points)} nodes below one of {len(fine)}: give "
                "coarser meshes, finest first"
            )
        if len(points) < SMALLEST:
            break
        prolongations.append(interpolation(points, cells, fine))
        spaces.append(spaces[-1].coarser(prolongations[-1], points))
        fine = points
    while not data.coarse and len(spaces) < count:
        nodes, prolongation = independent_set(spaces[-1])
        if not SMALLEST <= len(nodes) < len(spaces[-1].points):
            break
        prolongations.append(prolongation)
        spaces.append(spaces[-1].coarser(prolongation, spaces[-1].points[nodes]))
    return spaces, prolongations


def independent_set(space: Space) -> tuple[NDArray[np.int64], Matrix]:
    """A maximal independent set of nodes, and the prolongation (fine, coarse) from it.

    No two coarse nodes share a cell, and every other node shares one with a coarse
    node: it takes the mean of these, weighted by 1 / distance. Keeps constants.
    """
    graph = space.mass.tocsr()
    size = graph.shape[0]
    neighbours = np.split(graph.indices, graph.indptr[1:-1])
    free, chosen = np.ones(size, dtype=bool), np.zeros(size, dtype=bool)
    for node in range(size):
        if free[node]:
            chosen[node] = True
            free[neighbours[node]] = False
    pattern = graph.tocoo()
    near = chosen[pattern.col] & ~chosen[pattern.row]
    row, column = pattern.row[near], pattern.col[near]
    distance = np.linalg.norm(space.points[row] - space.points[column], axis=1)
    own = np.flatnonzero(chosen)
    weights = np.concatenate([np.ones(len(own)), 1 / distance])
    entries = (np.concatenate([own, row]), np.concatenate([own, column]))
    matrix = sparse.coo_array((weights, entries), shape=(size, size)).tocsr()[:, own]
    return own, (sparse.diags_array(1 / matrix.sum(axis=1)) @ matrix).tocsr()


def torsion(space: Space, fixed: NDArray[np.bool_]) -> Array:
    """φ with -Δφ = 1, φ = 0 on the fixed nodes, ∂φ/∂n = 0 elsewhere; maximum 1.

    Ones where a mesh has no fixed nodes. It behaves at corners and edges like the
    solutions of elliptic problems do.
    """
    free = np.flatnonzero(~fixed)
    phi = np.zeros(len(fixed))
    if not len(free) or not fixed.any():
        phi[free] = 1.0
        return phi
    load = np.asarray(space.mass.sum(axis=1)).ravel()
    phi[free] = splu(space.stiffness[free][:, free].tocsc()).solve(load[free])
    return phi / phi.max()


def lift(space: Space, fixed: NDArray[np.bool_], fixed_values: Array) -> Array:
    """Harmonic extension of the values on fixed nodes, (channel, node)."""
    free = np.flatnonzero(~fixed)
    values = np.where(fixed, fixed_values, 0.0)
    if not len(free) or not values.any():
        return values
    inner = splu(space.stiffness[free][:, free].tocsc())
    load = -(space.stiffness[free][:, np.flatnonzero(fixed)] @ values[:, fixed].T)
    values[:, free] = inner.solve(load).T
    return values
