"""Predictions of a model in pieces that fit into caches, and frame by frame."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from opkit.surrogate.bundle.normalise import PhysicalModel

MAX_POINTS = {"cpu": 2**16, "cuda": 2**22}
"""Points (samples times grid) that go through the operator at once: what the caches of
a CPU hold (measured: four times faster than 2**20), what keeps a GPU busy."""


def predict(
    model: PhysicalModel, inputs: Tensor, steps: int = 1, beside: Tensor | None = None
) -> Tensor:
    """Map (batch, [history,] channel, *space) to (batch, [steps,] channel, *space).

    Rollouts are written frame by frame into the result, unless gradients are wanted.
    """
    if not model.history:
        return forward(model, inputs, beside)
    made_by_step = frames(model, inputs, steps, beside)
    if steps == 1 or (inputs.requires_grad and torch.is_grad_enabled()):
        return torch.stack(list(made_by_step), 1)
    first = next(made_by_step)
    made = first.new_empty(len(first), steps, *first.shape[1:])
    made[:, 0] = first
    for k, frame in enumerate(made_by_step, 1):
        made[:, k] = frame
    return made


def frames(
    model: PhysicalModel, inputs: Tensor, steps: int, beside: Tensor | None = None
) -> Iterator[Tensor]:
    """Yield (batch, channel, *space) frames; only the window of the model is kept."""
    window = deque(inputs.unbind(1), maxlen=model.history)
    for _ in range(steps):
        frame = forward(model, torch.stack(tuple(window), 1), beside)[:, 0]
        window.append(frame)
        yield frame


def forward(model: PhysicalModel, inputs: Tensor, beside: Tensor | None) -> Tensor:
    """Call the model on a batch of any float type, at most `MAX_POINTS` at once."""
    weights = model.inputs.mean
    x = inputs.to(weights.device, weights.dtype)
    points = max(math.prod(x.shape[2:]), 1)
    size = max(MAX_POINTS.get(weights.device.type, 2**22) // points, 1)
    fixed: Sequence[Tensor | None] = [None] * max(-(-len(x) // size), 1)
    if beside is not None:
        fixed = torch.split(beside.to(x), size)
    pairs = zip(torch.split(x, size), fixed, strict=True)
    parts = [model(part, always) for part, always in pairs]
    return torch.cat(parts).to(inputs.device, inputs.dtype)
