"""What HyPINO writes for a problem, corrections of it, and fine-tuning.

A solution is a sum of target networks. The problem is linear, so HyPINO also solves
what is left of it after a solution, and the corrections are added with the factors that
make the remainder smallest, which therefore never grows.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from opkit.hypino.ensemble import Ensemble
from opkit.hypino.residuals import (
    TensorProblem,
    modal_data,
    modal_defect,
    modal_image,
    nothing,
    remaining,
)
from opkit.operators.hypino.network import HyPINO
from opkit.operators.hypino.symmetry import symmetries
from opkit.operators.hypino.target import Target
from opkit.pde.raster import boundary_grids, pixels
from opkit.pde.scale import data_size, scale_data

GRID = 32  # where the size of a problem is taken


def magnitude(problem: TensorProblem, jet: Callable[[Tensor], Tensor]) -> float:
    """Size of what is left of a problem (`opkit.pde.scale`)."""
    return float(data_size(problem.coefficients, *_grids(problem, jet, GRID)))


def _grids(
    problem: TensorProblem, jet: Callable[[Tensor], Tensor], n: int
) -> tuple[Tensor, Tensor]:
    """Grids (1, 5, n, n) of what is left after a solution, and the domain's mask."""
    functions = remaining(problem, jet)
    grids, inside = boundary_grids(problem.geometry, functions, (n, n))
    source = functions.source(pixels((n, n), grids)[None]).reshape(1, 1, n, n)
    return torch.cat([grids, source], 1), inside


def write(
    model: HyPINO,
    problem: TensorProblem,
    jet: Callable[[Tensor], Tensor] = nothing,
    average: bool = True,
) -> Ensemble:
    """Solve what is left of a problem after a solution, by networks alone.

    The problem is brought to unit size and read in every orientation of the square
    (`opkit.operators.hypino.symmetry`).

    Args:
        model: a trained HyPINO.
        problem: to solve, as tensors.
        jet: the solution so far.
        average: return the mean of all orientations, otherwise the one network whose
            `modal_defect` is the smallest.
    """
    grids, inside = _grids(problem, jet, model.options.resolution)
    size = float(data_size(problem.coefficients, grids, inside))
    elliptic = bool(problem.coefficients[0, 3] * problem.coefficients[0, 4] > 0)
    group = symmetries(elliptic)
    unit = scale_data(grids, grids.new_tensor([1 / size]))
    carried = [s.problem(problem.coefficients, unit) for s in group]
    with torch.no_grad():
        tensors = model(*(torch.cat(part) for part in zip(*carried, strict=True)))
    kind = model.shape.activation
    members = tuple(
        s.carry_back(Target.from_tensors([t[k : k + 1] for t in tensors], kind))
        for k, s in enumerate(group)
    )
    if average:
        return Ensemble(members, (size / len(members),) * len(members))
    single = [Ensemble((member,), (size,)) for member in members]
    with torch.no_grad():
        goal = modal_defect(problem, jet)
        norms = [float((goal - modal_image(problem, e.jet)).norm()) for e in single]
    return single[norms.index(min(norms))]


def refine(
    model: HyPINO,
    problem: TensorProblem,
    start: Ensemble,
    rounds: int,
    average: bool = True,
) -> tuple[Ensemble, list[float]]:
    """Add corrections; every network gets the factor of the least `modal_defect`.

    Args:
        model: writes the corrections.
        problem: to solve, as tensors.
        start: solution to refine; its networks get new factors too, also in no round.
        rounds: largest number; stops where a round gains less than one part in a
            thousand.
        average: correct by all orientations (`write`), or by the best of them.

    Returns:
        The refined solution; the norm of `modal_defect` before, with new factors, and
        after every round.
    """
    with torch.no_grad():
        data = modal_data(problem)
        history = [float(modal_defect(problem, start.jet).norm())]
        members, images = list(start.members), _images(problem, start)
        factors, norm = _least_squares(images, data)
        history.append(norm)
        for _ in range(rounds):
            current = Ensemble(tuple(members), tuple(factors))
            added = write(model, problem, current.jet, average)
            more = torch.cat([images, _images(problem, added)], 1)
            new_factors, norm = _least_squares(more, data)
            if not norm < 0.999 * history[-1]:
                break
            members, images, factors = [*members, *added.members], more, new_factors
            history.append(norm)
    return Ensemble(tuple(members), tuple(factors)), history


def _images(problem: TensorProblem, networks: Ensemble) -> Tensor:
    """`modal_image` of each network, one column for each."""
    return torch.stack([modal_image(problem, m.jet) for m in networks.members], 1)


def _least_squares(images: Tensor, data: Tensor) -> tuple[list[float], float]:
    """Factors of the images closest to a vector, and their distance from it."""
    matrix, right = images.double().cpu(), data.double().cpu()[:, None]
    lengths = matrix.norm(dim=0).clamp_min(1e-30)
    # Orientations of a symmetric problem have one answer; what tells columns apart by
    # less than single precision is noise, and is left out.
    scaled = torch.linalg.lstsq(
        matrix / lengths, right, rcond=1e-5, driver="gelsd"
    ).solution
    factors = scaled[:, 0] / lengths
    return factors.tolist(), float((right[:, 0] - matrix @ factors).norm())
