"""Curved quadratic triangles on [-1, 1]² less holes, which may overlap.

Points lie on the boundary at distance h, on rings around disks, on a polar net graded
towards re-entrant corners, and on a triangular lattice elsewhere; Delaunay connects
them. Edges along disks are parabolas through the circle.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay, cKDTree

from opkit.base.arrays import Array
from opkit.pde.problem import Disk, LinearProblem
from opkit.solvers.fem.simplex_mesh import MeshError

INNERMOST = 1e-4
RECOVERIES = 10
"""How often points are added on the boundary where triangles cut through it."""


@dataclass(frozen=True)
class PlanarMesh:
    """Six-node triangles.

    Args:
        points: (node, 2), corners and middles.
        cells: (cell, 6), three corners counter-clockwise, then the middles of the edges
            opposite to them.
        rim: (edge, 3), boundary edges with the domain to their left: ends, middle.
        triangulation: of the corners, and of what lies between them outside.
        cell_of: number of the cell of each simplex of the triangulation, -1 outside.
    """

    points: Array
    cells: NDArray[np.int64]
    rim: NDArray[np.int64]
    triangulation: Delaunay
    cell_of: NDArray[np.int64]

    def locate(self, points: Array) -> tuple[NDArray[np.int64], Array]:
        """Cells (point,) around points (point, 2) of the domain; coordinates there.

        The coordinates (point, 3) are barycentric. Only edges of the boundary are
        curved, so straight triangles tell the cell; a point that round-off puts
        outside of all belongs to the cell with the nearest middle of those around.
        """
        simplex = self.triangulation.find_simplex(points, tol=1e-12)
        cells = np.where(simplex >= 0, self.cell_of[simplex], -1)
        outside = np.flatnonzero(cells < 0)
        if len(outside):
            middles = self.points[self.cells[:, :3]].mean(1)
            near = cKDTree(middles).query(points[outside], k=min(24, len(middles)))[1]
            near = near.reshape(len(outside), -1)
            inner = np.stack(
                [self._coordinates(cell, points[outside]).min(1) for cell in near.T], 1
            )
            cells[outside] = near[np.arange(len(outside)), inner.argmax(1)]
        return cells, self._coordinates(cells, points)

    def _coordinates(self, cells: NDArray[np.int64], points: Array) -> Array:
        """Barycentric coordinates by Newton's method, from those of straight edges."""
        nodes = self.points[self.cells[cells]]
        a, b, c = nodes[:, 0], nodes[:, 1], nodes[:, 2]
        area = _cross(b - a, c - a)
        l1 = _cross(points - a, c - a) / area
        l2 = _cross(b - a, points - a) / area
        curved = nodes[:, 3:] - (nodes[:, [[1, 2], [2, 0], [0, 1]]]).mean(2)
        bulge = 4 * curved  # (point, 3, 2), of the products of two coordinates
        if np.abs(bulge).max(initial=0.0) > 1e-14:
            straight = np.stack([b - a, c - a], 2)
            for _ in range(12):
                l0 = 1 - l1 - l2
                at = a + l1[:, None] * (b - a) + l2[:, None] * (c - a)
                products = np.stack([l1 * l2, l2 * l0, l0 * l1], 1)
                off = points - at - (products[..., None] * bulge).sum(1)
                by_1 = np.stack([l2, -l2, l0 - l1], 1)
                by_2 = np.stack([l1, l0 - l2, -l1], 1)
                slope = straight + np.stack(
                    [(p[..., None] * bulge).sum(1) for p in (by_1, by_2)], 2
                )
                step = np.linalg.solve(slope, off[..., None])[..., 0]
                l1, l2 = l1 + step[:, 0], l2 + step[:, 1]
        return np.stack([1 - l1 - l2, l1, l2], 1)


