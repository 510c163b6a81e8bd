"""Triangles of a rectangle with round holes, finer around the holes.

    h(x) = min(h₀, min_k (h_k + g dist(x, hole k))),   h_k = 2π r_k / m

Nodes on the sides and circles lie at equal steps of ∫ ds / h. Those inside start from a
lattice that is thinned by 1 / h², and move as bars of a truss that push each other
apart to the length h, those of the boundary held (Persson, Strang, A simple mesh
generator in MATLAB, SIAM Review 46, 2004, doi:10.1137/S0036144503429121). Sums and
random numbers have a fixed order: equal holes give equal meshes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from opkit.base.arrays import Array, Indices
from opkit.errors import SolverError
from opkit.solvers.fem.simplex_mesh import MeshError, SimplexMesh, build

GROWTH = 0.25
"""g, growth of the size of triangles with the distance from a hole."""
ROUNDS = 40
"""Moves of the nodes inside."""
STEP = 0.2
"""Part of the truss's forces that a move follows."""
PRESSURE = 1.2
"""Length of a bar at rest, of h: all bars push."""
LEAST_ANGLE = 12.0
"""Degrees; meshes with smaller angles are made again."""
TRIES = 5


@dataclass(frozen=True)
class Plate:
    """A rectangle (0, length) x (0, height) less discs.

    Args:
        length: along x.
        height: along y.
        centres: (hole, 2).
        radii: (hole,).
        size: h₀, of triangles far from holes.
        around: m, fewest edges around a hole.
    """

    length: float
    height: float
    centres: Array
    radii: Array
    size: float
    around: int

    def sizes(self, points: Array) -> Array:
        """Wanted length of edges (point,) at points (point, 2)."""
        h = np.full(len(points), self.size)
        for centre, r in zip(self.centres, self.radii, strict=True):
            own = min(self.size, 2 * np.pi * r / self.around)
            distance = np.hypot(*(points - centre).T) - r
            h = np.minimum(h, own + GROWTH * np.maximum(distance, 0.0))
        return h

    def depth(self, points: Array) -> Array:
        """Distance (point,) from the boundary, negative outside the plate."""
        x, y = points.T
        depth = np.minimum.reduce([x, self.length - x, y, self.height - y])
        for centre, r in zip(self.centres, self.radii, strict=True):
            depth = np.minimum(depth, np.hypot(*(points - centre).T) - r)
        return np.asarray(depth)


def mesh_plate(plate: Plate) -> SimplexMesh:
    """Return a mesh whose parts are ``left``, ``right``, ``holes`` and ``edges``.

    Raises:
        SolverError: no sound mesh came out; the holes lie too close for its size.
    """
    for attempt in range(TRIES):
        mesh = _attempt(plate, attempt)
        if mesh is not None:
            return mesh
    raise SolverError(
        f"no sound mesh of {len(plate.radii)} holes with triangles of size "
        f"{plate.size:g}: choose a finer resolution, or a larger gap between holes"
    )


def _attempt(plate: Plate, attempt: int) -> SimplexMesh | None:
    curves = _boundary(plate)
    fixed = np.concatenate([points for points, _ in curves])
    inside = _inside(plate, np.random.default_rng([plate.around, attempt]))
    points = np.concatenate([fixed, inside])
    count = len(fixed)
    for turn in range(ROUNDS):
        if turn % 4 == 0:
            bars = _bars(plate, points)
        ends = points[bars[:, 0]] - points[bars[:, 1]]
        length = np.hypot(*ends.T)
        wanted = plate.sizes(points[bars].mean(axis=1))
        wanted *= PRESSURE * np.sqrt((length**2).sum() / (wanted**2).sum())
        push = (np.maximum(wanted - length, 0.0) / length)[:, None] * ends
        force = np.zeros_like(points)
        for axis in range(2):
            for column, sign in ((0, 1.0), (1, -1.0)):
                force[:, axis] += np.bincount(
                    bars[:, column], sign * push[:, axis], len(points)
                )
        moved = points[count:] + STEP * force[count:]
        near = plate.depth(moved) < 0.3 * plate.sizes(moved)
        moved[near] = points[count:][near]
        points = np.concatenate([fixed, moved])
    cells = _cells(plate, points)
    if _least_angle(points, cells) < LEAST_ANGLE:
        return None
    used = np.unique(cells)
    if len(used) < len(points):
        return None
    return _with_parts(plate, points, cells, curves)


