"""Calibration at the end of training, from validation samples alone.

Where there are at least `held_out.APART` validation samples, half of them choose the
best epoch, the exponents of the scale and the map of typical errors, and the other
half, which nothing was chosen on, gives the quantiles: their coverage is exact for new
samples of the same distribution. With fewer, the same samples choose the epoch and give
the quantiles: the bounds are then a little too small, and the model card says so.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from opkit.base.arrays import Array
from opkit.datasets.field_dataset import alone, collate
from opkit.errors import OpkitInputError
from opkit.metrics import functional
from opkit.operators.inputs import Inputs
from opkit.operators.shapes import Packing
from opkit.surrogate.bundle.normalise import PackedNormaliser, packed_domain
from opkit.surrogate.bundle.record import CalibrationRecord
from opkit.surrogate.checks import CHECKS, conformal
from opkit.surrogate.checks.calibration import (
    COVERAGE,
    Calibration,
    inside,
    lengthened,
    scale,
)
from opkit.surrogate.checks.interface import Check, Context, Pairs
from opkit.surrogate.checks.quantities import Quantities, quantity_errors
from opkit.surrogate.surrogate import Surrogate
from opkit.train.fields.setup import TrainingSetup
from opkit.train.loop.batches import Sample, Samples

MOST = 1000
"""Samples that a calibration uses at most, and training inputs it learns from."""
GAIN = 0.95
"""A scale that varies must shrink the mean bound by this factor, or σ = 1."""
CHUNK = 2**20  # points predicted at once
SOLVED = 16  # samples solved again, where the surrogate's grid is not that of the data


@dataclass(frozen=True)
class Measurement:
    """What a set of samples says.

    Args:
        errors: relative L2 (sample, frame).
        readings: (sample,) by check.
        differences: |û - u| (batch, frame, channel, *space) of some samples each.
        quantities: |q(û) - q(u)| (sample, frame) by quantity of interest.
    """

    errors: Array
    readings: dict[str, Array]
    differences: list[Tensor]
    quantities: dict[str, Array]


def calibrate(surrogate: Surrogate, setup: TrainingSetup) -> Calibration:
    """Fit the checks on training samples, and measure errors on validation samples.

    Args:
        surrogate: with its final weights.
        setup: its samples.
    """
    context = Context(surrogate.config, surrogate.model)
    checks, unavailable = _fit(context, setup.train)
    quantities = Quantities(context)
    apart = setup.calibration is not setup.selection
    packing = surrogate.config.shape.packing
    of_points = setup.ragged and packing is None
    chosen = _measure(surrogate, checks, quantities, setup.selection)
    if apart:
        powers = _powers(chosen, checks)
        held_out = _measure(surrogate, checks, quantities, setup.calibration)
        spread = _mean(chosen.differences, of_points, packing)
        # where the error is always zero, such as on a Dirichlet boundary
        spread = spread.clamp(min=1e-3 * _usual(surrogate, spread) + 1e-30)
    else:
        powers, held_out = dict.fromkeys(checks, 0.0), chosen
        spread = _typical(surrogate, _mean(chosen.differences, of_points, packing))
    sigma = scale(powers, held_out.readings, len(held_out.errors))
    within = torch.cat(
        [
            inside(each / lengthened(packing, spread, each.shape[-1]))
            for each in held_out.differences
        ]
    )
    return Calibration(
        CalibrationRecord(
            samples=len(held_out.errors),
            selection="apart" if apart else "shared",
            source=setup.validation_source,
            checks={name: check.describe() for name, check in checks.items()},
            powers=powers,
            unavailable=unavailable,
            quantities={name: quantities.units[name] for name in held_out.quantities},
            solver_error=_solver_error(context, setup),
        ),
        context,
        checks,
        {name: np.sort(values) for name, values in held_out.readings.items()},
        np.sort((held_out.errors / sigma[:, None]).T, axis=-1),
        np.sort((within.double().numpy() / sigma[:, None]).T, axis=-1),
        spread,
        {
            name: np.sort((errors / sigma[:, None]).T, axis=-1)
            for name, errors in held_out.quantities.items()
        },
    )


def _fit(context: Context, samples: Samples) -> tuple[dict[str, Check], dict[str, str]]:
    """Return the checks there can be by name, and why there are no others."""
    checks: dict[str, Check] = {}
    unavailable = {}
    for kind in CHECKS:
        try:
            checks[kind.name] = kind.fit(context, map(_pairs, _chunks(samples)))
        except OpkitInputError as error:
            unavailable[kind.name] = str(error)
    return checks, unavailable


def _measure(
    surrogate: Surrogate,
    checks: dict[str, Check],
    quantities: Quantities,
    samples: Samples,
) -> Measurement:
    errors, differences = [], []
    packed = packed_domain(surrogate.model.outputs)
    ragged = surrogate.config.shape.ragged
    off: dict[str, list[Array]] = {}
    readings: dict[str, list[Array]] = {name: [] for name in checks}
    for batch in _chunks(samples):
        true = _pairs(batch)
        target = true.outputs
        steps = target.shape[1] if surrogate.model.history else 1
        outputs = surrogate.predict(true.inputs, steps)
        for name, check in checks.items():
            pairs = Pairs(true.inputs, outputs)
            readings[name].append(check.score(pairs).values)
        for name, gap in quantity_errors(quantities, true, outputs).items():
            off.setdefault(name, []).append(gap)
        if not surrogate.model.history:
            outputs, target = outputs[:, None], target[:, None]
        error = functional.relative_l2(
            outputs.flatten(0, 1),
            target.flatten(0, 1),
            surrogate.domain_of(true.inputs) if ragged else packed,
        )
        errors.append(error.view(outputs.shape[:2]).double())
        differences.append((outputs - target).abs())
    return Measurement(
        torch.cat(errors).numpy(),
        {name: np.concatenate(parts) for name, parts in readings.items()},
        differences,
        {name: np.concatenate(parts) for name, parts in off.items()},
    )


def _mean(
    differences: list[Tensor], of_points: bool, packing: Packing | None
) -> Tensor:
    """Mean over samples (frame, channel, *space); over points too where they differ."""
    if packing is not None:
        differences = [packing.shorten(each) for each in differences]
    if of_points:
        differences = [each.mean(-1, keepdim=True) for each in differences]
    return torch.cat(differences).mean(0)


def _pairs(batch: Sample) -> Pairs:
    return Pairs(Inputs.of(batch), batch["outputs"])


def _solver_error(context: Context, setup: TrainingSetup) -> float:
    """Solve some samples on the surrogate's grid, where the data are of a finer one."""
    if setup.recipe.subsample == 1:
        return 0.0
    batch = next(_chunks(setup.selection, SOLVED))
    target = batch["outputs"]
    try:
        if not context.case_solver.warm:
            return 0.0
        answer = context.case_solver.solve(Inputs.of(batch), target)
    except OpkitInputError:  # no solver: nothing is solved in place of a prediction
        return 0.0
    return float(functional.relative_l2(answer.outputs, target.double()).max())


