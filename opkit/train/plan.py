"""What training would need."""

from __future__ import annotations

import math
from dataclasses import dataclass

from opkit.recipe import Recipe


@dataclass(frozen=True)
class Plan:
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
