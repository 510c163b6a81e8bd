"""Real inputs to execute an export on: samples of the surrogate's own data."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from opkit.bundle import BundleConfig
from opkit.datasets.field_dataset import FieldDataset
from opkit.errors import DataError
from opkit.rundir import data_of_run

MOST = 8
"""Samples that an export is compared on."""


def real_inputs(
    run: Path, config: BundleConfig, data: Path | None = None
) -> tuple[Tensor, ...]:
    """Return up to `MOST` samples: inputs, and what is given beside them.

    Args:
        run: run directory or bundle.
        config: the bundle's record.
        data: data file; the one the run was trained on where not given.

    Raises:
        BundleError: the data file is not known or gone.
        DataError: the data cannot be read, or have another grid.
    """
    path = data if data is not None else data_of_run(run)
    recipe = config.recipe
    split = config.scores[0].split if config.scores else "test"
    samples = FieldDataset(
        path, split, recipe.subsample, mode=recipe.mode, history=recipe.history
    )
    items = [samples[i] for i in range(min(len(samples), MOST))]
    if not items:
        raise DataError(f"{path}: split {split} is empty: give --data FILE")
    names = [n for n in ("inputs", "static", "boundary") if n in items[0]]
    shape = tuple(items[0]["inputs"].shape[-len(config.axes) :])
    if config.shape.inputs_on == "grid" and shape != config.shape.shape:
        raise DataError(
            f"{path}: the grid {shape} is not the {config.shape.shape} that the "
            "surrogate was trained on: give --data FILE"
        )
    return tuple(torch.stack([item[name] for item in items]) for name in names)


def cycled(samples: tuple[Tensor, ...], count: int) -> tuple[Tensor, ...]:
    """Return ``count`` samples, from the first one again when they run out."""
    index = torch.arange(count) % len(samples[0])
    return tuple(part[index].contiguous() for part in samples)
