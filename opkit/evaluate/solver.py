"""The classical solver beside a surrogate: in full, and as wrong as the surrogate.

A surrogate with an error of 2 % competes with the solver on the coarsest grid and at
the loosest tolerance that still give 2 %, not with the solver at its full accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from opkit.case.recipe import Recipe
from opkit.case.record import Case, parse_case
from opkit.datasets.header import Header
from opkit.datasets.read import DataFile
from opkit.errors import CaseError, OpkitInputError, SolverError
from opkit.evaluate.coarse import (
    Coarse,
    changed,
    coarser,
    uncoarsened,
)
from opkit.metrics import functional
from opkit.metrics.domains import Domain, Elements
from opkit.solvers.interface import Fields, OnMesh, Tolerance
from opkit.surrogate.bundle.record import Score

Norm = Callable[..., torch.Tensor]


def table(
    recipe: Recipe, data: Path, split: str = "test", most: int = 64
) -> list[Score]:
    """Solve samples of a file again, and time it.

    Rows: ``solver`` at the file's resolution, whose error is the rounding of storage
    and the solver's tolerance; and the solution on coarser grids or meshes
    (`opkit.evaluate.coarse.coarser`) that the solver does not refuse. Errors are
    measured as the surrogate's, at all points of the file.

    Args:
        recipe: of the surrogate the solver is held against.
        data: data file with its case.
        split: which samples.
        most: number of samples at most.

    Raises:
        CaseError: the file has no case, so no solver is known.
    """
    with DataFile(data) as file:
        header, rows = file.header, file.indices(split)[:most]
        if not header.case:
            raise CaseError(
                f"{data}: imported data name no case, so no solver is known"
            )
        stored: dict[str, NDArray[Any]] = {
            v.name: file.read(v.name, rows).astype(np.float64) for v in header.variables
        }
    case = parse_case(header.case, str(data), header.mesh)
    solver = case.build_solver()
    inputs = {v.name: stored[v.name] for v in header.inputs}
    truth = {v.name: stored[v.name] for v in header.outputs}
    whole = uncoarsened(case, solver)
    mesh = Elements(*solver.mesh()) if isinstance(solver, OnMesh) else None
    norms: dict[str, Norm] = {"relative_l2": functional.relative_l2}
    if mesh is not None:
        norms["relative_h1"] = functional.relative_h1
    everywhere = recipe.model_copy(update={"subsample": 1})
    scores = []
    for method in (whole, *coarser(case, solver)):
        try:
            outputs, seconds = method.timed(inputs)
        except (SolverError, OpkitInputError):
            if method.factor == 1:
                raise
            continue
        name = "solver" if method.factor == 1 else f"coarse solve 1/{method.factor}"
        scores.append(
            Score(
                predictor=name,
                split=split,
                resolution=whole.points,
                samples=len(rows),
                seconds=seconds,
                quantities={},
                **{
                    key: error(outputs, truth, header, everywhere, mesh, norm)
                    for key, norm in norms.items()
                },
            )
        )
    return scores


def error(
    outputs: Fields,
    truth: Fields,
    header: Header,
    recipe: Recipe,
    domain: Domain | None = None,
    norm: Norm = functional.relative_l2,
) -> float:
    """Measure outputs as a surrogate's: its frames, points, channels and norm.

    Args:
        outputs: variable name to (batch, *dims).
        truth: the same.
        header: of the file, with the variables and their dims.
        recipe: of the surrogate: last frames for maps, frames after the given ones
            for rollouts, every ``subsample``-th point.
        domain: for norms that need one.
        norm: of (batch, channel, *space).
    """
    values = []
    for variable in header.outputs:
        pair = []
        for fields in (outputs, truth):
            field = torch.as_tensor(np.asarray(fields[variable.name]))
            space = tuple(
                slice(None, None, recipe.subsample if d in ("z", "y", "x") else 1)
                for d in variable.dims
            )
            field = field[(slice(None), *space)]
            if "layer" not in variable.dims:
                field = field.unsqueeze(2 if "time" in variable.dims else 1)
            if "time" not in variable.dims:
                field = field.unsqueeze(1)
            pair.append(recipe.arrangement.scored(field, header))
        predicted, true = pair
        for channel in range(true.shape[1]):
            one = slice(channel, channel + 1)
            values.append(norm(predicted[:, one], true[:, one], domain))
    return float(torch.stack(values).mean())


@dataclass(frozen=True)
class Rung:
    """The classical solver at one accuracy.

    Args:
        resolution: points along each axis, or all nodes of a mesh.
        rtol: its tolerance; None where it has none.
        relative_l2: its error, measured as the surrogate's.
        seconds: a sample, in a batch.
    """

    resolution: tuple[int, ...]
    rtol: float | None
    relative_l2: float
    seconds: float


def ladder(
    case: Case, inputs: Fields, error: Callable[[Fields], float], target: float
) -> list[Rung]:
    """Solve ever more cheaply until the error is above ``target``.

    First the case's own grid or mesh and tolerance; then a tenth of the target as
    the tolerance; then that on coarser ones (`opkit.evaluate.coarse.coarser`). What the
    solver refuses is left out.

    Args:
        case: of the problem.
        inputs: variable name to (batch, *dims) on the case's grid.
        error: of outputs on the case's grid.
        target: the surrogate's error.

    Returns:
        The rungs climbed down, the last one possibly above the target.
    """
    rungs = []
    for step in _steps(case, target):
        try:
            outputs, seconds = step.timed(inputs)
        except (SolverError, OpkitInputError):
            continue
        rtol = step.solver.rtol if isinstance(step.solver, Tolerance) else None
        rungs.append(Rung(step.points, rtol, error(outputs), seconds))
        if step.factor > 1 and not rungs[-1].relative_l2 <= target:
            break
    return rungs


def cheapest(rungs: Sequence[Rung], target: float) -> Rung | None:
    """Return the fastest rung whose error is at most ``target``."""
    good = [rung for rung in rungs if rung.relative_l2 <= target]
    return min(good, key=lambda rung: rung.seconds, default=None)


def equal_error(rungs: Sequence[Rung], target: float) -> Rung | None:
    """Return the solver's rung that is as wrong as ``target``, as far as that is known.

    The fastest rung whose error is at most ``target``, and below which a rung is worse:
    a ladder that ends above the target says nothing of the time it needs there.

    Args:
        rungs: as `ladder` returns them, the cheapest last.
        target: the surrogate's error.
    """
    best = cheapest(rungs, target)
    if best is None:
        return None
    below = rungs[rungs.index(best) + 1 :]
    return best if any(not rung.relative_l2 <= target for rung in below) else None


def _steps(case: Case, target: float) -> Iterator[Coarse]:
    solver = case.build_solver()
    yield uncoarsened(case, solver)
    for rtol in (target / 10, 1e-2):
        if not isinstance(solver, Tolerance) or rtol <= solver.rtol:
            continue
        loose = changed(solver, rtol=rtol)
        if loose is not None:
            solver = loose
            yield uncoarsened(case, solver)
            break
    yield from coarser(case, solver)
