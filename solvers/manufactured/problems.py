"""Streams of random well-posed problems: with manufactured solutions, and without.

Everything is drawn from one `torch.Generator` and computed on its device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from opkit.errors import NonFiniteError
from opkit.pde import jets
from opkit.pde.batch import Problems
from opkit.pde.geometry import Geometry
from opkit.pde.raster import Functions, assemble, pixels
from opkit.pde.scale import normalise
from opkit.solvers.manufactured.draws import Draw
from opkit.solvers.manufactured.holes import draw_holes
from opkit.solvers.manufactured.law import ManufacturedDistribution
from opkit.solvers.manufactured.operators import draw_conditions, draw_operators
from opkit.solvers.manufactured.programs import Programs, draw_programs
from opkit.solvers.manufactured.series import Series, draw_series
from opkit.solvers.manufactured.sources import draw_unlabelled

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
        labelled: False draws sources and boundary data instead, whose solution is not
            known (`manufactured_sources`).
        dtype: of the result.

    Raises:
        NonFiniteError: the distribution's functions are rejected nearly always.
    """
    draw = Draw(generator, dtype)
    if labelled:
        problems = _labelled(batch, distribution, resolution, counts, draw)
    else:
        coefficients, geometry = _draw_setting(batch, distribution, draw)
        functions = draw_unlabelled(coefficients, geometry, distribution, draw)
        problems = assemble(
            coefficients, geometry, functions, resolution, counts, generator
        )
    return normalise(problems) if distribution.normalised else problems


def _labelled(
    batch: int,
    distribution: ManufacturedDistribution,
    resolution: tuple[int, int],
    counts: tuple[int, int],
    draw: Draw,
) -> Problems:
    """Draw until `batch` problems have passed every check."""
    series = torch.zeros(batch, dtype=torch.bool, device=draw.device)
    if distribution.series:
        series = draw.uniform(batch) < distribution.series
    place, parts = [], []
    for kind, rows in ((False, ~series), (True, series)):
        missing, rounds = int(rows.sum()), 0
        place.append(rows.nonzero()[:, 0])
        while missing > 0:
            if rounds == 200:
                raise NonFiniteError(
                    "manufactured problems: nearly every function drawn was rejected "
                    "(too flat or too steep); change frequency or the number of steps"
                )
            rounds += 1
            problems = _draw_labelled(
                missing, distribution, resolution, counts, draw, kind
            )
            if problems is not None:
                parts.append(problems.select(slice(0, missing)))
                missing -= len(parts[-1])
    return concatenate(parts).select(torch.cat(place).argsort())


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
    geometry = draw_holes(kinds, distribution.max_holes, draw, distribution.corners)
    draw_conditions(geometry, kinds, distribution.neumann, draw)
    return draw_operators(kinds, geometry, distribution.lower_order, draw), geometry


def _draw_labelled(
    batch: int,
    distribution: ManufacturedDistribution,
    resolution: tuple[int, int],
    counts: tuple[int, int],
    draw: Draw,
    series: bool,
) -> Problems | None:
    """Draw up to `batch` problems whose solution passes every check."""
    programs: Programs | Series
    if series:
        coefficients, geometry = _draw_setting(2 * batch, distribution, draw)
        programs = draw_series(coefficients, distribution.frequency, draw)
        good = _tame(programs, len(coefficients), draw.like).nonzero()[:batch, 0]
        coefficients, geometry = coefficients[good], geometry.select(good)
        programs = programs.select(good)
    else:
        steps = (distribution.min_steps, distribution.max_steps)
        many = 3 * batch + 2
        programs = draw_programs(many, steps, distribution.frequency, draw)
        good = _tame(programs, many, draw.like).nonzero()[:batch, 0]
        programs = programs.select(good)
        coefficients, geometry = _draw_setting(batch, distribution, draw)
        coefficients = coefficients[: len(good)]
        geometry = geometry.select(slice(0, len(good)))
    if len(good) == 0:
        return None

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


def _tame(functions: Programs | Series, count: int, like: Tensor) -> Tensor:
    """Judge functions on a coarse grid, before anything expensive is computed."""
    jet = functions.evaluate(pixels((19, 19), like).expand(count, -1, 2))
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
