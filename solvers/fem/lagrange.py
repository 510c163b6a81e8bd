"""Nodes of Lagrange elements of degree 1 and 2 on a simplex mesh."""

from __future__ import annotations

import numpy as np

from opkit.solvers.fem.simplex_mesh import Array, Indices, SimplexMesh, edges


def lagrange_nodes(mesh: SimplexMesh, degree: int) -> tuple[Array, Indices]:
    """Nodes and cells of degree 1 or 2: edge midpoints follow the mesh's points.

    The corners of quadratic cells come first, then the middles of edges in VTK's order.
    """
    if degree == 1:
        return mesh.points, mesh.cells
    pairs = edges(mesh.cells)
    order = [(0, 1), (1, 2), (2, 0), (0, 3), (1, 3), (2, 3)]
    middle = []
    for i, j in order[: 3 if mesh.dimension == 2 else 6]:
        wanted = np.sort(mesh.cells[:, [i, j]], axis=1)
        key = pairs[:, 0] * len(mesh.points) + pairs[:, 1]
        found = np.searchsorted(key, wanted[:, 0] * len(mesh.points) + wanted[:, 1])
        middle.append(found + len(mesh.points))
    points = np.concatenate([mesh.points, mesh.points[pairs].mean(axis=1)])
    return points, np.column_stack([mesh.cells, *middle])
