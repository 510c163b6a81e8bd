"""Whether a mesh from a file covers its domain once, without gaps that nobody meant.

A mesh whose cells fit together may still hang together wrongly: nodes on the edge of a
neighbour, twins a rounding apart, two parts one upon the other. All leave a boundary
inside the domain, and a solver solves another problem.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from opkit.base.arrays import Array, Indices
from opkit.solvers.fem.simplex_mesh import MeshError, SimplexMesh, edges

NEAR = 1e-3  # of the shortest edge at a node
ON = 1e-6  # of a facet's size
INSIDE = 1e-6  # smallest barycentric coordinate of a point inside a cell


def check_embedding(mesh: SimplexMesh) -> None:
    """Refuse meshes that do not cover their domain once.

    Raises:
        MeshError: two nodes nearly in one place, a node that hangs on a facet of the
            boundary, parts of the mesh that overlap.
    """
    _check_twins(mesh)
    _check_hanging(mesh)
    _check_overlaps(mesh)


def _check_twins(mesh: SimplexMesh) -> None:
    pairs = edges(mesh.cells)
    lengths = np.linalg.norm(
        mesh.points[pairs[:, 0]] - mesh.points[pairs[:, 1]], axis=1
    )
    shortest = np.full(len(mesh.points), np.inf)
    for side in pairs.T:
        np.minimum.at(shortest, side, lengths)
    distance, nearest = cKDTree(mesh.points).query(mesh.points, k=2)
    near = np.flatnonzero(distance[:, 1] < NEAR * shortest)
    if len(near):
        a = int(near[0])
        b = int(nearest[a, 1]) if nearest[a, 0] == a else int(nearest[a, 0])
        raise MeshError(
            f"nodes {a} and {b} are {distance[a, 1]:.1e} apart and not joined, where "
            f"edges are {shortest[a]:.1e} long: merge them, or move them apart"
        )


def _check_hanging(mesh: SimplexMesh) -> None:
    facet, node, reach = _foreign_nodes(mesh, mesh.facets)
    corner = mesh.points[mesh.facets[facet]]
    weights, gap = _place_in(corner, mesh.points[node])
    on = (gap < ON * reach) & (weights > -ON).all(axis=1)
    if on.any():
        k = int(np.argmax(on))
        nodes = ", ".join(map(str, mesh.facets[facet[k]]))
        raise MeshError(
            f"node {node[k]} hangs on the facet of nodes {nodes}: the cells on its two "
            "sides do not fit together; make the mesh conforming"
        )


def _check_overlaps(mesh: SimplexMesh) -> None:
    cell, node, _ = _foreign_nodes(mesh, mesh.cells)
    weights, _ = _place_in(mesh.points[mesh.cells[cell]], mesh.points[node])
    inside = (weights > INSIDE).all(axis=1)
    if inside.any():
        k = int(np.argmax(inside))
        raise MeshError(
            f"node {node[k]} of the boundary lies in cell {cell[k]}: parts of the mesh "
            "overlap; fragment them (gmsh: BooleanFragments)"
        )
    if mesh.dimension == 2:
        _check_crossings(mesh)


def _foreign_nodes(
    mesh: SimplexMesh, simplices: Indices
) -> tuple[Indices, Indices, Array]:
    """Nodes of the boundary near simplices that they are no corners of.

    Args:
        mesh: whose boundary is meant.
        simplices: (simplex, corner), facets or cells.

    Returns:
        Simplex and node of each pair, and the reach of the simplex: the distance of its
        farthest corner from its centre.
    """
    outer = np.unique(mesh.facets)
    corner = mesh.points[simplices]
    centre = corner.mean(axis=1)
    reach = np.linalg.norm(corner - centre[:, None], axis=2).max(axis=1)
    which, place = _candidates(mesh.points[outer], centre, reach)
    node = outer[place]
    foreign = (simplices[which] != node[:, None]).all(axis=1)
    which, node = which[foreign], node[foreign]
    return which, node, reach[which]


def _check_crossings(mesh: SimplexMesh) -> None:
    ends = mesh.points[mesh.facets]
    centre = ends.mean(axis=1)
    reach = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1) / 2
    one, other = _candidates(centre, centre, reach + reach.max())
    apart = (mesh.facets[one][:, :, None] != mesh.facets[other][:, None]).all((1, 2))
    keep = apart & (one < other)
    one, other = one[keep], other[keep]
    (a, b), (c, d) = ends[one].swapaxes(0, 1), ends[other].swapaxes(0, 1)
    crossing = _turn(a, b, c) * _turn(a, b, d) < 0
    crossing &= _turn(c, d, a) * _turn(c, d, b) < 0
    if crossing.any():
        k = int(np.argmax(crossing))
        two = (mesh.facets[one[k]], mesh.facets[other[k]])
        first, second = (", ".join(map(str, facet)) for facet in two)
        raise MeshError(
            f"the boundary facets of nodes {first} and {second} cross: parts of the "
            "mesh overlap; fragment them (gmsh: BooleanFragments)"
        )


def _turn(a: Array, b: Array, c: Array) -> Array:
    u, v = b - a, c - a
    turn: Array = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    return turn


def _candidates(points: Array, centres: Array, reach: Array) -> tuple[Indices, Indices]:
    """Pairs (number of a centre, number of a point within its reach)."""
    lists = cKDTree(points).query_ball_point(centres, reach * (1 + 1e-9))
    counts = np.array([len(some) for some in lists], dtype=np.int64)
    which = np.repeat(np.arange(len(centres)), counts)
    near = [np.asarray(some, dtype=np.int64) for some in lists if some]
    return which, np.concatenate(near) if near else np.zeros(0, dtype=np.int64)


def _place_in(
    corner: Array, points: Array
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Barycentric coordinates of points in simplices; distances from their planes."""
    sides = np.swapaxes(corner[:, 1:] - corner[:, :1], 1, 2)
    offset = (points - corner[:, 0])[:, :, None]
    weights = np.linalg.pinv(sides) @ offset
    gap = np.linalg.norm((sides @ weights - offset)[..., 0], axis=1)
    all_weights = np.concatenate([1 - weights.sum(axis=1), weights[..., 0]], axis=1)
    return all_weights, gap
