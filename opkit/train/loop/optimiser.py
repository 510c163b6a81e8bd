"""Learning-rate schedules as functions of the optimiser step, without state."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from opkit.case.recipe import Training

if TYPE_CHECKING:
    pass


def factor(training: Training, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step over the recipe's ``learning_rate``.

    Args:
        training: recipe.
        step: optimiser steps done so far, from 0.
        steps_per_epoch: optimiser steps in an epoch.

    ``onecycle`` (Smith and Topin 2018) rises from 1/25 along half a cosine for the
    fraction ``warmup`` of all steps and falls to 1/250 000; ``cosine`` falls from 1 to
    0; ``step`` multiplies by ``step_factor`` every ``step_size`` epochs.
    """
    total = training.epochs * steps_per_epoch
    if training.schedule == "constant":
        return 1.0
    if training.schedule == "step":
        done = step // steps_per_epoch // training.step_size
        return float(training.step_factor**done)
    if training.schedule == "cosine":
        return _cosine(1.0, 0.0, step / total)
    low, final = 1 / 25, 1 / 25 / 1e4
    peak = training.warmup * total - 1  # the step at which the factor is 1
    if step < peak:
        return _cosine(low, 1.0, step / peak)
    return _cosine(1.0, final, (step - peak) / max(total - 1 - peak, 1))


def _cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(part, 1.0))) / 2


def build_optimiser(model: nn.Module, training: Training) -> torch.optim.Optimizer:
    """Construct the recipe's optimiser."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    rate, decay = training.learning_rate, training.weight_decay
    if training.optimiser == "sgd":
        return torch.optim.SGD(
            parameters, rate, momentum=0.9, nesterov=True, weight_decay=decay
        )
    kind = torch.optim.Adam if training.optimiser == "adam" else torch.optim.AdamW
    # fused kernels unscale gradients themselves: not with the scaler of fp16
    fused = training.precision != "fp16-mixed"
    fused = fused and all(p.is_floating_point() for p in parameters)
    return kind(parameters, rate, weight_decay=decay, fused=fused)