def planar_mesh(problem: LinearProblem, h: float) -> PlanarMesh:
    """Mesh the domain of a problem.

    Args:
        problem: its holes may overlap, and reach beyond the sides.
        h: length of edges away from small disks and corners.

    Raises:
        MeshError: an edge of the mesh cuts through the boundary.
    """
    fixed, reach = _layers(problem, h)
    fixed = _exposed(problem, fixed)
    lattice = _lattice(h)
    near = _boundary_distance(problem, lattice) < 0.6 * h
    for centre, radius in reach:
        near |= np.hypot(*(lattice - centre).T) < radius
    lattice = lattice[~near & (hole_depth(problem, lattice) < 0)]
    points = np.concatenate([fixed, lattice])
    points = points[_distinct(points)]
    for _ in range(RECOVERIES):
        mesh, off = _triangulate(problem, points)
        if not len(off):
            return mesh
        points = np.concatenate([points, _exposed(problem, _feet(problem, off))])
        points = points[_distinct(points)]
    far = _boundary_distance(problem, off).max()
    raise MeshError(
        f"the mesh leaves the boundary by {far:.1e}: use holes that leave more room "
        "between them"
    )


def _triangulate(problem: LinearProblem, points: Array) -> tuple[PlanarMesh, Array]:
    """Connect points; also return middles of boundary edges that are off it."""
    triangulation = Delaunay(points)
    corners = triangulation.simplices.astype(np.int64)
    p = points[corners]
    area = _cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
    corners[area < 0] = corners[area < 0][:, [0, 2, 1]]
    shortest = np.min([np.hypot(*(p[:, i] - p[:, j]).T) for i, j in _EDGES], axis=0)
    inside = (hole_depth(problem, p.mean(1)) < 0) & (np.abs(area) > 1e-3 * shortest**2)
    corners = corners[inside]
    number = np.where(inside, np.cumsum(inside) - 1, -1)
    used, corners = np.unique(corners, return_inverse=True)
    shape = _quadratic(problem, points[used], corners.reshape(-1, 3))
    middles = shape[0][shape[2][:, 2]]
    off = middles[_boundary_distance(problem, middles) > 1e-7]
    return PlanarMesh(*shape, triangulation, number), off


_EDGES = ((1, 2), (2, 0), (0, 1))


def _layers(
    problem: LinearProblem, h: float
) -> tuple[Array, list[tuple[Array, float]]]:
    """Points on and next to the boundary, and disks where they replace the lattice."""
    n = int(np.ceil(2 / h))
    line = np.linspace(-1, 1, n + 1)
    one = np.ones_like(line)
    rows = [(line, -one), (line, one), (-one, line), (one, line)]
    parts = [np.stack(row, 1) for row in rows]
    edges: list[Array] = []
    reach: list[tuple[Array, float]] = []
    cuts = [_cuts(problem, number) for number in range(len(problem.holes))]
    for number, hole in enumerate(problem.holes):
        if isinstance(hole, Disk):
            count = max(int(np.ceil(2 * np.pi * hole.radius / h)), 32)
            step = 2 * np.pi * hole.radius / count
            angle = _angles(hole, count, cuts[number])
            for ring in range(3):
                turned = angle if ring != 1 else (angle + np.roll(angle, -1)) / 2
                turned[-1] += np.pi if ring == 1 else 0.0  # from the last to the first
                r = hole.radius + 0.87 * ring * step
                unit = np.stack([np.cos(turned), np.sin(turned)], 1)
                circle = np.array(hole.centre) + r * unit
                if ring:  # next to another boundary there is no room
                    circle = circle[_boundary_distance(problem, circle) > 0.6 * step]
                parts.append(circle)
            reach.append((np.array(hole.centre), hole.radius + 2.3 * step))
            on_sides = cuts[number][np.abs(cuts[number]).max(1) > 1 - 1e-9]
            parts[:4] = [_away(part, on_sides, 0.3 * h) for part in parts[:4]]
            continue
        vertices = np.array(hole.vertices, dtype=float)
        others = problem.model_copy(
            update={"holes": tuple(o for o in problem.holes if o is not hole)}
        )
        for k, corner in enumerate(vertices):
            ends = vertices[k - 1], vertices[(k + 1) % len(vertices)]
            clipped = _clip(corner, ends[1])
            if clipped is not None:
                leaves = [p for p in clipped if np.abs(p).max() > 1 - 1e-9]
                # No slivers next to where an edge leaves.
                parts[:4] = [
                    _away(part, np.array(leaves), 0.3 * h) for part in parts[:4]
                ]
                edges += _divide(*clipped, cuts[number], h)
            if np.abs(corner).max() < 1 - 1e-9:
                size = 0.4 * min(*(np.hypot(*(e - corner)) for e in ends), 0.6)
                if others.holes:
                    room = _boundary_distance(others, corner[None])[0]
                    size = min(size, 0.8 * room)
                if size > 10 * INNERMOST:
                    parts.append(_fan(corner, ends, size, h))
                    reach.append((corner, size + 0.5 * h))
    parts += edges
    fans = [(c, r) for c, r in reach if any(_starts(p, c) for p in parts)]
    for centre, radius in fans:  # the graded points stand in for the even ones
        parts = [
            p if _starts(p, centre) else p[np.hypot(*(p - centre).T) > radius - 0.1 * h]
            for p in parts
        ]
    return np.concatenate(parts), reach


