"""The square [-1, 1]² less holes: convex polygons and disks, a batch at a time.

The boundary is a table of pieces: four sides, `holes` x `vertices` segments, `holes`
circles. A geometry that has fewer marks the rest as absent. Polygons run
counter-clockwise, so that the interior of a hole lies to the left of its segments.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

VERTICES = 5
_FAR = 1e6
TOUCH = 1e-5  # points this close to a hole's boundary count as on it
_EXACT = "donot_use_mm_for_euclid_dist"


@dataclass(frozen=True)
class Geometry:
    """Boundary pieces of a batch of domains, sides in the order left right bottom top.

    Args:
        start: (batch, piece, 2), first end of a segment, or the centre of a circle.
        end: (batch, piece, 2), second end of a segment.
        radius: (batch, piece), 0 for segments.
        present: (batch, piece), whether the piece exists.
        dirichlet: (batch, piece), whether u is given on it.
        neumann: (batch, piece), whether ∇u · n is given on it.
        holes: number of places for holes.
    """

    start: Tensor
    end: Tensor
    radius: Tensor
    present: Tensor
    dirichlet: Tensor
    neumann: Tensor
    holes: int

    @property
    def vertices(self) -> int:
        """Number of segments of each place for a hole."""
        return (self.start.shape[1] - 4) // self.holes - 1 if self.holes else 0

    def select(self, rows: Tensor | slice) -> Geometry:
        """Return the geometries of these rows."""
        chosen = {
            f.name: getattr(self, f.name)[rows]
            for f in fields(self)
            if f.name != "holes"
        }
        return Geometry(**chosen, holes=self.holes)

    def hole_of_piece(self) -> Tensor:
        """Index of the hole each piece belongs to, -1 for the sides."""
        index = torch.arange(self.holes, device=self.start.device)
        sides = index.new_full((4,), -1)
        return torch.cat([sides, index.repeat_interleave(self.vertices), index])

    def depth(self, points: Tensor) -> Tensor:
        """How deep points lie in each hole: positive inside, 0 on its boundary.

        Args:
            points: (batch, point, 2).

        Returns:
            (batch, point, hole), the distance to the nearest edge line or circle.
        """
        split = 4 + self.holes * self.vertices
        start, end = self.start[:, 4:split], self.end[:, 4:split]
        along = end - start
        length = along.norm(dim=-1).clamp_min(1e-12)
        normal = torch.stack([-along[..., 1], along[..., 0]], -1) / length[..., None]
        level = torch.einsum("bnk,bpk->bnp", points, normal)
        level = level - (start * normal).sum(-1)[:, None]
        level = level.masked_fill(~self.present[:, None, 4:split], _FAR)
        level = level.unflatten(-1, (self.holes, self.vertices)).amin(-1)
        level = level.masked_fill(level >= _FAR, -_FAR)
        apart = torch.cdist(points, self.start[:, split:], compute_mode=_EXACT)
        disk = self.radius[:, None, split:] - apart
        disk = disk.masked_fill(~self.present[:, None, split:], -_FAR)
        return torch.maximum(level, disk)

    def inside(self, points: Tensor) -> Tensor:
        """Whether points (batch, point, 2) of the square are in no hole's interior."""
        if self.holes == 0:
            return points.new_ones(points.shape[:2], dtype=torch.bool)
        return (self.depth(points) <= TOUCH).all(-1)

    def nearest(
        self, points: Tensor, allowed: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Nearest boundary point among allowed pieces, and the outward normal there.

        Args:
            points: (batch, point, 2).
            allowed: (batch, piece).

        Returns:
            distance (batch, point), foot (batch, point, 2), normal (batch, point, 2),
            and the number of the piece (batch, point).
        """
        split = 4 + self.holes * self.vertices
        start, along = self.start[:, :split], (self.end - self.start)[:, :split]
        squared = along.square().sum(-1).clamp_min(1e-12)
        # |x - s - t a|² without an array (batch, point, piece, 2).
        cross = torch.einsum("bnk,bpk->bnp", points, along)
        t = (cross - (start * along).sum(-1)[:, None]) / squared[:, None]
        t = t.clamp(0, 1)
        dx = points[..., :1] - start[:, None, :, 0] - t * along[:, None, :, 0]
        dy = points[..., 1:] - start[:, None, :, 1] - t * along[:, None, :, 1]
        distance = dx.square().add_(dy.square()).sqrt_()
        if self.holes:
            apart = torch.cdist(points, self.start[:, split:], compute_mode=_EXACT)
            circles = (apart - self.radius[:, None, split:]).abs()
            distance = torch.cat([distance, circles], -1)
        distance = distance.masked_fill(~(allowed & self.present)[:, None], _FAR)
        best, piece = distance.min(-1)
        return best, *self._foot(points, piece), piece

    def _foot(self, points: Tensor, piece: Tensor) -> tuple[Tensor, Tensor]:
        start, end, radius = (
            _pick(value, piece) for value in (self.start, self.end, self.radius)
        )
        along = end - start
        squared = along.square().sum(-1, keepdim=True).clamp_min(1e-12)
        t = ((points - start) * along).sum(-1, keepdim=True) / squared
        foot = start + t.clamp(0, 1) * along
        from_centre = points - start
        unit = from_centre / from_centre.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        round_ = (radius > 0)[..., None]
        foot = torch.where(round_, start + radius[..., None] * unit, foot)
        return foot, torch.where(round_, -unit, _normal(along))

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw boundary points uniformly by length.

        Returns:
            points (batch, count, 2), outward normals (batch, count, 2), numbers of the
            pieces (batch, count), and whether u and ∇u · n are given there, both
            (batch, count). Points that lie in another hole or outside the square
            carry no condition.
        """
        length = (self.end - self.start).norm(dim=-1)
        length = torch.where(self.radius > 0, 2 * torch.pi * self.radius, length)
        length = length * (self.present & (self.dirichlet | self.neumann))
        piece = torch.multinomial(length, count, replacement=True, generator=generator)
        t = torch.rand(
            piece.shape, generator=generator, device=length.device, dtype=length.dtype
        )
        start, end, radius = (
            _pick(value, piece) for value in (self.start, self.end, self.radius)
        )
        angle = 2 * torch.pi * t
        unit = torch.stack([angle.cos(), angle.sin()], -1)
        round_ = (radius > 0)[..., None]
        points = torch.where(
            round_,
            start + radius[..., None] * unit,
            start + t[..., None] * (end - start),
        )
        normals = torch.where(round_, -unit, _normal(end - start))
        open_ = self.exposed(points)
        return (
            points,
            normals,
            piece,
            self.dirichlet.gather(1, piece) & open_,
            self.neumann.gather(1, piece) & open_,
        )

    def exposed(self, points: Tensor) -> Tensor:
        """Whether boundary points lie in the closed square and in no hole."""
        shown: Tensor = points.abs().amax(-1) <= 1 + TOUCH
        return shown & self.inside(points)


def _pick(value: Tensor, piece: Tensor) -> Tensor:
    rows = torch.arange(len(piece), device=piece.device)[:, None]
    picked: Tensor = value[rows, piece]
    return picked


def _normal(along: Tensor) -> Tensor:
    """Left of the direction of travel: into the hole, out of the domain."""
    length = along.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    normal: Tensor = torch.stack([-along[..., 1], along[..., 0]], -1) / length
    return normal


def square(batch: int, holes: int, like: Tensor, vertices: int = VERTICES) -> Geometry:
    """Geometry of the whole square with room for holes, and no conditions yet.

    Sides run clockwise, so that the outside lies to their left.
    """
    pieces = 4 + holes * (vertices + 1)
    corners = torch.tensor(
        # left, right, bottom, top
        [
            [[-1, -1], [-1, 1]],
            [[1, 1], [1, -1]],
            [[1, -1], [-1, -1]],
            [[-1, 1], [1, 1]],
        ],
        dtype=like.dtype,
        device=like.device,
    )
    start = like.new_zeros(batch, pieces, 2)
    end = like.new_zeros(batch, pieces, 2)
    start[:, :4], end[:, :4] = corners[:, 0], corners[:, 1]
    present = torch.zeros(batch, pieces, dtype=torch.bool, device=like.device)
    present[:, :4] = True
    return Geometry(
        start,
        end,
        like.new_zeros(batch, pieces),
        present,
        torch.zeros_like(present),
        torch.zeros_like(present),
        holes,
    )


def put_polygon(geometry: Geometry, row: int, hole: int, vertices: Tensor) -> None:
    """Make hole number `hole` of a row the convex polygon (vertex, 2), in place."""
    x, y = vertices[:, 0], vertices[:, 1]
    area = (x * y.roll(-1) - x.roll(-1) * y).sum()
    vertices = vertices if area > 0 else vertices.flip(0)
    first = 4 + hole * geometry.vertices
    here = slice(first, first + len(vertices))
    geometry.start[row, here] = vertices
    geometry.end[row, here] = vertices.roll(-1, 0)
    geometry.present[row, here] = True


def put_disk(geometry: Geometry, row: int, hole: int, centre: Tensor, r: float) -> None:
    """Make hole number `hole` of a row a disk, in place."""
    piece = 4 + geometry.holes * geometry.vertices + hole
    geometry.start[row, piece] = geometry.end[row, piece] = centre
    geometry.radius[row, piece] = r
    geometry.present[row, piece] = True
