"""A PDE as tensors, and what a solution lacks of it.

What is left of a linear problem after a solution,

    f - L u,   g - u,   h - ∇u · n,

is a problem of the same kind, measured in units of u: point by point, or by modes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from opkit.pde import jets
from opkit.pde.batch import Problems
from opkit.pde.geometry import Geometry
from opkit.pde.raster import Functions, assemble
from opkit.pde.scale import (
    MODES,
    WAVE_NUMBER,
    mode_sizes,
    operator_factor,
    operator_size,
    source_modes,
)

CELLS = 64


@dataclass(frozen=True)
class Stated:
    """A problem of batch 1 with everything that is needed to judge a solution.

    Args:
        coefficients: (1, 5).
        geometry: with conditions.
        functions: source and boundary data.
        check: grid points of the domain and boundary points, fixed, for the residual.
    """

    coefficients: Tensor
    geometry: Geometry
    functions: Functions
    check: Problems


def state(coefficients: Tensor, geometry: Geometry, functions: Functions) -> Stated:
    """Prepare a problem: normalise its operator, draw the points of its residual.

    Coefficients and source are multiplied as in training
    (`opkit.pde.scale`).
    """
    factor = float(operator_factor(coefficients))
    original, coefficients = functions.source, factor * coefficients
    functions = replace(functions, source=lambda p: factor * original(p))
    generator = torch.Generator(geometry.start.device).manual_seed(0)
    check = assemble(coefficients, geometry, functions, (9, 9), (2048, 1024), generator)
    return Stated(coefficients, geometry, functions, check)


def defect(stated: Stated, jet: Callable[[Tensor], Tensor]) -> Tensor:
    """Residual vector of a solution, point by point; fine-tuning makes it small.

    The norm is the sum of the mean squares of (f - L u) / λ in the domain, and of g - u
    and (h - ∇u · n) / k on the boundary, with λ and k of
    `opkit.pde.scale`: each part is about the error it makes in u if
    that error is as smooth as can be, and much more if it is not.
    """
    check = stated.check
    size = float(operator_size(check.coefficients))
    left = check.source - jets.apply_operator(check.coefficients, jet(check.points))
    value, flux = _traces(check, jet)
    return torch.cat(
        [
            _root_mean(left / size, check.weights),
            _root_mean(check.dirichlet_values - value, check.dirichlet),
            _root_mean((check.neumann_values - flux) / WAVE_NUMBER, check.neumann),
        ]
    )


def modal_data(stated: Stated) -> Tensor:
    """The data f, g, h of a problem as the vector `modal_image` is to equal."""
    check = stated.check
    source = stated.functions.source(_cells(check.points))
    return _by_modes(stated, source, check.dirichlet_values, check.neumann_values)


def modal_image(stated: Stated, jet: Callable[[Tensor], Tensor]) -> Tensor:
    """L u, u and ∇u · n of a function, by modes: linear in it, and in units of u.

    L u is expanded in `MODES`² sines, and each coefficient divided by λ_mn, the size of
    L on that mode (`opkit.pde.scale`). An error of short waves thus
    counts for what it is, and `defect` multiplies it by the square of its wave number.
    """
    applied = jets.apply_operator(stated.coefficients, jet(_cells(stated.check.points)))
    return _by_modes(stated, applied, *_traces(stated.check, jet))


def modal_defect(stated: Stated, jet: Callable[[Tensor], Tensor]) -> Tensor:
    """Estimate of the error in u by modes; corrections are chosen to make it small."""
    return modal_data(stated) - modal_image(stated, jet)


def _cells(like: Tensor) -> Tensor:
    """Midpoints (1, 64 · 64, 2) of cells of the square."""
    x = (torch.arange(CELLS, device=like.device) + 0.5) * (2 / CELLS) - 1
    mesh = torch.meshgrid(x.to(like.dtype), x.to(like.dtype), indexing="ij")
    return torch.stack([mesh[1].flatten(), mesh[0].flatten()], -1)[None]


def _by_modes(stated: Stated, source: Tensor, value: Tensor, flux: Tensor) -> Tensor:
    like, check = stated.check.points, stated.check
    points = _cells(like)
    inside = stated.geometry.inside(points)
    source = torch.where(inside, source, 0.0).reshape(1, CELLS, CELLS)
    modes = source_modes(source, points[0, :CELLS, 0], MODES)
    modes = modes / mode_sizes(stated.coefficients, MODES)
    area = 4 * inside.to(like.dtype).mean().clamp_min(1e-3)
    return torch.cat(
        [
            modes.flatten() / area.sqrt(),
            _root_mean(value, check.dirichlet),
            _root_mean(flux / WAVE_NUMBER, check.neumann),
        ]
    )


def _traces(check: Problems, jet: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Values and ∇u · n at the boundary points, each (1, point)."""
    outer, n = jet(check.boundary_points), check.normals
    return outer[0], outer[1] * n[..., 0] + outer[2] * n[..., 1]


def _root_mean(field: Tensor, mask: Tensor) -> Tensor:
    """Vector whose norm is the root mean square of a field (1, point) on a mask."""
    return (field * mask)[0] / mask.sum().clamp_min(1).sqrt()


def remaining(stated: Stated, jet: Callable[[Tensor], Tensor]) -> Functions:
    """What is left of the problem after a solution."""
    given = stated.functions

    def source(points: Tensor) -> Tensor:
        found = jets.apply_operator(stated.coefficients, jet(points))
        return given.source(points) - found

    def boundary(
        points: Tensor, normals: Tensor, piece: Tensor
    ) -> tuple[Tensor, Tensor]:
        g, h = given.boundary(points, normals, piece)
        found = jet(points)
        flux = found[1] * normals[..., 0] + found[2] * normals[..., 1]
        return g - found[0], h - flux

    return Functions(source, boundary)


def nothing(points: Tensor) -> Tensor:
    """Jets of u = 0."""
    return points.new_zeros(5, *points.shape[:2])