def _away(points: Array, places: Array, distance: float) -> Array:
    """Points (point, 2) that are farther from every place than a distance."""
    for place in places:
        points = points[np.hypot(*(points - place).T) > distance]
    return points


def _divide(start: Array, end: Array, cuts: Array, h: float) -> list[Array]:
    """Even points on a segment, piece by piece between the cuts that lie on it."""
    along = end - start
    t = (cuts - start) @ along / (along @ along)
    on = np.hypot(*(start + t[:, None] * along - cuts).T) < 1e-9
    between = t[on & (t > 1e-9) & (t < 1 - 1e-9)]
    stops = np.unique(np.concatenate([[0.0], between, [1.0]]))
    pieces = []
    for low, high in pairwise(stops):
        count = int(np.ceil((high - low) * np.hypot(*along) / h))
        share = np.linspace(low, high, max(count, 2) + 1)[:, None]
        pieces.append(start + share * along)
    return pieces


def _angles(disk: Disk, count: int, cuts: Array) -> Array:
    """Angles around a disk, increasing, `count` of them or more; cuts among them."""
    if not len(cuts):
        return np.asarray(2 * np.pi * np.arange(count) / count)
    at = np.sort(np.arctan2(*(cuts - disk.centre).T[::-1]) % (2 * np.pi))
    at = at[np.diff(at, prepend=at[-1] - 2 * np.pi) > 1e-9]
    parts = []
    for low, high in zip(at, np.append(at[1:], at[0] + 2 * np.pi), strict=True):
        pieces = max(int(np.ceil((high - low) * count / (2 * np.pi))), 1)
        parts.append(low + (high - low) * np.arange(pieces) / pieces)
    return np.concatenate(parts)


def _cuts(problem: LinearProblem, number: int) -> Array:
    """Where the boundary of a hole meets other holes, and that of a disk the sides."""
    hole = problem.holes[number]
    square = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    crossings = []
    for other in (*problem.holes[:number], *problem.holes[number + 1 :], None):
        if isinstance(hole, Disk):
            if isinstance(other, Disk):
                crossings.append(_circles(hole, other))
                continue
            corners = square if other is None else np.array(other.vertices, float)
            crossings += [_circle_line(hole, a, b) for a, b in _segments(corners)]
        elif isinstance(other, Disk):
            corners = np.array(hole.vertices, float)
            crossings += [_circle_line(other, a, b) for a, b in _segments(corners)]
        elif other is not None:
            mine, theirs = (np.array(h.vertices, float) for h in (hole, other))
            crossings += [
                _lines(*one, *two)
                for one in _segments(mine)
                for two in _segments(theirs)
            ]
    points = np.concatenate([*crossings, np.empty((0, 2))])
    return points[np.abs(points).max(1) <= 1 + 1e-9]


