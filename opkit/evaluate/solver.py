"""The classical solver beside a surrogate: its rows in the table of errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from opkit.case.recipe import Recipe
from opkit.case.record import parse_stored
from opkit.datasets.field_dataset import FieldDataset
from opkit.datasets.header import Header
from opkit.datasets.read import DataFile
from opkit.errors import CaseError, OpkitInputError, SolverError
from opkit.evaluate import stored
from opkit.evaluate.ladder import FULL, rungs
from opkit.metrics import functional
from opkit.metrics.domains import Domain, Elements, Packed, Points
from opkit.solvers.interface import Fields, OnMesh, Solver
from opkit.surrogate.bundle.record import Score

Norm = Callable[..., torch.Tensor]


def table(
    recipe: Recipe, data: Path, split: str = "test", most: int = 64
) -> list[Score]:
    """Solve samples of a file again, and time it.

    Rows: ``solver`` in full, whose error is the rounding of storage and the solver's
    tolerance; and its cheaper versions (`opkit.evaluate.ladder.rungs`), as far as it
    does not refuse them. Errors are measured as the surrogate's, at all points of the
    file.

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
        held = [stored.sample(file, int(row)) for row in rows]
    case = parse_stored(header.case, str(data), header.mesh)
    solver = case.build_solver()
    names = {v.name for v in header.outputs}
    given = [{k: v for k, v in s.items() if k not in names} for s in held]
    inputs = stored.batches(given, header.ragged)
    apart = header.ragged and any(v.is_field for v in header.outputs)
    truth = stored.batches([{k: s[k] for k in names} for s in held], apart)
    points = (len(solver.mesh()[0]),) if isinstance(solver, OnMesh) else case.shape
    mesh = Elements(*solver.mesh()) if isinstance(solver, OnMesh) else None
    domains: list[Domain | None] = [mesh]
    if header.ragged:
        weights = _weights(data, split, len(rows))
        points = (weights[0].shape[1],)
        domains = list(map(Points, weights)) if apart else [None]
    norms: dict[str, Norm] = {"relative_l2": functional.relative_l2}
    if mesh is not None:
        norms["relative_h1"] = functional.relative_h1
    everywhere = recipe.model_copy(update={"subsample": 1})
    scores = []
    for label, method in ((FULL, solver), *rungs(case, solver)):
        try:
            solved, seconds = _timed(method, inputs)
        except (SolverError, OpkitInputError):
            if label == FULL:
                raise
            continue
        outputs = stored.batches(solved, apart)
        parts = list(zip(outputs, truth, domains, strict=True))
        errors: dict[str, float] = {}
        for key, norm in norms.items():
            each = [error(u, v, header, everywhere, d, norm) for u, v, d in parts]
            errors[key] = float(np.mean(each))
        scores.append(
            Score(
                predictor=label,
                split=split,
                resolution=points,
                samples=len(rows),
                seconds=seconds,
                quantities={},
                outputs={},
                **errors,
            )
        )
    return scores


def _weights(data: Path, split: str, count: int) -> list[torch.Tensor]:
    """Area or volume (1, place) of the places of each sample with a mesh of its own."""
    samples = FieldDataset(data, split, trusted=True)
    return [samples[i]["weights"][None] for i in range(count)]


def _timed(solver: Solver, inputs: Sequence[Fields]) -> tuple[list[Fields], float]:
    """Solve batches; return their outputs, and seconds per sample.

    One sample is solved before, so that plans and compiled code are there.
    """
    solver.solve({name: values[:1] for name, values in inputs[0].items()})
    begin = time.perf_counter()
    outputs = [solver.solve(batch).outputs for batch in inputs]
    seconds = time.perf_counter() - begin
    return outputs, seconds / sum(len(next(iter(batch.values()))) for batch in inputs)


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
    if recipe.arrangement.readouts(header):
        return _error_of_kinds(outputs, truth, header, recipe, domain, norm)
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


def _error_of_kinds(
    outputs: Fields,
    truth: Fields,
    header: Header,
    recipe: Recipe,
    domain: Domain | None,
    norm: Norm,
) -> float:
    """Measure outputs of several kinds, laid one after another as a surrogate's.

    Numbers are related to their root mean square in training, or, where no domain of a
    surrogate says what that is, over these samples.
    """
    mode = recipe.arrangement
    fields, readouts = mode.outputs(header), mode.readouts(header)

    def entries(given: Fields) -> list[torch.Tensor]:
        parts: list[torch.Tensor] = []
        for v in fields:
            every = tuple(
                slice(None, None, recipe.subsample if d in ("z", "y", "x") else 1)
                for d in v.dims
            )
            field = torch.as_tensor(np.asarray(given[v.name]))[(slice(None), *every)]
            if "layer" not in v.dims:
                field = field.unsqueeze(2 if "time" in v.dims else 1)
            if "time" not in v.dims:
                field = field.unsqueeze(1)
            scored = mode.scored(field, header).flatten(2)
            parts += scored.unbind(1)
        for v in readouts:
            values = torch.as_tensor(np.asarray(given[v.name]))
            values = values.reshape(len(values), -1)
            parts += [values] if v.is_series else torch.split(values, 1, 1)
        return parts

    predicted, true = entries(outputs), entries(truth)
    if not isinstance(domain, Packed):
        scales = torch.stack([part.double().square().mean().sqrt() for part in true])
        count = len(true) - sum(
            1 if v.is_series else int(np.prod(v.shape)) for v in readouts
        )
        weights = domain if isinstance(domain, Points) else None
        domain = Packed([part.shape[1] for part in true], count, scales)
        if weights is not None:
            domain = domain.on(weights)
    joined = (torch.cat(parts, 1)[:, None] for parts in (predicted, true))
    return float(norm(*joined, domain).mean())
