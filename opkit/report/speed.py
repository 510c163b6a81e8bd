"""The section on speed: the surrogate beside the solver at the surrogate's error."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from opkit.case.record import parse_case
from opkit.datasets.read import DataFile
from opkit.evaluate import baselines
from opkit.evaluate import solver as solver_ladder
from opkit.evaluate import solver as solver_scores
from opkit.evaluate.solver import Rung
from opkit.report.content import Section, Table, duration, grid, number
from opkit.report.subject import Subject
from opkit.solvers.interface import Fields

SAMPLES = 16
"""Test samples that are solved again."""
POINTS = 2**21
"""Most numbers of outputs solved again."""


def section(subject: Subject) -> Section:
    """Time the solver on ever coarser grids until it is as wrong as the surrogate."""
    case = None
    if subject.header.case:
        header = subject.header
        case = parse_case(header.case, "data file", header.mesh)
    own = subject.evaluation.rows[0]
    if case is None:
        why = "imported data name no case, so no solver is known"
        return Section("speed", "Speed", (f"Not compared with the solver: {why}.",))
    if own.seconds is None:
        why = "the surrogate was not timed"
        return Section("speed", "Speed", (f"Not compared with the solver: {why}.",))
    inputs, truth = _fields(subject)
    measure = partial(
        solver_scores.error,
        truth=truth,
        header=subject.header,
        recipe=subject.config.recipe,
        domain=subject.surrogate.domain,
    )
    rungs = solver_ladder.ladder(case, inputs, measure, own.relative_l2)
    best = solver_ladder.equal_error(rungs, own.relative_l2)
    rows = [
        (
            "surrogate",
            grid(own.resolution),
            number(own.relative_l2),
            duration(own.seconds),
        )
    ]
    for rung in rungs:
        rtol = "" if rung.rtol is None else f", rtol {rung.rtol:.1g}"
        mark = ", equal error" if rung is best else ""
        rows.append(
            (
                f"solver{rtol}{mark}",
                grid(rung.resolution),
                number(rung.relative_l2),
                duration(rung.seconds),
            )
        )
    count = len(next(iter(inputs.values())))
    table = Table(
        "Error and time a sample, in batches, in this process on "
        f"{torch.get_num_threads()} thread(s); solver on {count} {subject.split} "
        "samples. Coarse grids: with the interpolation back to the file's grid.",
        ("method", "grid", "relative L2", "time a sample"),
        tuple(rows),
    )
    title = "Speed at equal error" if best is not None else "Speed"
    text = [verdict(own.relative_l2, own.seconds, rungs)]
    if baselines.flags(subject.evaluation.rows):
        text.insert(
            0,
            "The surrogate is no better than a trivial predictor (see its flags): how "
            "fast it is does not matter.",
        )
    return Section("speed", title, tuple(text), tables=(table,))


def verdict(error: float, seconds: float, rungs: Sequence[Rung]) -> str:
    """Say how much faster or slower a surrogate is than the solver at its error.

    No factor is named where the solver's error was nowhere as large: there the time
    that the solver needs for the surrogate's error is not known.

    Args:
        error: of the surrogate.
        seconds: a sample, of the surrogate.
        rungs: of the solver, the cheapest last.
    """
    accurate = [rung for rung in rungs if rung.relative_l2 <= error]
    if not accurate:
        return "No grid of the solver was as accurate as the surrogate."
    best = solver_ladder.equal_error(rungs, error)
    if best is None:
        return _open_end(error, seconds, rungs, accurate)
    where = f"the solver on {grid(best.resolution)}, which is at least as accurate"
    ratio = best.seconds / seconds
    if ratio >= 1.05:
        return f"The surrogate is {ratio:.2g} times faster than {where}."
    if ratio <= 0.95:
        return (
            f"The surrogate is {1 / ratio:.2g} times slower than {where}: here the "
            "solver is the better choice, unless gradients, batches on a GPU or a "
            "fixed cost decide."
        )
    return f"The surrogate is as fast as {where}."


def _open_end(
    error: float, seconds: float, rungs: Sequence[Rung], accurate: Sequence[Rung]
) -> str:
    """Say that the solver was nowhere as wrong as the surrogate."""
    last = min(accurate, key=lambda rung: rung.seconds)
    if len({rung.resolution for rung in rungs}) == 1:
        why = (
            f"The solver was tried on {grid(last.resolution)} alone, for its ladder "
            "has no coarser grid"
        )
    else:
        why = f"The ladder of coarser grids ends at {grid(rungs[-1].resolution)}"
    text = (
        f"{why}; its error there, {number(last.relative_l2)}, is below the "
        f"surrogate's, {number(error)}. What the solver needs for the surrogate's "
        "error is not known, and no factor is claimed."
    )
    if last.seconds <= seconds:
        text += (
            " The solver is more accurate and not slower: here it is the better choice."
        )
    return text


def _fields(subject: Subject) -> tuple[Fields, Fields]:
    outputs = subject.header.outputs
    points = sum(int(np.prod(v.shape)) for v in outputs)
    most = max(min(SAMPLES, POINTS // points), 1)
    with DataFile(subject.evaluation.data, trusted=True) as file:
        rows = file.indices(subject.split)[:most]
        stored: dict[str, NDArray[Any]] = {
            v.name: file.read(v.name, rows).astype(np.float64)
            for v in subject.header.variables
        }
    return (
        {v.name: stored[v.name] for v in subject.header.inputs},
        {v.name: stored[v.name] for v in outputs},
    )
