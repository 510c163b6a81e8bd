"""The classical solver in the table of errors: in full, and on coarser grids."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from opkit import losses
from opkit.bundle import Score
from opkit.case import parse_case
from opkit.coarse_solvers import coarser, uncoarsened
from opkit.datasets.read import DataFile
from opkit.errors import CaseError
from opkit.solvers.interface import Fields


def table(data: Path, split: str = "test", most: int = 64) -> list[Score]:
    """Solve samples of a file again, and time it.

    Rows: ``solver`` at the file's resolution, whose error is the rounding of storage
    and the solver's tolerance; and the solution on coarser grids or meshes
    (`opkit.coarse_solvers.coarser`).

    Args:
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
    found = []
    for method in (whole, *coarser(case, solver)):
        method.solve({k: v[:1] for k, v in inputs.items()})  # plans and compiled code
        start = time.perf_counter()
        outputs = method.solve(inputs)
        seconds = (time.perf_counter() - start) / len(rows)
        error, slope = _errors(outputs, truth, mesh)
        found.append(
            Score(
                predictor="solver"
                if method is whole
                else f"coarse solve 1/{method.factor}",
                split=split,
                resolution=whole.points,
                samples=len(rows),
                relative_l2=error,
                relative_h1=slope,
                seconds=seconds,
            )
        )
    return found


def _errors(
    outputs: Fields, truth: Fields, mesh: losses.Elements | None
) -> tuple[float, float | None]:
    """Relative errors in L2, of all channels together, and on meshes in H1."""
    if mesh is not None:
        found, true = (
            torch.from_numpy(
                np.stack([np.asarray(fields[name]) for name in sorted(truth)], 1)
            )
            for fields in (outputs, truth)
        )
        return (
            float(losses.relative_l2(found, true, mesh).mean()),
            float(losses.relative_h1(found, true, mesh).mean()),
        )

    def flat(fields: Fields) -> NDArray[np.floating]:
        parts = [np.asarray(fields[name]) for name in sorted(truth)]
        return np.concatenate([p.reshape(len(p), -1) for p in parts], axis=1)

    difference = flat(outputs) - flat(truth)
    ratio = np.linalg.norm(difference, axis=1) / np.linalg.norm(flat(truth), axis=1)
    return float(ratio.mean()), None
