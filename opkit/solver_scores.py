"""The classical solver in the table of errors: in full, and on coarser grids."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from opkit import losses
from opkit.bundle import Score
from opkit.case import parse_case
from opkit.coarse_solvers import coarser, uncoarsened
from opkit.datasets.header import VariableSpec
from opkit.datasets.read import DataFile
from opkit.errors import CaseError, OpkitInputError, SolverError
from opkit.recipe import Recipe
from opkit.solvers.interface import Fields

Norm = Callable[..., torch.Tensor]


def table(
    recipe: Recipe, data: Path, split: str = "test", most: int = 64
) -> list[Score]:
    """Solve samples of a file again, and time it.

    Rows: ``solver`` at the file's resolution, whose error is the rounding of storage
    and the solver's tolerance; and the solution on coarser grids or meshes
    (`opkit.coarse_solvers.coarser`) that the solver does not refuse. Errors are
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
    case = parse_case(header.case, str(data))
    solver: Any = case.build_solver()
    inputs = {v.name: stored[v.name] for v in header.inputs}
    truth = {v.name: stored[v.name] for v in header.outputs}
    whole = uncoarsened(case, solver)
    mesh = losses.Elements(*solver.mesh()) if hasattr(solver, "mesh") else None
    norms: dict[str, Norm] = {"relative_l2": losses.relative_l2}
    if mesh is not None:
        norms["relative_h1"] = losses.relative_h1
    everywhere = recipe.model_copy(update={"subsample": 1})
    found = []
    for method in (whole, *coarser(case, solver)):
        try:
            method.solve({k: v[:1] for k, v in inputs.items()})  # plans, compiled code
            start = time.perf_counter()
            outputs = method.solve(inputs)
            seconds = (time.perf_counter() - start) / len(rows)
        except (SolverError, OpkitInputError):
            if method.factor == 1:
                raise
            continue
        name = "solver" if method.factor == 1 else f"coarse solve 1/{method.factor}"
        found.append(
            Score(
                predictor=name,
                split=split,
                resolution=whole.points,
                samples=len(rows),
                seconds=seconds,
                **{
                    key: error(outputs, truth, header.outputs, everywhere, mesh, norm)
                    for key, norm in norms.items()
                },
            )
        )
    return found


def error(
    outputs: Fields,
    truth: Fields,
    variables: Sequence[VariableSpec],
    recipe: Recipe,
    domain: losses.Domain | None = None,
    norm: Norm = losses.relative_l2,
) -> float:
    """Measure outputs as a surrogate's: its frames, points, channels and norm.

    Args:
        outputs: variable name to (batch, *dims).
        truth: the same.
        variables: with their dims.
        recipe: of the surrogate: last frames for maps, frames after the given ones
            for rollouts, every ``subsample``-th point.
        domain: for norms that need one.
        norm: of (batch, channel, *space).
    """
    given = recipe.history if recipe.mode == "autoregressive" else 0
    values = []
    for variable in variables:
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
            pair.append(field[:, -1:] if recipe.mode == "map" else field[:, given:])
        found, true = pair  # (batch, time, layer, *space)
        if recipe.mode == "space-time":
            found, true = found.swapaxes(1, 2), true.swapaxes(1, 2)
        else:
            found, true = found.flatten(0, 1), true.flatten(0, 1)
        for channel in range(true.shape[1]):
            one = slice(channel, channel + 1)
            values.append(norm(found[:, one], true[:, one], domain))
    return float(torch.stack(values).mean())
