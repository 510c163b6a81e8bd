"""Random holes in the square."""

from __future__ import annotations

import torch
from torch import Tensor

from opkit.pde.classes import ELLIPTIC
from opkit.pde.geometry import VERTICES, Geometry, square
from opkit.solvers.manufactured.draws import Draw


def draw_holes(kinds: Tensor, most: int, draw: Draw, corners: float = 0.0) -> Geometry:
    """Draw 0 to `most` disjoint holes for elliptic problems, none for others.

    Triangle, rectangle, disk or pentagon, inscribed in a circle of radius 0.1 to 0.5
    that keeps 0.05 away from the sides and from other holes. With probability `corners`
    the first one is a rectangle at a corner of the square, which makes an L.
    """
    batch = len(kinds)
    geometry = square(batch, most, draw.like)
    if most == 0:
        return geometry
    r = 0.1 + 0.4 * draw.uniform(batch, most)
    centre = (0.95 - r)[..., None] * draw.symmetric(batch, most, 2)
    count = draw.uniform(batch, 1) * (most + 1)
    keep = torch.arange(most, device=kinds.device) < count.floor()
    cut = torch.zeros(batch, dtype=torch.bool, device=kinds.device)
    sides = torch.ones(batch, 2, dtype=r.dtype, device=r.device)
    if corners:
        cut = draw.uniform(batch) < corners
        sides = 0.4 + 0.9 * draw.uniform(batch, 2)
        corner = (1 - 2 * draw.integers(0, 2, batch, 2)) * (1 - sides / 2)
        keep[:, 0] |= cut
        r[:, 0] = torch.where(cut, sides.norm(dim=1) / 2, r[:, 0])
        centre[:, 0] = torch.where(cut[:, None], corner, centre[:, 0])
    keep &= (kinds == ELLIPTIC)[:, None]
    apart = torch.cdist(centre, centre) > r[:, None] + r[..., None] + 0.05
    for hole in range(1, most):  # a hole gives way to those before it
        keep[:, hole] &= (apart[:, hole, :hole] | ~keep[:, :hole]).all(1)
    shape = (draw.uniform(batch, most) * 4).long()
    shape[:, 0] = torch.where(cut, 1, shape[:, 0])
    vertices = torch.tensor([3, 4, VERTICES, 0], device=kinds.device)[shape]
    place = torch.arange(VERTICES, device=kinds.device)
    jitter = 0.6 * (draw.uniform(batch, most, VERTICES) - 0.5)
    angle = 2 * torch.pi * (place + jitter) / vertices.clamp_min(1)[..., None]
    half = torch.pi * (0.12 + 0.26 * draw.uniform(batch, most, 1))
    flat = torch.atan2(sides[:, 1], sides[:, 0])
    half[:, 0, 0] = torch.where(cut, flat, half[:, 0, 0])
    pi = torch.pi
    box = torch.cat([half, pi - half, pi + half, 2 * pi - half, half], -1)
    angle = torch.where((shape == 1)[..., None], box, angle)
    turn = 2 * torch.pi * draw.uniform(batch, most, 1)
    angle = angle + torch.where((shape == 1)[..., None], 0.0, turn)
    corner = centre[..., None, :] + r[..., None, None] * torch.stack(
        [angle.cos(), angle.sin()], -1
    )
    following = (place + 1) % vertices.clamp_min(1)[..., None]
    after = corner.gather(2, following[..., None].expand(-1, -1, -1, 2))
    there = keep[..., None] & (place < vertices[..., None])
    split = 4 + most * VERTICES
    geometry.start[:, 4:split] = corner.flatten(1, 2)
    geometry.end[:, 4:split] = after.flatten(1, 2)
    geometry.present[:, 4:split] = there.flatten(1, 2)
    round_ = keep & (shape == 3)
    geometry.start[:, split:] = geometry.end[:, split:] = centre
    geometry.radius[:, split:] = torch.where(round_, r, 0.0)
    geometry.present[:, split:] = round_
    return geometry