def _segments(corners: Array) -> list[tuple[Array, Array]]:
    return list(zip(corners, np.roll(corners, -1, 0), strict=True))


def _circles(one: Disk, other: Disk) -> Array:
    """Points (0 or 2, 2) where two circles cross."""
    apart = np.array(other.centre) - one.centre
    distance = float(np.hypot(*apart))
    if not abs(one.radius - other.radius) < distance < one.radius + other.radius:
        return np.empty((0, 2))
    unit = apart / distance
    along = (distance**2 + one.radius**2 - other.radius**2) / (2 * distance)
    across = np.sqrt(max(one.radius**2 - along**2, 0.0)) * np.array([-unit[1], unit[0]])
    middle = np.array(one.centre) + along * unit
    return np.stack([middle + across, middle - across])


def _circle_line(disk: Disk, start: Array, end: Array) -> Array:
    """Points (0 to 2, 2) where a circle crosses a segment."""
    along, off = end - start, start - np.array(disk.centre)
    a, b, c = along @ along, along @ off, off @ off - disk.radius**2
    if b * b <= a * c:
        return np.empty((0, 2))
    t = (-b + np.array([-1, 1]) * np.sqrt(b * b - a * c)) / a
    t = t[(t >= 0) & (t <= 1)]
    return np.asarray(start + t[:, None] * along)


def _lines(start: Array, end: Array, other: Array, stop: Array) -> Array:
    """The point (0 or 1, 2) where two segments cross."""
    along, across = end - start, stop - other
    turn = float(_cross(along, across))
    if abs(turn) < 1e-12:
        return np.empty((0, 2))
    t = float(_cross(other - start, across)) / turn
    s = float(_cross(other - start, along)) / turn
    inside = 0 <= t <= 1 and 0 <= s <= 1
    return (start + t * along)[None] if inside else np.empty((0, 2))


def _clip(start: Array, end: Array) -> tuple[Array, Array] | None:
    """The part of a segment in the closed square."""
    along = end - start
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.stack([(-1 - start) / along, (1 - start) / along])
    moving = along != 0
    if np.any(np.abs(start[~moving]) > 1):
        return None
    low = max(0.0, *t.min(0)[moving])
    high = min(1.0, *t.max(0)[moving])
    if low >= high:
        return None
    return start + low * along, start + high * along


def _starts(points: Array, corner: Array) -> bool:
    """Whether points are the polar net of a corner."""
    if len(points) < 2:
        return False
    step = points[1] - points[0]
    return bool(np.array_equal(points[0], corner) and np.hypot(*step) < 10 * INNERMOST)


