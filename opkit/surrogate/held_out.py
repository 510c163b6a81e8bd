"""Samples that a surrogate was not trained on, to measure errors with afterwards.

Of the data file of the training they are those that its error bounds were made of,
which follow from the seed; of any other file its test or validation samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from opkit.base.arrays import Array
from opkit.base.seeds import apart
from opkit.datasets.field_dataset import FieldDataset, alone, collate
from opkit.datasets.read import DataFile
from opkit.errors import BundleError, DataError
from opkit.metrics import functional
from opkit.metrics.domains import Points
from opkit.operators.inputs import Inputs
from opkit.surrogate.adapters.refuse import refuse_other_data
from opkit.surrogate.bundle import forward
from opkit.surrogate.bundle.normalise import packed_domain
from opkit.surrogate.bundle.record import BundleConfig
from opkit.surrogate.bundle.run_directory import data_of_run
from opkit.surrogate.checks import ASK_SOLVER
from opkit.surrogate.checks.calibration import (
    Calibration,
    inside,
    lengthened,
    scale,
)
from opkit.surrogate.checks.functions import QuantityFunction
from opkit.surrogate.checks.interface import Pairs
from opkit.surrogate.checks.nodes import with_points
from opkit.surrogate.checks.quantities import Quantities, quantity_errors

APART = 40
"""Validation samples from which on a half is kept for error bounds alone: 20 samples
make bounds of 95 % coverage."""
MOST = 1000
"""Samples that errors are measured on at most."""


def calibrated(
    functions: Mapping[str, QuantityFunction],
    calibration: Calibration,
    source: Path | None,
    data: Path | None,
) -> dict[str, QuantityFunction]:
    """Measure the errors of functions on held-out samples.

    Args:
        functions: by name.
        calibration: of the surrogate.
        source: run directory or bundle that the surrogate came from.
        data: file with the samples; None for that of the training.

    Returns:
        The functions with errors, or with the reason why there are none: the data file
        of the training is not at hand. A file that was named has to do.

    Raises:
        BundleError: the file that was named holds no samples that may be used.
        DataError: it cannot be read, or holds other variables.
        OpkitInputError: a function gives no number.
    """
    config = calibration.context.config
    try:
        samples = _samples(config, source, data)
    except BundleError as error:
        if data is not None:
            raise
        return {k: replace(f, reason=str(error)) for k, f in functions.items()}
    gaps: dict[str, list[Array]] = {name: [] for name in functions}
    for pairs, prediction in _predicted(calibration, samples):
        powers = calibration.record.powers
        readings = {
            name: check.score(Pairs(pairs.inputs, prediction)).values
            for name, check in calibration.checks.items()
            if powers[name]
        }
        sigma = scale(powers, readings, len(prediction))
        for name, function in functions.items():
            here = function.of(config, pairs.inputs, prediction)
            there = function.of(config, pairs.inputs, pairs.outputs)
            gap = np.abs(here - there).reshape(len(here), -1)
            gaps[name].append(gap / sigma[:, None])
    return {
        name: replace(function, errors=np.sort(np.concatenate(gaps[name]).T, axis=-1))
        for name, function in functions.items()
    }


def without_solver(
    calibration: Calibration, source: Path | None, data: Path | None = None
) -> Calibration:
    """Return a calibration that no solver is needed for.

    What the solver computes, such as the residual of the PDE, is left out. Where it was
    part of the scale of errors, they are measured again, on the same samples, with σ of
    the other readings.

    Args:
        calibration: of the surrogate.
        source: run directory or bundle that the surrogate came from.
        data: file with the samples; None for that of the training.

    Raises:
        BundleError: errors are to be measured, and no samples are at hand.
        DataError: the file cannot be read, or holds other variables.
    """
    record = calibration.record
    asked = ASK_SOLVER & calibration.checks.keys()
    if not asked:
        return calibration
    powers = {k: v for k, v in record.powers.items() if k not in asked}
    less = replace(
        calibration,
        record=record.model_copy(
            update={
                "powers": powers,
                "checks": {k: v for k, v in record.checks.items() if k not in asked},
            }
        ),
        checks={k: v for k, v in calibration.checks.items() if k not in asked},
        scores={k: v for k, v in calibration.scores.items() if k not in asked},
    )
    if not any(record.powers[name] for name in asked):
        return less
    context = calibration.context
    config = context.config
    samples = _samples(config, source, data)
    parts: dict[str, list[Array]] = {"errors": [], "points": []}
    quantities = Quantities(context)
    for pairs, prediction in _predicted(less, samples):
        readings = {
            name: check.score(Pairs(pairs.inputs, prediction)).values
            for name, check in less.checks.items()
            if powers[name]
        }
        sigma = scale(powers, readings, len(prediction))[:, None]
        for key, gap in quantity_errors(quantities, pairs, prediction).items():
            parts.setdefault(f"quantity {key}", []).append(gap / sigma)
        outputs, target = prediction, pairs.outputs
        if not config.history:
            outputs, target = outputs[:, None], target[:, None]
        weights, points = pairs.inputs.weights, None
        if config.shape.ragged and weights is not None:
            points = Points(weights)
        packed = packed_domain(context.model.outputs, points)
        error = functional.relative_l2(
            outputs.flatten(0, 1),
            target.flatten(0, 1),
            points if packed is None else packed,
        )
        parts["errors"].append(error.view(outputs.shape[:2]).double().numpy() / sigma)
        off_by = (outputs - target).abs()
        spread = lengthened(config.shape.packing, calibration.spread, off_by.shape[-1])
        off = inside(off_by / spread)
        parts["points"].append(off.double().numpy() / sigma)
    ordered = {k: np.sort(np.concatenate(v).T, axis=-1) for k, v in parts.items()}
    return replace(
        less,
        record=less.record.model_copy(update={"samples": len(samples)}),
        errors=ordered["errors"],
        points=ordered["points"],
        quantities={
            name: ordered[f"quantity {name}"]
            for name in calibration.quantities
            if f"quantity {name}" in ordered
        },
    )


def _predicted(
    calibration: Calibration, samples: list[tuple[FieldDataset, int]]
) -> Iterator[tuple[Pairs, Tensor]]:
    """Yield each sample, a batch of one, and what is predicted for it."""
    context = calibration.context
    arrays = {name: t.cpu() for name, t in context.model.mesh.named_buffers()}
    shape = context.config.shape.build(arrays)
    for dataset, index in samples:
        item = dataset[index]
        batch = alone(item) if dataset.header.ragged else collate([item])
        outputs = batch["outputs"]
        steps = outputs.shape[1] if context.config.history else 1
        inputs = with_points(Inputs.of(batch), context, shape)
        yield Pairs(inputs, outputs), forward.predict(context.model, inputs, steps)


def _samples(
    config: BundleConfig, source: Path | None, data: Path | None
) -> list[tuple[FieldDataset, int]]:
    """Return samples as datasets with positions.

    Raises:
        BundleError: none are known that the surrogate was not trained on.
    """
    asked = data is not None
    if data is None:
        if source is None:
            raise BundleError("the surrogate came from no file: give data=FILE")
        try:
            data = data_of_run(source)
        except BundleError as error:
            said = str(error).replace("give --data FILE", "give data=FILE")
            raise BundleError(said) from None
    with DataFile(data) as file:
        header, own = file.header, file.content_hash() == config.provenance.data_hash
    if own and not config.provenance.more_data:
        return _of_training(config, data)[:MOST]
    if not asked or own:
        what = "trained with further files" if own else "not the file of the training"
        raise BundleError(
            f"{data}: {what}: give data=FILE, a file with a test or validation split "
            "that the surrogate was not trained on"
        )
    split = next((s for s in ("test", "validation") if s in header.splits), None)
    if split is None:
        raise BundleError(f"{data}: has no test or validation split: give another file")
    others = config.recipe.samples(data, split, trusted=True)
    refuse_other_data(config, others)
    return [(others, i) for i in range(min(len(others), MOST))]


def _of_training(config: BundleConfig, data: Path) -> list[tuple[FieldDataset, int]]:
    """Return the samples that the error bounds were made of."""
    source, seed = config.provenance.validation_source, config.provenance.seed
    samples = config.recipe.samples(data, source, trusted=True, whole=False)
    rows = list(range(len(samples)))
    if source == "train":
        _, rows = apart(len(rows), config.recipe.training.holdout, seed)
    if len(rows) >= APART:
        rows = [rows[k] for k in apart(len(rows), 0.5, seed)[1]]
    if not rows:
        raise DataError(f"{data}: holds no samples to measure errors on")
    return [(samples, row) for row in rows]
