"""Streams of random well-posed problems: with manufactured solutions, and without.

Everything is drawn from one `torch.Generator` and computed on its device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from opkit import jets
from opkit.errors import NonFiniteError
from opkit.problems import Problems
from opkit.solvers.manufactured_distribution import ManufacturedDistribution
from opkit.solvers.manufactured_expressions import Programs, draw_programs
from opkit.solvers.manufactured_geometry import VERTICES, Geometry
from opkit.solvers.manufactured_holes import draw_holes
from opkit.solvers.manufactured_operators import (
    draw_conditions,
    draw_operators,
)
from opkit.solvers.manufactured_random import Draw
from opkit.solvers.manufactured_raster import Functions, assemble, pixels

LARGEST_U, SMALLEST_SPREAD, LARGEST_JET, LARGEST_FLUX = 10.0, 0.1, 1e4, 100.0


def draw_problems(
    batch: int,
    distribution: ManufacturedDistribution,
    resolution: tuple[int, int],
    counts: tuple[int, int],
    generator: torch.Generator,
    labelled: bool = True,
    dtype: torch.dtype = torch.float32,
) -> Problems:
    """Draw problems, with manufactured solutions or (labelled=False) without labels.

    Args:
        batch: how many.
        distribution: their law.
        resolution: of the grids, (y, x).
        counts: interior and boundary points a problem.
        generator: source of randomness; its device is where everything happens.
        labelled: False draws a constant source and affine boundary data instead, whose
            solution is not known.
        dtype: of the result.

    Raises:
        NonFiniteError: the distribution's functions are rejected nearly always.
    """
    draw = Draw(generator, dtype)
    if not labelled:
        coefficients, geometry = _draw_setting(batch, distribution, draw)
        functions = _unlabelled(coefficients, geometry, draw)
        return assemble(
            coefficients, geometry, functions, resolution, counts, generator
        )
    parts: list[Problems] = []
    missing, rounds = batch, 0
    while missing > 0:
        if rounds == 200:
            raise NonFiniteError(
                "manufactured problems: nearly every function drawn was rejected "
                "(too flat or too steep); change frequency or the number of steps"
            )
        rounds += 1
        found = _draw_labelled(missing, distribution, resolution, counts, draw)
        if found is not None:
            parts.append(found.select(slice(0, missing)))
            missing -= len(parts[-1])
    return concatenate(parts)


def concatenate(parts: list[Problems]) -> Problems:
    """Join batches of problems into one."""
    names = Problems.__dataclass_fields__
    return Problems(
        **{
            name: torch.cat(
                [getattr(p, name) for p in parts], 1 if name == "solution" else 0
            )
            for name in names
        }
    )


def _draw_setting(
    batch: int, distribution: ManufacturedDistribution, draw: Draw
) -> tuple[Tensor, Geometry]:
    kinds = draw.choice(distribution.shares, batch)
    geometry = draw_holes(kinds, distribution.max_holes, draw)
    draw_conditions(geometry, kinds, distribution.neumann, draw)
    return draw_operators(kinds, geometry, distribution.lower_order, draw), geometry


def _draw_labelled(
    batch: int,
    distribution: ManufacturedDistribution,
    resolution: tuple[int, int],
    counts: tuple[int, int],
    draw: Draw,
) -> Problems | None:
    """Draw up to `batch` problems whose solution passes every check."""
    steps = (distribution.min_steps, distribution.max_steps)
    programs = draw_programs(3 * batch + 2, steps, distribution.frequency, draw)
    programs = programs.select(_tame(programs, draw.like).nonzero()[:batch, 0])
    if len(programs.rule) == 0:
        return None
    coefficients, geometry = _draw_setting(batch, distribution, draw)
    coefficients = coefficients[: len(programs.rule)]
    geometry = geometry.select(slice(0, len(programs.rule)))

    def boundary(points: Tensor, normals: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        jet = programs.evaluate(points)
        return jet[0], jet[1] * normals[..., 0] + jet[2] * normals[..., 1]

    functions = Functions(
        source=lambda points: jets.apply_operator(
            coefficients, programs.evaluate(points)
        ),
        boundary=boundary,
        solution=programs.evaluate,
    )
    problems = assemble(
        coefficients, geometry, functions, resolution, counts, draw.generator
    )
    return problems.select(_accepted(problems).nonzero()[:, 0])


def _tame(programs: Programs, like: Tensor) -> Tensor:
    """Judge programs on a coarse grid, before anything expensive is computed."""
    points = pixels((19, 19), like).expand(len(programs.rule), -1, 2)
    jet = programs.evaluate(points)
    return _bounded(jet) & (jet[0].std(1) >= SMALLEST_SPREAD)


def _bounded(jet: Tensor) -> Tensor:
    """Whether |u| ≤ 10 and derivatives are at most 1e4; NaN is not."""
    value = (jet[0].abs() <= LARGEST_U).all(1)
    return value & (jet[1:].abs() <= LARGEST_JET).all(2).all(0)


def _accepted(problems: Problems) -> Tensor:
    grids = problems.grids
    good = _bounded(problems.solution)
    good &= problems.solution[0].std(1) >= SMALLEST_SPREAD
    for values, limit in (
        (grids[:, 2], LARGEST_U),
        (grids[:, 3], LARGEST_FLUX),
        (grids[:, 4], LARGEST_JET),
        (problems.source, LARGEST_JET),
        (problems.dirichlet_values, LARGEST_U),
        (problems.neumann_values, LARGEST_FLUX),
    ):
        good &= (values.abs() <= limit).flatten(1).all(1)
    return good


def _unlabelled(coefficients: Tensor, geometry: Geometry, draw: Draw) -> Functions:
    """Constant source, affine data on the sides, constant data on holes.

    The source is scaled so that |u| stays of order 10: |f| / (2 max(|c_3|, |c_4|))
    bounds an elliptic u; 2 |f / c_2| and 2 |f / c_4| what grows within the time 2.
    """
    batch = len(coefficients)
    _, _, c_y, c_xx, c_yy = coefficients.unbind(1)
    elliptic = c_xx * c_yy > 0
    parabolic = c_yy == 0
    timed = ~elliptic
    bound = torch.where(
        parabolic, 2 * c_y.abs().reciprocal(), 2 * c_yy.abs().reciprocal()
    )
    diffusive = 0.5 / torch.maximum(c_xx.abs(), c_yy.abs())
    bound = torch.where(elliptic, diffusive, bound)
    strength = 10 * (1 + draw.normal(batch))
    strength = strength / bound.clamp_min(1.0)
    affine = 10 * draw.symmetric(batch, 3)
    affine = affine * draw.integers(0, 2, batch, 3)
    affine = affine / affine.abs().sum(1, keepdim=True).clamp_min(10.0) * 10
    affine[:, 2] = torch.where(timed, 0.0, affine[:, 2])
    level = 10 * draw.symmetric(batch, geometry.start.shape[1])
    owner = geometry.hole_of_piece()
    first = torch.where(owner < 0, 0, 4 + owner.clamp_min(0) * VERTICES)
    level = level[:, first]

    def boundary(
        points: Tensor, normals: Tensor, piece: Tensor
    ) -> tuple[Tensor, Tensor]:
        slope = affine[:, None, 1:]
        side = affine[:, None, 0] + (points * slope).sum(-1)
        g = torch.where(owner[piece] < 0, side, level.gather(1, piece))
        h = torch.where(owner[piece] < 0, (normals * slope).sum(-1), 0.0)
        return g, h

    return Functions(
        source=lambda points: strength[:, None].expand(points.shape[:2]),
        boundary=boundary,
    )
