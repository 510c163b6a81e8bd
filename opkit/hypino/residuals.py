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
class TensorProblem:
    """A problem of batch 1 with everything that is needed to judge a solution.

    Args:
        coefficients: (1, 5).
        geometry: with conditions.
        functions: source and boundary data.
        sites: grid points of the domain and boundary points, fixed, for the residual.
    """

    coefficients: Tensor
    geometry: Geometry
    functions: Functions
    sites: Problems


def state(
    coefficients: Tensor, geometry: Geometry, functions: Functions
) -> TensorProblem:
    """Prepare a problem: normalise its operator, draw the points of its residual.

    Coefficients and source are multiplied as in training
    (`opkit.pde.scale`).
    """
    factor = float(operator_factor(coefficients))
    original, coefficients = functions.source, factor * coefficients
    functions = replace(functions, source=lambda p: factor * original(p))
    generator = torch.Generator(geometry.start.device).manual_seed(0)
    sites = assemble(coefficients, geometry, functions, (9, 9), (2048, 1024), generator)
    return TensorProblem(coefficients, geometry, functions, sites)


def defect(problem: TensorProblem, jet: Callable[[Tensor], Tensor]) -> Tensor:
    """Residual vector of a solution, point by point; fine-tuning makes it small.

    The norm is the sum of the mean squares of (f - L u) / λ in the domain, and of g - u
    and (h - ∇u · n) / k on the boundary, with λ and k of
    `opkit.pde.scale`: each part is about the error it makes in u if
    that error is as smooth as can be, and much more if it is not.
    """
    sites = problem.sites
    size = float(operator_size(sites.coefficients))
    residual = sites.source - jets.apply_operator(sites.coefficients, jet(sites.points))
    value, flux = _traces(sites, jet)
    return torch.cat(
        [
            _root_mean(residual / size, sites.weights),
            _root_mean(sites.dirichlet_values - value, sites.dirichlet),
            _root_mean((sites.neumann_values - flux) / WAVE_NUMBER, sites.neumann),
        ]
    )


def modal_data(problem: TensorProblem) -> Tensor:
    """The data f, g, h of a problem as the vector `modal_image` is to equal."""
    sites = problem.sites
    source = problem.functions.source(_cells(sites.points))
    return _by_modes(problem, source, sites.dirichlet_values, sites.neumann_values)


def modal_image(problem: TensorProblem, jet: Callable[[Tensor], Tensor]) -> Tensor:
    """L u, u and ∇u · n of a function, by modes: linear in it, and in units of u.

    L u is expanded in `MODES`² sines, and each coefficient divided by λ_mn, the size of
    L on that mode (`opkit.pde.scale`). An error of short waves thus
    counts for what it is, and `defect` multiplies it by the square of its wave number.
    """
    applied = jets.apply_operator(
        problem.coefficients, jet(_cells(problem.sites.points))
    )
    return _by_modes(problem, applied, *_traces(problem.sites, jet))


def modal_defect(problem: TensorProblem, jet: Callable[[Tensor], Tensor]) -> Tensor:
    """Estimate of the error in u by modes; corrections are chosen to make it small."""
    return modal_data(problem) - modal_image(problem, jet)


def _cells(like: Tensor) -> Tensor:
    """Midpoints (1, 64 · 64, 2) of cells of the square."""
    x = (torch.arange(CELLS, device=like.device) + 0.5) * (2 / CELLS) - 1
    mesh = torch.meshgrid(x.to(like.dtype), x.to(like.dtype), indexing="ij")
    return torch.stack([mesh[1].flatten(), mesh[0].flatten()], -1)[None]


def _by_modes(
    problem: TensorProblem, source: Tensor, value: Tensor, flux: Tensor
) -> Tensor:
    like, sites = problem.sites.points, problem.sites
    points = _cells(like)
    inside = problem.geometry.inside(points)
    source = torch.where(inside, source, 0.0).reshape(1, CELLS, CELLS)
    modes = source_modes(source, points[0, :CELLS, 0], MODES)
    modes = modes / mode_sizes(problem.coefficients, MODES)
    area = 4 * inside.to(like.dtype).mean().clamp_min(1e-3)
    return torch.cat(
        [
            modes.flatten() / area.sqrt(),
            _root_mean(value, sites.dirichlet),
            _root_mean(flux / WAVE_NUMBER, sites.neumann),
        ]
    )


def _traces(sites: Problems, jet: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Values and ∇u · n at the boundary points, each (1, point)."""
    outer, n = jet(sites.boundary_points), sites.normals
    return outer[0], outer[1] * n[..., 0] + outer[2] * n[..., 1]


def _root_mean(field: Tensor, mask: Tensor) -> Tensor:
    """Vector whose norm is the root mean square of a field (1, point) on a mask."""
    return (field * mask)[0] / mask.sum().clamp_min(1).sqrt()


def remaining(problem: TensorProblem, jet: Callable[[Tensor], Tensor]) -> Functions:
    """What is left of the problem after a solution."""
    functions = problem.functions

    def source(points: Tensor) -> Tensor:
        applied = jets.apply_operator(problem.coefficients, jet(points))
        return functions.source(points) - applied

    def boundary(
        points: Tensor, normals: Tensor, piece: Tensor
    ) -> tuple[Tensor, Tensor]:
        g, h = functions.boundary(points, normals, piece)
        u = jet(points)
        flux = u[1] * normals[..., 0] + u[2] * normals[..., 1]
        return g - u[0], h - flux

    return Functions(source, boundary)


def nothing(points: Tensor) -> Tensor:
    """Jets of u = 0."""
    return points.new_zeros(5, *points.shape[:2])