def _boundary(plate: Plate) -> list[tuple[Array, str]]:
    """Nodes of each curve, corners once, and the part that its edges belong to."""
    corners = np.array(
        [
            (0, 0),
            (plate.length, 0),
            (plate.length, plate.height),
            (0, plate.height),
            (0, 0),
        ],
        float,
    )
    curves = []
    names = ("edges", "right", "edges", "left")
    for start, end, name in zip(corners, corners[1:], names, strict=False):
        t = _steps(plate, start, end)
        curves.append((start + (end - start) * t[:-1, None], name))
    for centre, r in zip(plate.centres, plate.radii, strict=True):
        n = max(plate.around, int(np.ceil(2 * np.pi * r / plate.size)))
        turn = 2 * np.pi * np.arange(n) / n
        ring = centre + r * np.stack([np.cos(turn), np.sin(turn)], 1)
        curves.append((ring, "holes"))
    return curves


def _steps(plate: Plate, start: Array, end: Array) -> Array:
    """Parts of a side, 0 to 1, at equal steps of ∫ ds / h."""
    t = np.linspace(0, 1, 2001)
    points = start + (end - start) * t[:, None]
    ds = np.hypot(*np.diff(points, axis=0).T)
    middle = (points[1:] + points[:-1]) / 2
    total = np.concatenate([[0.0], np.cumsum(ds / plate.sizes(middle))])
    n = max(1, round(total[-1]))
    steps: Array = np.interp(np.linspace(0, total[-1], n + 1), total, t)
    return steps


def _inside(plate: Plate, rng: np.random.Generator) -> Array:
    """First places of the nodes inside: a lattice, thinned by the wanted size."""
    own = [2 * np.pi * r / plate.around for r in plate.radii]
    finest = min([plate.size, *own])
    x = np.arange(finest / 2, plate.length, finest)
    y = np.arange(finest / 2, plate.height, finest * np.sqrt(3) / 2)
    grid = np.stack(np.meshgrid(x, y), -1)
    grid[1::2, :, 0] += finest / 2
    points = grid.reshape(-1, 2)
    points = points[plate.depth(points) > 0.6 * plate.sizes(points)]
    share = (finest / plate.sizes(points)) ** 2
    return np.asarray(points[rng.random(len(points)) < share])


def _cells(plate: Plate, points: Array) -> Indices:
    """Triangles of the plate: Delaunay's, less those in holes and flat ones."""
    cells: Indices = Delaunay(points).simplices.astype(np.int64)
    corner = points[cells]
    u, v = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    centre = corner.mean(axis=1)
    within = np.abs(area) > 1e-9 * plate.size**2
    for middle, r in zip(plate.centres, plate.radii, strict=True):
        # all three nodes on a circle: a triangle of its polygon
        off = np.abs(np.hypot(*(corner - middle).transpose(2, 0, 1)) - r)
        within &= ~(off < 1e-9 * r).all(axis=1)
        within &= np.hypot(*(centre - middle).T) > 0.9 * r
    return np.asarray(cells[within])


def _bars(plate: Plate, points: Array) -> Indices:
    cells = _cells(plate, points)
    pairs = np.sort(cells[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    bars: Indices = np.unique(pairs, axis=0)
    return bars


def _least_angle(points: Array, cells: Indices) -> float:
    """Smallest angle in degrees."""
    corner = points[cells]
    least = 180.0
    for k in range(3):
        u = corner[:, (k + 1) % 3] - corner[:, k]
        v = corner[:, (k + 2) % 3] - corner[:, k]
        cosine = (u * v).sum(1) / np.hypot(*u.T) / np.hypot(*v.T)
        least = min(least, float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).min()))
    return least


def _with_parts(
    plate: Plate, points: Array, cells: Indices, curves: list[tuple[Array, str]]
) -> SimplexMesh | None:
    """Name the edges of the boundary; None where one of them is no side of a cell."""
    lengths = [len(nodes) for nodes, _ in curves]
    starts = np.cumsum([0, *lengths])
    outer = starts[4]
    tagged: dict[str, list[NDArray[np.int64]]] = {}
    for k, (nodes, name) in enumerate(curves):
        number = starts[k] + np.arange(len(nodes) + 1)
        number[-1] = starts[k] if k >= 4 else starts[k + 1] % outer
        tagged.setdefault(name, []).append(np.stack([number[:-1], number[1:]], 1))
    parts = {name: np.concatenate(edges) for name, edges in tagged.items()}
    wanted = sum(len(edges) for edges in parts.values())
    try:
        mesh = build(points, cells, tagged=parts)
    except MeshError:
        return None
    return mesh if len(mesh.facets) == wanted else None
