"""Nodes of Lagrange elements of degree 1 and 2 on a simplex mesh."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from opkit.base.arrays import Array, Indices
from opkit.solvers.fem.simplex_mesh import SimplexMesh, edges


def lagrange_nodes(mesh: SimplexMesh, degree: int) -> tuple[Array, Indices]:
    """Nodes and cells of degree 1 or 2: edge midpoints follow the mesh's points.

    The corners of quadratic cells come first, then the middles of edges in VTK's order.
    """
    if degree == 1:
        return mesh.points, mesh.cells
    pairs = edges(mesh.cells)
    order = [(0, 1), (1, 2), (2, 0), (0, 3), (1, 3), (2, 3)]
    ends = [mesh.cells[:, [i, j]] for i, j in order[: 3 if mesh.dimension == 2 else 6]]
    middle = [_middles(mesh, pairs, pair) for pair in ends]
    points = np.concatenate([mesh.points, mesh.points[pairs].mean(axis=1)])
    return points, np.column_stack([mesh.cells, *middle])


def facet_nodes(mesh: SimplexMesh, facets: Indices, degree: int) -> Indices:
    """Nodes of degree 1 or 2 on some of a mesh's facets, each once, increasing."""
    nodes = [facets.ravel()]
    if degree == 2:
        pairs = edges(mesh.cells)
        for i, j in combinations(range(facets.shape[1]), 2):
            nodes.append(_middles(mesh, pairs, facets[:, [i, j]]))
    numbers: Indices = np.unique(np.concatenate(nodes))
    return numbers


def _middles(mesh: SimplexMesh, pairs: Indices, corners: Indices) -> Indices:
    """Numbers of the middles of edges, (edge, 2) corners in any order."""
    corners = np.sort(corners, axis=1)
    key = pairs[:, 0] * len(mesh.points) + pairs[:, 1]
    edge = np.searchsorted(key, corners[:, 0] * len(mesh.points) + corners[:, 1])
    return edge + len(mesh.points)
