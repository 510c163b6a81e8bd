"""From a geometry and functions on it to the fields a hypernetwork reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from opkit.pde.batch import Problems
from opkit.pde.geometry import TOUCH, Geometry
from opkit.pde.jets import apply_operator

BAND = 0.0223


@dataclass(frozen=True)
class Functions:
    """The data of a batch of problems as functions of points (batch, point, 2).

    Args:
        source: points to f (batch, point).
        boundary: points, outward normals and piece numbers (batch, point) to g and h,
            each (batch, point).
        solution: points to jets (5, batch, point), or None where it is not known.
    """

    source: Callable[[Tensor], Tensor]
    boundary: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    solution: Callable[[Tensor], Tensor] | None = None


def pixels(resolution: tuple[int, int], like: Tensor) -> Tensor:
    """Grid points (y · x, 2) of the square, y and x increasing, boundary included."""
    y, x = (torch.linspace(-1, 1, n, device=like.device) for n in resolution)
    mesh = torch.meshgrid(y.to(like.dtype), x.to(like.dtype), indexing="ij")
    return torch.stack([mesh[1].flatten(), mesh[0].flatten()], -1)


def band_width(resolution: tuple[int, int]) -> float:
    """Half the width of boundary lines: the published 0.0223, at least 0.6 pixels."""
    return max(BAND, 1.2 / (min(resolution) - 1))


def boundary_grids(
    geometry: Geometry, functions: Functions, resolution: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Masks and values of both conditions, and the mask of the domain.

    A pixel closer to the boundary than `band_width` carries the data of the nearest
    boundary point.

    Returns:
        grids (batch, 4, y, x) and inside (batch, y, x).
    """
    batch, count = len(geometry.start), resolution[0] * resolution[1]
    width = band_width(resolution)
    points = pixels(resolution, geometry.start)
    near = (1 - points.abs().amax(-1) < width).expand(batch, count)
    spread = points.expand(batch, count, 2)
    inside = near.new_ones(batch, count)
    if geometry.holes:
        depth = geometry.depth(spread)
        inside = (depth <= TOUCH).all(-1)
        near = near | (depth.abs() < width).any(-1)
    index, valid = _pack(near)
    grids = points.new_zeros(batch, 4, count + 1)
    chosen = points[index.clamp_max(count - 1)]
    for channel, allowed in enumerate((geometry.dirichlet, geometry.neumann)):
        if not bool(allowed.any()):
            continue
        distance, foot, normal, piece = geometry.nearest(chosen, allowed)
        on = valid & (distance < width) & geometry.exposed(foot)
        value = functions.boundary(foot, normal, piece)[channel]
        grids[:, channel].scatter_(1, index, on.to(points.dtype))
        grids[:, channel + 2].scatter_(1, index, torch.where(on, value, 0.0))
    shape = (batch, -1, *resolution)
    return grids[..., :count].reshape(shape), inside.reshape(batch, *resolution)


def _pack(near: Tensor) -> tuple[Tensor, Tensor]:
    """Indices (batch, most) of the marked columns; padding points past the end."""
    batch, count = near.shape
    totals = near.sum(1)
    most = int(totals.max())
    rows, columns = near.nonzero(as_tuple=True)
    place = near.cumsum(1)[rows, columns] - 1
    index = torch.full((batch, most), count, device=near.device)
    index[rows, place] = columns
    return index, index < count


def _fields(
    coefficients: Tensor, functions: Functions, points: Tensor
) -> tuple[Tensor, Tensor]:
    """Jets of the solution, 0 where it is not known, and the source."""
    if functions.solution is None:
        return points.new_zeros(5, *points.shape[:2]), functions.source(points)
    jet = functions.solution(points)
    return jet, apply_operator(coefficients, jet)


def assemble(
    coefficients: Tensor,
    geometry: Geometry,
    functions: Functions,
    resolution: tuple[int, int],
    counts: tuple[int, int],
    generator: torch.Generator,
) -> Problems:
    """Draw points and evaluate everything a network reads or is judged by.

    Args:
        coefficients: (batch, 5).
        geometry: of the same batch, with conditions.
        functions: the problems' data.
        resolution: of the grids, (y, x).
        counts: interior and boundary points a problem.
        generator: source of randomness, on the geometry's device.
    """
    like = geometry.start
    grids, inside = boundary_grids(geometry, functions, resolution)
    spread = pixels(resolution, like).expand(len(like), -1, 2)
    u, source = _fields(coefficients, functions, spread)
    source = source.reshape(len(like), 1, *resolution)
    points = 2 * torch.rand(
        len(like),
        counts[0],
        2,
        generator=generator,
        device=like.device,
        dtype=like.dtype,
    )
    points = points - 1
    solution, source_at = _fields(coefficients, functions, points)
    sides, normals, piece, on_u, on_flux = geometry.sample(counts[1], generator)
    g, h = functions.boundary(sides, normals, piece)
    return Problems(
        coefficients=coefficients,
        grids=torch.cat([grids, source], 1),
        inside=inside,
        points=points,
        weights=geometry.inside(points).to(like.dtype),
        source=source_at,
        solution=solution,
        solution_grid=u[0].reshape(len(like), *resolution),
        labelled=torch.full(
            (len(like),), functions.solution is not None, device=like.device
        ),
        boundary_points=sides,
        normals=normals,
        dirichlet=on_u.to(like.dtype),
        neumann=on_flux.to(like.dtype),
        dirichlet_values=torch.where(on_u, g, 0.0),
        neumann_values=torch.where(on_flux, h, 0.0),
    )
