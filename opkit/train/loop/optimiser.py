"""Optimisers, and learning-rate schedules as functions of their step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from opkit.case.recipe import Training


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


def refuse_other_state(
    training: Training,
    parameters: Sequence[Tensor],
    state: Mapping[int, Mapping[str, Any]],
) -> None:
    """Hold what a checkpoint says of each parameter against what an optimiser keeps.

    One step of the same optimiser on a trial layer shows which tensors it keeps for
    each parameter. It keeps none for a parameter that never had a gradient.

    Args:
        training: recipe of the optimiser.
        parameters: in its order.
        state: number of the parameter to names and values.

    Raises:
        ValueError: another parameter, name or shape.
    """
    trial = nn.Linear(3, 1, bias=False)
    trial.weight.grad = torch.zeros(1, 3)
    optimiser = build_optimiser(trial, training)
    optimiser.step()
    own = optimiser.state[trial.weight]
    if not state:
        raise ValueError(f"no state of {training.optimiser} for any parameter")
    for index, entries in state.items():
        shape = parameters[index].shape
        wanted = {
            name: shape if torch.as_tensor(value).ndim else torch.Size()
            for name, value in own.items()
        }
        shapes = {name: torch.as_tensor(v).shape for name, v in entries.items()}
        if type(index) is not int or index < 0 or shapes != wanted:
            raise ValueError(f"no state of {training.optimiser} for {index!r}")
