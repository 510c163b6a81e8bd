"""Meshes of triangles or tetrahedra as arrays, checked on construction."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from opkit.base.arrays import Array, Indices
from opkit.errors import OpkitInputError


class MeshError(OpkitInputError):
    """A mesh cannot carry finite elements; the message names the cell or edge."""


@dataclass(frozen=True)
class SimplexMesh:
    """Points, cells, subdomains and named parts of the boundary.

    Args:
        points: (node, d), d = 2 or 3.
        cells: (cell, d + 1), positively oriented indices into points.
        subdomains: (cell,), a number for each cell.
        facets: (facet, d), the whole boundary, edges or triangles.
        parts: (facet,), index into names.
        names: names of the parts of the boundary.

    Raises:
        MeshError: see `check`.
    """

    points: Array
    cells: Indices
    subdomains: Indices
    facets: Indices
    parts: Indices
    names: tuple[str, ...] = field(default=("boundary",))

    @property
    def dimension(self) -> int:
        """Number of space dimensions."""
        return int(self.points.shape[1])

    @property
    def size(self) -> float:
        """Longest extent along an axis."""
        return float(np.ptp(self.points, axis=0).max())

    def centroids(self) -> Array:
        """Centres of the cells (cell, d)."""
        centres: Array = self.points[self.cells].mean(axis=1)
        return centres

    def volumes(self) -> Array:
        """Areas or volumes of the cells (cell,)."""
        return signed_volumes(self.points, self.cells)

    def part_sizes(self) -> dict[str, float]:
        """Length, or area in space, of each named part of the boundary."""
        corner = self.points[self.facets]
        sides = corner[:, 1:] - corner[:, :1]
        gram = np.einsum("fik,fjk->fij", sides, sides)
        sizes = np.sqrt(np.maximum(np.linalg.det(gram), 0.0)) / (self.dimension - 1)
        sums = np.bincount(self.parts, sizes, len(self.names))
        return dict(zip(self.names, sums.tolist(), strict=True))


def signed_volumes(points: Array, cells: Indices) -> Array:
    """Area or volume of each cell, negative where its nodes run the wrong way."""
    corner = points[cells]
    edges = corner[:, 1:] - corner[:, :1]
    factor = 2 if points.shape[1] == 2 else 6
    volumes: Array = np.linalg.det(edges) / factor
    return volumes


def build(
    points: Array,
    cells: Indices,
    subdomains: Indices | None = None,
    tagged: dict[str, Indices] | None = None,
    rest: str = "boundary",
) -> SimplexMesh:
    """Check a mesh and find its boundary.

    Args:
        points: (node, d).
        cells: (cell, d + 1).
        subdomains: (cell,); zeros where left out.
        tagged: name to facets (facet, d) on that part of the boundary.
        rest: name of what remains of the boundary.

    Raises:
        MeshError: see `check` and `_parts`.
    """
    points = np.ascontiguousarray(points, dtype=np.float64)
    cells = np.array(cells, dtype=np.int64)
    check_cells(points, cells)
    clockwise = signed_volumes(points, cells) < 0
    cells[clockwise, :2] = cells[clockwise, 1::-1]
    facets = boundary_facets(cells)
    parts, names = _parts(cells, facets, tagged or {}, rest)
    if subdomains is None:
        subdomains = np.zeros(len(cells), dtype=np.int64)
    return SimplexMesh(points, cells, subdomains, facets, parts, names)


def _parts(
    cells: Indices, facets: Indices, tagged: dict[str, Indices], rest: str
) -> tuple[Indices, tuple[str, ...]]:
    """Number of the part of each boundary facet, and the parts' names in order.

    Raises:
        MeshError: a part without a facet, with one that is not on the boundary, or
            with one that is in another part as well; a part called as the rest is.
    """
    place = {tuple(facet): k for k, facet in enumerate(facets.tolist())}
    parts = np.full(len(facets), -1)
    names = sorted(tagged)
    for number, name in enumerate(names):
        members = [tuple(facet) for facet in np.sort(tagged[name], axis=1).tolist()]
        if not members:
            raise MeshError(f"part {name!r} has no facet: remove its name")
        places = [place[facet] for facet in members if facet in place]
        if len(places) < len(members):
            sides = {tuple(facet) for facet in _all_facets(cells).tolist()}
            inside = sum(facet in sides and facet not in place for facet in members)
            off = len(members) - len(places) - inside
            raise MeshError(
                f"part {name!r}: of {len(members)} facets {inside} lie inside the "
                f"domain and {off} are no sides of cells; conditions act on the "
                "boundary only: take them out of the part, or cut the mesh there"
            )
        elsewhere = parts[places] >= 0
        if elsewhere.any():
            k = places[int(np.argmax(elsewhere))]
            raise MeshError(
                f"the facet of nodes {', '.join(map(str, facets[k]))} is in the parts "
                f"{names[parts[k]]!r} and {name!r}: put it into one"
            )
        parts[places] = number
    if (parts < 0).any():
        if rest in names:
            raise MeshError(
                f"{int((parts < 0).sum())} of {len(parts)} facets of the boundary are "
                f"in no part, which is called {rest!r}, as another part is: put them "
                "into parts, or rename that one"
            )
        parts[parts < 0] = len(names)
        names.append(rest)
    return parts, tuple(names)


def check_cells(points: Array, cells: Indices) -> None:
    """Refuse what finite elements cannot be built on.

    Raises:
        MeshError: no cells, numbers that are not finite, an index out of range, an
            orphan node, two nodes in one place, a zero-area or inverted cell, cells
            that overlap, or a facet shared by more than two cells.
    """
    dimension = points.shape[1] if points.ndim == 2 else 0
    if dimension not in (2, 3) or cells.ndim != 2 or cells.shape[1] != dimension + 1:
        raise MeshError(
            f"points {points.shape} and cells {cells.shape} are no mesh of triangles "
            "in the plane or tetrahedra in space"
        )
    if not len(cells):
        raise MeshError("the mesh has no cells")
    if not np.isfinite(points).all():
        node = int(np.argwhere(~np.isfinite(points))[0, 0])
        raise MeshError(f"node {node} has a coordinate that is NaN or infinite")
    wrong = (cells < 0) | (cells >= len(points))
    if wrong.any():
        cell = int(np.argwhere(wrong)[0, 0])
        raise MeshError(
            f"cell {cell} names node {int(cells[wrong][0])}; there are {len(points)}"
        )
    used = np.zeros(len(points), dtype=bool)
    used[cells] = True
    if not used.all():
        raise MeshError(f"node {int(np.argmin(used))} belongs to no cell: remove it")
    size = float(np.ptp(points, axis=0).max())
    _, first, count = np.unique(
        np.round(points / (1e-12 * size)), axis=0, return_index=True, return_counts=True
    )
    if (count > 1).any():
        node = int(first[count > 1][0])
        raise MeshError(f"node {node} has a twin in the same place: merge them")
    volumes = signed_volumes(points, cells)
    flat = np.abs(volumes) <= 1e-14 * size**dimension
    if flat.any():
        raise MeshError(f"cell {int(np.argmax(flat))} has no area: remove it")
    odd = volumes < 0 if (volumes < 0).sum() <= len(cells) / 2 else volumes > 0
    if odd.any() and odd.mean() <= 0.1:
        # Some files keep no orientation at all; where nine of ten cells agree, the
        # others are faults.
        raise MeshError(f"cell {int(np.argmax(odd))} is inverted: its nodes run wrong")
    _check_facets(points, cells)


def _check_facets(points: Array, cells: Indices) -> None:
    """Refuse facets of more than two cells, and neighbours that overlap."""
    facets, which, count = np.unique(
        _all_facets(cells), axis=0, return_inverse=True, return_counts=True
    )
    if (count > 2).any():
        nodes = ", ".join(str(n) for n in facets[count > 2][0])
        raise MeshError(f"the facet of nodes {nodes} belongs to more than two cells")
    # Cells on the two sides of a facet have their opposite corners on either side.
    opposite = cells.T.ravel()
    side = signed_volumes(points, np.column_stack([facets[which], opposite])) > 0
    order = np.argsort(which, kind="stable")
    pairs = order[np.isin(which[order], np.flatnonzero(count == 2))].reshape(-1, 2)
    folded = side[pairs[:, 0]] == side[pairs[:, 1]]
    if folded.any():
        one, other = pairs[np.argmax(folded)] % len(cells)
        raise MeshError(f"cells {one} and {other} overlap: one of them is inverted")


def boundary_facets(cells: Indices) -> Indices:
    """Facets that belong to one cell only, (facet, d), nodes in increasing order."""
    facets, count = np.unique(_all_facets(cells), axis=0, return_counts=True)
    once: Indices = facets[count == 1]
    return once


def components(cells: Indices, nodes: int) -> Indices:
    """Number of the connected component of each node."""
    pairs = np.concatenate(
        [cells[:, [i, j]] for i, j in combinations(range(cells.shape[1]), 2)]
    )
    graph = sparse.coo_array((np.ones(len(pairs)), pairs.T), shape=(nodes, nodes))
    labels: Indices = connected_components(graph, directed=False)[1]
    return labels


def edges(cells: Indices) -> Indices:
    """All edges (edge, 2), lower node first, in lexicographic order."""
    pairs = [cells[:, [i, j]] for i, j in combinations(range(cells.shape[1]), 2)]
    corners: Indices = np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0)
    return corners


def refine(mesh: SimplexMesh) -> SimplexMesh:
    """Split every triangle into four at its edge midpoints; old nodes stay first."""
    if mesh.dimension != 2:
        raise MeshError("only triangles can be refined")
    pairs = edges(mesh.cells)
    number = sparse.coo_array(
        (np.arange(len(pairs)) + len(mesh.points), pairs.T),
        shape=(len(mesh.points),) * 2,
    ).tocsr()

    def middle(a: Indices, b: Indices) -> Indices:
        nodes: Indices = np.asarray(number[np.minimum(a, b), np.maximum(a, b)])
        return nodes.astype(np.int64)

    a, b, c = mesh.cells.T
    ab, bc, ca = middle(a, b), middle(b, c), middle(c, a)
    quarters = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    p, q = mesh.facets.T
    pq = middle(p, q)
    return SimplexMesh(
        points=np.concatenate([mesh.points, mesh.points[pairs].mean(axis=1)]),
        cells=np.concatenate([np.stack(cell, axis=1) for cell in quarters]),
        subdomains=np.tile(mesh.subdomains, 4),
        facets=np.concatenate([np.stack([p, pq], 1), np.stack([q, pq], 1)]),
        parts=np.tile(mesh.parts, 2),
        names=mesh.names,
    )


def _all_facets(cells: Indices) -> Indices:
    corners = range(cells.shape[1])
    facets = [np.delete(cells, corner, axis=1) for corner in corners]
    return np.sort(np.concatenate(facets), axis=1)
