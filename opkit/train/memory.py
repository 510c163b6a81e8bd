"""How much memory a training step needs, measured on one sample."""

from __future__ import annotations

import torch
from torch import Tensor

from opkit.normalise import PhysicalModel
from opkit.train.batches import beside
from opkit.train.problem import Problem


def step_bytes(model: PhysicalModel, problem: Problem) -> int:
    """Return the bytes of weights, gradients, optimiser and saved activations.

    Activations are counted by what autograd keeps of one sample, times the batch size.
    """
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    sample = {k: v[None] for k, v in problem.train[0].items()}
    steps = sample["outputs"].shape[1] if problem.history else 1
    unroll = problem.recipe.training.unroll
    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        model(sample["inputs"], beside(sample), min(steps, unroll or steps))
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    activations = sum(n for pointer, n in kept.items() if pointer not in own)
    return 4 * weights + activations * problem.recipe.training.batch_size
