"""Execute an exported file on real inputs beside the surrogate it came from.

The inputs are samples of the data that the surrogate was trained on.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor

from opkit.datasets.field_dataset import FieldDataset
from opkit.errors import DataError
from opkit.export.report import Difference, compare
from opkit.export.targets import Run, silent
from opkit.surrogate.bundle.record import BundleConfig
from opkit.surrogate.bundle.run_directory import data_of_run
from opkit.surrogate.surrogate import Surrogate


def check(
    surrogate: Surrogate, run: Run, samples: tuple[Tensor, ...], batch: int | None
) -> Difference:
    """Compare an export with its surrogate, sample by sample.

    Args:
        surrogate: where the export came from.
        run: the exported file, opened.
        samples: real inputs.
        batch: the one batch size the export takes; where None, one sample by itself
            and all the others together.
    """
    count = len(samples[0])
    sizes = (1, count - 1) if batch is None else (batch,) * -(-count // batch)
    sizes = tuple(size for size in sizes if size)
    inputs = cycled(samples, sum(sizes))
    parts = zip(*(torch.split(part, list(sizes)) for part in inputs), strict=True)
    with torch.no_grad(), silent():
        found = [
            run(tuple(p.to(surrogate.device) for p in part)).cpu() for part in parts
        ]
    once = tuple(part[:count] for part in inputs)  # a fixed batch repeats samples
    double = Surrogate(copy.deepcopy(surrogate.model).double(), surrogate.config)
    return compare(
        torch.cat(found)[:count],
        _predict(surrogate, once),
        _predict(double, tuple(part.double() for part in once)),
        surrogate.config,
        tuple(dict.fromkeys(sizes)),
    )


def _predict(surrogate: Surrogate, inputs: tuple[Tensor, ...]) -> Tensor:
    beside = inputs[1] if len(inputs) > 1 else None
    with torch.no_grad():
        outputs = surrogate.predict(inputs[0], 1, beside)
    return outputs[:, 0] if surrogate.model.history else outputs


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
