"""New training samples where a surrogate is worst, by its own estimate.

A pool of inputs is drawn from the case's distribution; each is predicted and judged,
which needs no solution; the worst are solved. Sample i of seed s is the same as in any
other file of the case, so the pair (seed, numbers) tells the content.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opkit.case.data import DType, draw, header_of
from opkit.case.record import Case
from opkit.datasets.agreement import Quantity, Stated, refuse_other, span_of
from opkit.datasets.read import DataFile
from opkit.errors import BundleError, CaseError
from opkit.surrogate.adapters.arrays import batch_of
from opkit.surrogate.bundle import files as bundle
from opkit.surrogate.bundle.record import BundleConfig
from opkit.surrogate.bundle.run_directory import RunDirectory
from opkit.surrogate.checks.checker import Verdict
from opkit.surrogate.surrogate import Surrogate, load

CHUNK = 64  # samples judged at once


@dataclass(frozen=True)
class PoolSelection:
    """Which samples of a pool to solve.

    Args:
        case: with as many training samples as were picked, and no others.
        numbers: of their random streams, increasing.
        uncertainty: of all samples of the pool.
        marks: provenance: what picked, from how many.
    """

    case: Case
    numbers: list[int]
    uncertainty: NDArray[np.float64]
    marks: dict[str, object]


def pick(
    run: Path,
    case: Case,
    count: int,
    pool: int,
    seed: int,
    dtype: DType = "float32",
    device: str = "cpu",
) -> PoolSelection:
    """Draw a pool, judge the predictions, and pick the most uncertain samples.

    Args:
        run: run directory or bundle of the surrogate.
        case: the problem, on the grid that the surrogate was trained for.
        count: samples to pick.
        pool: samples to draw.
        seed: of the pool; another than that of the surrogate's training data.
        dtype: of the file to be made, to which inputs are rounded.
        device: of the surrogate.

    Raises:
        CaseError: another case or grid, the seed of the training data, or a pool that
            is not larger than what is picked.
        BundleError: no bundle, or one without calibration.
    """
    if not 0 < count <= pool:
        raise CaseError(f"{count} of a pool of {pool}: give a larger --pool")
    surrogate = load(run, device)
    _refuse_other_problem(surrogate, case, run, seed)
    solver = case.build_solver()
    inputs_of_case = header_of(case, solver, seed, None, dtype).inputs
    stride = surrogate.config.recipe.subsample
    cut: Any = (..., *(slice(None, None, stride) for _ in surrogate.config.axes))
    values_by_chunk = []
    for start in range(0, pool, CHUNK):
        drawn = [
            draw(case, solver, seed, i, dtype, inputs_of_case)
            for i in range(start, min(start + CHUNK, pool))
        ]
        stacked = {name: np.stack([d[name] for d in drawn]) for name in drawn[0]}
        config = surrogate.config
        numbers = {v.name for v in (*config.parameters, *config.series)}
        arrays = {
            name: (values if name in numbers else values[cut]).astype(np.float32)
            for name, values in stacked.items()
        }
        inputs, _ = batch_of(arrays, surrogate.config)
        verdict = surrogate.checker.judge(inputs, surrogate.predict(inputs))
        values_by_chunk.append(uncertainty(surrogate, verdict))
    values = np.concatenate(values_by_chunk)
    order = np.argsort(-values, kind="stable")[:count]
    marks = {
        "picked_by": bundle.read_config(run).weights_sha256,
        "picked_from": pool,
    }
    split = case.samples.model_copy(update={"train": count, "validation": 0, "test": 0})
    return PoolSelection(
        case.model_copy(update={"samples": split}),
        [int(i) for i in np.sort(order)],
        values,
        marks,
    )


def uncertainty(surrogate: Surrogate, verdict: Verdict) -> NDArray[np.float64]:
    """Return what to order samples by, (batch,).

    σ, or the reading of the first check there is where σ = 1.
    """
    powers = surrogate.checker.calibration.record.powers
    if any(powers.values()):
        return verdict.scale
    return next(iter(verdict.readings.values()))


def _stated(case: Case, config: BundleConfig) -> Stated:
    """Say on which domain and in which units a case's samples are."""
    header = header_of(case, case.build_solver(), 0, None, "float32")
    coordinates = [(axis, header.coordinates[axis]) for axis in config.axes]
    spans = {
        axis: span_of(axis, c.values, c.units, case.periodic[axis])
        for axis, c in coordinates
    }
    units = {v.name: v.units for v in case.inputs}
    inputs = (Quantity(v.name, v.channels, units[v.name]) for v in config.inputs)
    return Stated({"inputs": tuple(inputs)}, spans)


def _refuse_other_problem(
    surrogate: Surrogate, case: Case, run: Path, seed: int
) -> None:
    config = surrogate.config
    if (
        config.recipe.arrangement.needs_time
        or config.boundary
        or not config.shape.spectral
    ):
        raise CaseError(
            f"{run}: only surrogates that map fields on a grid to fields choose samples"
        )
    names = {v.name for v in config.inputs}
    if names != {v.name for v in case.inputs} or case.name != config.case.get("name"):
        raise CaseError(
            f"{run}: trained for {config.case.get('name')}, not for {case.name}"
        )
    refuse_other(config.stated, _stated(case, config), f"{run} was trained on")
    stride = config.recipe.subsample
    shape = tuple(-(-n // stride) for n in case.shape)
    if shape != config.shape.shape:
        raise CaseError(
            f"{run}: trained on {config.shape.shape}, this case has {shape} after "
            f"sub-sampling by {stride}: give its --resolution"
        )
    try:
        data = Path(RunDirectory(run).config().get("data", ""))
        with DataFile(data) as file:
            used = file.header.seed
    except (BundleError, OSError, ValueError):
        return  # a bundle alone, or data that are gone: training will notice overlaps
    if used == seed:
        raise CaseError(
            f"seed {seed} is that of the training data {data.name}: its samples are "
            "known; choose another --seed"
        )
