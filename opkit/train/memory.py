"""How much memory a training step needs, measured on few samples."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def step_bytes(model: nn.Module, forward: Callable[[], object], times: float) -> int:
    """Return the bytes of weights, gradients, optimiser and saved activations.

    Args:
        model: what is trained.
        forward: computes a loss of a few samples, or what it is made of.
        times: how many times as many samples a step has; activations, counted by what
            autograd keeps of ``forward``, grow by that.
    """
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        forward()
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    activations = sum(n for pointer, n in kept.items() if pointer not in own)
    return 4 * weights + round(activations * times)
