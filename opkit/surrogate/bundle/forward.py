"""Predictions of a model in pieces that fit into caches, and frame by frame."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from opkit.errors import OpkitInputError
from opkit.operators.inputs import Inputs
from opkit.operators.interface import AnswersAnywhere, KnowsDeviation
from opkit.surrogate.bundle.normalise import PhysicalModel

MAX_POINTS = {"cpu": 2**16, "cuda": 2**22}
"""Points (samples times grid) that go through the operator at once: what the caches of
a CPU hold (measured: four times faster than 2**20), what keeps a GPU busy."""


def predict(model: PhysicalModel, inputs: Inputs, steps: int = 1) -> Tensor:
    """Map (batch, [history,] channel, *space) to (batch, [steps,] channel, *space).

    Rollouts are written frame by frame into the result, unless gradients are wanted.
    """
    if not model.history:
        return forward(model, inputs)
    check_steps(steps)
    by_step = frames(model, inputs, steps)
    differentiable = any(part.requires_grad for part in inputs.by_role.values())
    if steps == 1 or (differentiable and torch.is_grad_enabled()):
        return torch.stack(list(by_step), 1)
    first = next(by_step)
    rollout = first.new_empty(len(first), steps, *first.shape[1:])
    rollout[:, 0] = first
    for k, frame in enumerate(by_step, 1):
        rollout[:, k] = frame
    return rollout


def check_steps(steps: Any) -> None:
    """Refuse what is no number of steps.

    Raises:
        OpkitInputError: no whole number, or one below 1.
    """
    whole = isinstance(steps, int | np.integer) and not isinstance(steps, bool)
    if not whole or steps < 1:
        raise OpkitInputError(f"steps {steps}: give a whole number from 1 on")


def frames(model: PhysicalModel, inputs: Inputs, steps: int) -> Iterator[Tensor]:
    """Yield (batch, channel, *space) frames; only the window of the model is kept."""
    window = deque(inputs.fields.unbind(1), maxlen=model.history)
    for k in range(steps):
        step = inputs.at_step(k, model.history)
        before = step._replace(fields=torch.stack(tuple(window), 1))
        frame = forward(model, before)[:, 0]
        window.append(frame)
        yield frame


def forward(model: PhysicalModel, inputs: Inputs) -> Tensor:
    """Call the model on a batch of any float type, at most `MAX_POINTS` at once."""
    fields = inputs.fields
    parts = [model(part) for part in _pieces(model, inputs)]
    outputs = parts[0] if len(parts) == 1 else torch.cat(parts)
    return outputs.to(fields.device, fields.dtype)


def answers_anywhere(model: PhysicalModel) -> bool:
    """Whether the operator's answer is a function of the place."""
    return isinstance(model.operator, AnswersAnywhere) and not model.history


def at(model: PhysicalModel, inputs: Inputs, points: Tensor) -> Tensor:
    """Answer of the operator itself at points, (batch, channel, point).

    Args:
        model: whose operator answers anywhere.
        inputs: a batch, physical units.
        points: (point, axis), as `AnswersAnywhere.at` takes them.

    Raises:
        OpkitInputError: the operator answers at nodes alone.
    """
    operator = model.operator
    if not isinstance(operator, AnswersAnywhere) or model.history:
        raise OpkitInputError("the operator answers at its nodes alone")
    points = points.to(model.inputs.mean)
    parts = [operator.at(model.encode(part), points) for part in _pieces(model, inputs)]
    outputs = model.outputs.decode(torch.cat(parts))
    return outputs.to(inputs.fields.device, inputs.fields.dtype)


def knows_deviation(model: PhysicalModel) -> bool:
    """Whether the operator gives standard deviations of its answers."""
    return isinstance(model.operator, KnowsDeviation) and not model.history


@torch.no_grad()
def deviation(model: PhysicalModel, inputs: Inputs) -> Tensor:
    """Standard deviation of the answer (batch, channel, *space), physical units.

    Raises:
        OpkitInputError: the operator gives none.
    """
    std = torch.cat([deviation_of(model, part) for part in _pieces(model, inputs)])
    return std.to(inputs.fields.device, inputs.fields.dtype)


def deviation_of(model: PhysicalModel, inputs: Inputs) -> Tensor:
    """Return the same of a batch that is where the weights are, in one piece.

    Raises:
        OpkitInputError: the operator gives none.
    """
    operator = model.operator
    if not isinstance(operator, KnowsDeviation) or model.history:
        raise OpkitInputError("the operator does not say how uncertain its answers are")
    std = operator.deviation(model.encode(inputs))
    return std * model.outputs.std.view(-1, *(1,) * (std.ndim - 2))


def _pieces(model: PhysicalModel, inputs: Inputs) -> list[Inputs]:
    """Cut a batch into pieces of at most `MAX_POINTS`, where and as the weights are."""
    weights = model.inputs.mean
    points = max(math.prod(inputs.fields.shape[2:]), 1)
    size = max(MAX_POINTS.get(weights.device.type, 2**22) // points, 1)
    inputs = inputs.each(lambda part: part.to(weights.device, weights.dtype))
    return [inputs] if inputs.batch <= size else inputs.split(size)
