"""Calibration at the end of training, from validation samples alone.

Where there are at least `problem.APART` validation samples, half of them choose the
best epoch, the exponents of the scale and the map of typical errors, and the other
half, which nothing was chosen on, gives the quantiles: their coverage is exact for new
samples of the same distribution. With fewer, the same samples choose the epoch and give
the quantiles: the bounds are then a little too small, and the model card says so.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opkit.errors import OpkitInputError
from opkit.metrics import functional as losses
from opkit.surrogate.bundle.record import CalibrationRecord
from opkit.surrogate.checks import conformal
from opkit.surrogate.checks.calibration import COVERAGE, POINTS, Calibration
from opkit.surrogate.checks.case_solver import Physics
from opkit.surrogate.checks.checker import describe
from opkit.surrogate.checks.novelty import Novelty
from opkit.surrogate.surrogate import Surrogate
from opkit.train.fields.problem import Problem
from opkit.train.loop.batches import Sample, Samples

Array = NDArray[np.float64]
MOST = 1000
"""Samples that a calibration uses at most, and training inputs it learns from."""
POWERS = (0.0, 0.5, 1.0)
GAIN = 0.95
"""A scale that varies must shrink the mean bound by this factor, or σ = 1."""
CHUNK = 2**20  # points predicted at once
SOLVED = 16  # samples solved again, where the surrogate's grid is not that of the data


@dataclass(frozen=True)
class Measured:
    """What a set of samples says.

    Args:
        errors: relative L2 (sample, frame).
        residual: (sample,), None where there is none.
        novelty: (sample,).
        difference: |û - u| (sample, frame, channel, *space).
    """

    errors: Array
    residual: Array | None
    novelty: Array
    difference: Tensor


def calibrate(surrogate: Surrogate, problem: Problem) -> Calibration:
    """Measure errors, residuals and novelty on validation samples.

    Args:
        surrogate: with its final weights.
        problem: its samples.
    """
    physics, reason = _physics(surrogate, problem.selection)
    novelty = Novelty.fit(_features(surrogate, problem.train))
    apart = problem.calibration is not problem.selection
    measure = _Measure(surrogate, novelty, physics)
    chosen = measure(problem.selection)
    if apart:
        powers = _powers(chosen)
        held = measure(problem.calibration)
        spread = chosen.difference.mean(0)
        # where the error is always zero, such as on a Dirichlet boundary
        spread = spread.clamp(min=1e-3 * float(spread.mean()) + 1e-30)
    else:
        powers, held = (0.0, 0.0), chosen
        spread = _typical(surrogate, chosen.difference[0])
    record = CalibrationRecord(
        samples=len(held.errors),
        selection="apart" if apart else "shared",
        source=problem.validation_source,
        residual_power=powers[0],
        novelty_power=powers[1],
        residual="" if physics is None else physics.case.solver.target,
        no_residual=reason,
        solver_error=_solver_error(physics, problem) if physics else 0.0,
    )
    empty = np.zeros((len(spread), record.samples))
    made = Calibration(record, novelty, held.novelty, empty, empty, spread)
    scale = made.scale(held.residual, held.novelty)
    relative = (held.difference / spread).flatten(2)
    inside = relative.kthvalue(math.ceil(POINTS * relative.shape[-1]), dim=-1).values
    return Calibration(
        record,
        novelty,
        np.sort(held.novelty),
        np.sort((held.errors / scale[:, None]).T, axis=-1),
        np.sort((inside.double().numpy() / scale[:, None]).T, axis=-1),
        spread,
    )


class _Measure:
    def __init__(
        self, surrogate: Surrogate, novelty: Novelty, physics: Physics | None
    ) -> None:
        self.surrogate, self.novelty, self.physics = surrogate, novelty, physics

    def __call__(self, samples: Samples) -> Measured:
        config, model = self.surrogate.config, self.surrogate.model
        errors, residuals, scores, differences = [], [], [], []
        for batch in _chunks(samples):
            inputs, target = batch["inputs"], batch["outputs"]
            beside = batch.get("static", batch.get("boundary"))
            steps = target.shape[1] if model.history else 1
            made = self.surrogate.predict(inputs, steps, beside)
            found = describe(config, model, inputs, beside)
            scores.append(self.novelty.score(found))
            if self.physics is not None:
                residuals.append(self.physics.residual(inputs, made, beside))
            if not model.history:
                made, target = made[:, None], target[:, None]
            error = losses.relative_l2(made.flatten(0, 1), target.flatten(0, 1))
            errors.append(error.view(made.shape[:2]).double())
            differences.append((made - target).abs())
        return Measured(
            torch.cat(errors).numpy(),
            np.concatenate(residuals) if residuals else None,
            torch.cat(scores).numpy(),
            torch.cat(differences),
        )


def _physics(surrogate: Surrogate, samples: Samples) -> tuple[Physics | None, str]:
    """Return the solver, or why there is no residual; tried on one sample."""
    try:
        physics = Physics(surrogate.config)
        batch = next(_chunks(samples, 1))
        beside = batch.get("static", batch.get("boundary"))
        target = batch["outputs"]
        physics.residual(batch["inputs"], target, beside)
    except OpkitInputError as error:
        return None, str(error)
    return physics, ""


def _solver_error(physics: Physics, problem: Problem) -> float:
    """Solve some samples on the surrogate's grid, where the data are of a finer one."""
    if problem.recipe.subsample == 1 or not physics.warm:
        return 0.0
    batch = next(_chunks(problem.selection, SOLVED))
    target = batch["outputs"]
    answer = physics.solve(batch["inputs"], target)
    return float(losses.relative_l2(answer.outputs, target.double()).max())