def _fan(corner: Array, ends: tuple[Array, Array], size: float, h: float) -> Array:
    """Polar net around a corner of a hole, over the angle outside the hole."""
    before, after = (np.arctan2(*(e - corner)[::-1]) for e in ends)
    inside = (before - after) % (2 * np.pi)
    turn = inside if inside < np.pi else 2 * np.pi - inside
    first = before if inside < np.pi else after
    opening = 2 * np.pi - turn
    step = min(0.2, h / size)
    angles = first + np.linspace(0, opening, int(np.ceil(opening / step)) + 1)
    radii = size * np.exp(-step * np.arange(int(-np.log(INNERMOST) / step) + 1))[::-1]
    net = radii[:, None, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    return np.concatenate([corner[None], corner + net.reshape(-1, 2)])


def _lattice(h: float) -> Array:
    rows = int(np.ceil(2 / (h * np.sqrt(0.75)))) + 1
    columns = int(np.ceil(2 / h)) + 2
    x, y = np.meshgrid(np.arange(columns) * h, np.arange(rows) * h * np.sqrt(0.75))
    x[1::2] -= h / 2
    points = np.stack([x.ravel(), y.ravel()], 1) - 1
    return points[np.abs(points).max(1) < 1]


def hole_depth(problem: LinearProblem, points: Array) -> Array:
    """Positive in holes and outside the square; negative in the domain."""
    depth = np.abs(points).max(1) - 1
    for hole in problem.holes:
        if isinstance(hole, Disk):
            level = hole.radius - np.hypot(*(points - hole.centre).T)
        else:
            v = np.array(hole.vertices)
            along = np.roll(v, -1, 0) - v
            along *= np.sign(_cross(along, np.roll(along, -1, 0)))[:, None]
            along /= np.hypot(*along.T)[:, None]
            level = np.min(
                [_cross(a, points - s) for a, s in zip(along, v, strict=True)], axis=0
            )
        depth = np.maximum(depth, level)
    return np.asarray(depth)


def _feet(problem: LinearProblem, points: Array) -> Array:
    """The nearest points of the boundary of the square or of any hole, (point, 2)."""
    corners = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    lines = _segments(corners)
    candidates = []
    for hole in problem.holes:
        if isinstance(hole, Disk):
            unit = points - hole.centre
            unit = unit / np.maximum(np.hypot(*unit.T), 1e-12)[:, None]
            candidates.append(np.array(hole.centre) + hole.radius * unit)
        else:
            lines += _segments(np.array(hole.vertices, float))
    for start, end in lines:
        along = end - start
        t = np.clip((points - start) @ along / (along @ along), 0, 1)
        candidates.append(start + t[:, None] * along)
    every = np.stack(candidates)
    nearest = np.linalg.norm(every - points, axis=2).argmin(0)
    return np.asarray(every[nearest, np.arange(len(points))])


def _boundary_distance(problem: LinearProblem, points: Array) -> Array:
    distance = 1 - np.abs(points).max(1)
    for hole in problem.holes:
        if isinstance(hole, Disk):
            near = np.abs(np.hypot(*(points - hole.centre).T) - hole.radius)
            distance = np.minimum(distance, near)
            continue
        v = np.array(hole.vertices)
        for start, along in zip(v, np.roll(v, -1, 0) - v, strict=True):
            t = np.clip((points - start) @ along / (along @ along), 0, 1)
            near = np.hypot(*(points - start - t[:, None] * along).T)
            distance = np.minimum(distance, near)
    return np.asarray(distance)


def _exposed(problem: LinearProblem, points: Array) -> Array:
    return points[hole_depth(problem, points) < 1e-9]


def _distinct(points: Array) -> NDArray[np.bool_]:
    keep = np.ones(len(points), dtype=bool)
    pairs = cKDTree(points).query_pairs(1e-9, output_type="ndarray")
    keep[pairs.max(1)] = False
    return keep


def _cross(a: Array, b: Array) -> Array:
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])


def _quadratic(
    problem: LinearProblem, points: Array, corners: NDArray[np.int64]
) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
    """Points, cells and boundary edges with middles; these lie on disks."""
    edges = corners[:, np.array(_EDGES)].reshape(-1, 2)
    pairs, first, index, count = np.unique(
        np.sort(edges, axis=1),
        axis=0,
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    middle = points[pairs].mean(1)
    rim = count == 1
    for hole in problem.holes:
        if isinstance(hole, Disk):
            from_centre = points[pairs] - hole.centre
            level = np.abs(np.hypot(from_centre[..., 0], from_centre[..., 1]))
            on = rim & (np.abs(level - hole.radius) < 1e-9).all(1)
            unit = middle[on] - hole.centre
            unit /= np.hypot(*unit.T)[:, None]
            middle[on] = np.array(hole.centre) + hole.radius * unit
    cells = np.column_stack([corners, len(points) + index.reshape(-1, 3)])
    boundary = np.column_stack([edges[first[rim]], len(points) + np.flatnonzero(rim)])
    return np.concatenate([points, middle]), cells, boundary