def _powers(chosen: Measurement, checks: dict[str, Check]) -> dict[str, float]:
    """Return the exponents of the readings with the smallest mean bound, by check."""
    errors = chosen.errors.mean(1)
    level = min(COVERAGE, len(errors) / (len(errors) + 1))
    tried = [
        check.powers if np.isfinite(chosen.readings[name]).all() else (0.0,)
        for name, check in checks.items()
    ]
    best = dict.fromkeys(checks, 0.0)
    width = GAIN * float(conformal.quantile(errors, level))
    for exponents in itertools.product(*tried):
        powers = dict(zip(checks, exponents, strict=True))
        if not any(exponents):
            continue
        sigma = scale(powers, chosen.readings, len(errors))
        bound = float(conformal.quantile(errors / sigma, level) * sigma.mean())
        if bound < width:
            best, width = powers, bound
    return best


def _usual(surrogate: Surrogate, spread: Tensor) -> Tensor:
    """Mean of typical errors: one of fields, one per kind of outputs of several."""
    outputs = surrogate.model.outputs
    if not isinstance(outputs, PackedNormaliser):
        return spread.mean()
    brief = outputs.packing.brief
    parts = torch.split(spread, list(brief.sizes), -1)
    return brief.each(torch.stack([part.mean() for part in parts]))


def _typical(surrogate: Surrogate, like: Tensor) -> Tensor:
    """Return a constant scale for each channel: a quarter of its training range."""
    outputs = surrogate.model.outputs
    quarter = ((outputs.high - outputs.low) / 4).cpu().to(like)
    quarter = torch.where(quarter > 0, quarter, torch.ones_like(quarter))
    if isinstance(outputs, PackedNormaliser):
        return outputs.packing.brief.each(quarter).expand_as(like).clone()
    return quarter.view(-1, *(1,) * (like.ndim - 2)).expand_as(like).clone()


def _chunks(samples: Samples, most: int = MOST) -> itertools.chain[Sample]:
    first = samples[0]
    if "sample" in first:  # samples of several lengths: one by one
        count = min(len(samples), most)
        return itertools.chain(alone(samples[i]) for i in range(count))
    points = max(field.nelement() for field in first.values())
    size = max(CHUNK // points, 1)
    count = min(len(samples), most)

    def chunk(start: int) -> Sample:
        items = [samples[i] for i in range(start, min(start + size, count))]
        return collate(items)

    return itertools.chain(map(chunk, range(0, count, size)))