def _features(surrogate: Surrogate, samples: Samples) -> Tensor:
    config, model = surrogate.config, surrogate.model
    return torch.cat(
        [
            describe(config, model, b["inputs"], b.get("static", b.get("boundary")))
            for b in _chunks(samples)
        ]
    )


def _powers(chosen: Measured) -> tuple[float, float]:
    """Return the exponents (a, b) of the scale with the smallest mean bound."""
    errors = chosen.errors.mean(1)
    level = min(COVERAGE, len(errors) / (len(errors) + 1))
    residual, novelty = chosen.residual, chosen.novelty
    usable = residual is not None and bool(np.isfinite(residual).all())
    best, width = (0.0, 0.0), GAIN * float(conformal.quantile(errors, level))
    for a, b in itertools.product(POWERS if usable else (0.0,), POWERS):
        if a == b == 0:
            continue
        scale = np.maximum(novelty, 1e-300) ** b
        if residual is not None and a:
            scale = scale * np.maximum(residual, 1e-300) ** a
        bound = float(conformal.quantile(errors / scale, level) * scale.mean())
        if bound < width:
            best, width = (a, b), bound
    return best


def _typical(surrogate: Surrogate, like: Tensor) -> Tensor:
    """Return a constant scale for each channel: a quarter of its training range."""
    outputs = surrogate.model.outputs
    quarter = ((outputs.high - outputs.low) / 4).cpu().to(like)
    quarter = torch.where(quarter > 0, quarter, torch.ones_like(quarter))
    return quarter.view(-1, *(1,) * (like.ndim - 2)).expand_as(like).clone()


def _chunks(samples: Samples, most: int = MOST) -> itertools.chain[Sample]:
    first = samples[0]
    points = max(field.nelement() for field in first.values())
    size = max(CHUNK // points, 1)
    count = min(len(samples), most)

    def made(start: int) -> Sample:
        items = [samples[i] for i in range(start, min(start + size, count))]
        return {k: torch.stack([item[k] for item in items]) for k in first}

    return itertools.chain(map(made, range(0, count, size)))
