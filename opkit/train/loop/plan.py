"""What training would need: steps, parameters, memory.

The memory of a training step is measured on few samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from opkit.base.show import Shown
from opkit.case.recipe import Recipe


@dataclass(frozen=True, repr=False)
class Plan(Shown):
    """What training would need, without doing it.

    Args:
        recipe: with overrides.
        parameters: trainable numbers.
        train_samples: of an epoch.
        validation_samples: in all.
        steps_per_epoch: of the optimiser.
        steps: of the optimiser, in all epochs.
        data_bytes: of the training samples that are held in memory.
        step_bytes: of weights, gradients, optimiser and activations.
    """

    recipe: Recipe
    parameters: int
    train_samples: int
    validation_samples: int
    steps_per_epoch: int
    steps: int
    data_bytes: int
    step_bytes: int

    def _facts(self) -> dict[str, Any]:
        return {
            "operator": self.recipe.operator,
            "parameters": f"{self.parameters:,}",
            "training samples": self.train_samples,
            "validation samples": self.validation_samples,
            "epochs": self.recipe.training.epochs,
            "steps": self.steps,
            "data": f"{self.data_bytes / 1e6:.3g} MB",
            "memory of a step": f"{self.step_bytes / 1e6:.3g} MB",
        }

    @classmethod
    def of(cls, recipe: Recipe, *, train_samples: int, **numbers: int) -> Plan:
        """Count steps and put the rest in its place."""
        training = recipe.training
        batches = math.ceil(train_samples / training.batch_size)
        steps = math.ceil(batches / training.accumulate)
        return cls(
            recipe=recipe,
            train_samples=train_samples,
            steps_per_epoch=steps,
            steps=steps * training.epochs,
            **numbers,
        )


def saved_bytes(forward: Callable[[], object], known: Iterable[Tensor]) -> int:
    """Return the bytes that autograd keeps of a computation for its backward pass.

    Args:
        forward: computes something that needs gradients.
        known: tensors that live on anyway, such as weights; they do not count.
    """
    own = {tensor.untyped_storage().data_ptr() for tensor in known}
    bytes_by_storage: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            bytes_by_storage[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        result = forward()
    total = sum(bytes_by_storage.values())
    del result  # what it holds must live until here, or its storage is counted twice
    return total


def step_bytes(model: nn.Module, forward: Callable[[], object], times: float) -> int:
    """Return the bytes of weights, gradients, optimiser and saved activations.

    Args:
        model: what is trained.
        forward: computes a loss of a few samples, or what it is made of.
        times: how many times as many samples a step has; activations grow by that.
    """
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    return 4 * weights + round(saved_bytes(forward, model.parameters()) * times)
