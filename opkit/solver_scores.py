"""The classical solver in the table of errors: in full, and on coarser grids."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opkit.bundle import Score
from opkit.case import parse_case
from opkit.datasets.read import DataFile
from opkit.errors import CaseError
from opkit.solver_ladder import coarser, solve_coarsely
from opkit.solvers.interface import Fields


def table(data: Path, split: str = "test", most: int = 64) -> list[Score]:
    """Solve samples of a file again, and time it.

    Rows: ``solver`` at the file's resolution, whose error is the rounding of storage
    and the solver's tolerance; and, for cases on grids, the solution on grids of 1/2,
    1/3, ... of the steps (`opkit.solver_ladder.solve_coarsely`).

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
    methods: dict[str, Callable[[Fields], Fields]] = {
        "solver": lambda fields: solver.solve(fields).outputs
    }
    if case.geometry.kind == "grid":
        for factor, coarse in coarser(case, solver):
            methods[f"coarse solve 1/{factor}"] = partial(
                solve_coarsely, case, coarse, factor=factor
            )
    found = []
    for name, method in methods.items():
        method({k: v[:1] for k, v in inputs.items()})  # plans and compiled code
        start = time.perf_counter()
        outputs = method(inputs)
        seconds = (time.perf_counter() - start) / len(rows)
        error = _relative_l2(outputs, truth)
        found.append(
            Score(
                predictor=name,
                split=split,
                resolution=case.shape,
                samples=len(rows),
                relative_l2=error,
                seconds=seconds,
            )
        )
    return found


def _relative_l2(outputs: Fields, truth: Fields) -> float:
    def flat(fields: Fields) -> NDArray[np.floating]:
        parts = [np.asarray(fields[name]) for name in sorted(truth)]
        return np.concatenate([p.reshape(len(p), -1) for p in parts], axis=1)

    difference = flat(outputs) - flat(truth)
    ratio = np.linalg.norm(difference, axis=1) / np.linalg.norm(flat(truth), axis=1)
    return float(ratio.mean())
