"""Execute an exported file on real inputs beside the surrogate it came from.

The inputs are samples of the data that the surrogate was trained on.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor

from opkit.datasets.field_dataset import collate
from opkit.errors import DataError
from opkit.export.report import Difference, compare
from opkit.export.targets import Function, silent
from opkit.operators.inputs import Inputs
from opkit.surrogate.adapters.refuse import refuse_other_data
from opkit.surrogate.bundle.normalise import PackedNormaliser
from opkit.surrogate.bundle.record import BundleConfig
from opkit.surrogate.bundle.run_directory import data_of_run
from opkit.surrogate.surrogate import Surrogate


def difference_of(
    surrogate: Surrogate, exported: Function, samples: Inputs, batch: int | None
) -> Difference:
    """Compare an export with its surrogate, sample by sample.

    Args:
        surrogate: where the export came from.
        exported: the file, opened.
        samples: real inputs.
        batch: the one batch size the export takes; where None, one sample by itself
            and all the others together.
    """
    count = samples.batch
    sizes = (1, count - 1) if batch is None else (batch,) * -(-count // batch)
    sizes = tuple(size for size in sizes if size)
    repeated = cycled(samples, sum(sizes))  # a fixed batch repeats samples
    outputs, start = [], 0
    with torch.no_grad(), silent():
        for size in sizes:
            part = repeated.rows(slice(start, start + size))
            tensors = part.each(lambda tensor: tensor.to(surrogate.device)).by_role
            parts = [p.cpu() for p in exported(tuple(tensors.values()))]
            outputs.append(_together(parts, surrogate.config))
            start += size
    double = Surrogate(copy.deepcopy(surrogate.model).double(), surrogate.config)
    return compare(
        torch.cat(outputs)[:count],
        _predict(surrogate, samples),
        _predict(double, samples.each(Tensor.double)),
        surrogate.config,
        tuple(dict.fromkeys(sizes)),
        _sizes(surrogate),
    )


def _together(parts: list[Tensor], config: BundleConfig) -> Tensor:
    """Return what an export gives as a surrogate does; see `Packing`."""
    if config.shape.packing is None:
        return parts[0]
    return torch.cat([part.reshape(len(part), -1) for part in parts], 1)[:, None]


def _sizes(surrogate: Surrogate) -> Tensor | None:
    """Usual size of each value of outputs of several kinds."""
    outputs = surrogate.model.outputs
    if not isinstance(outputs, PackedNormaliser):
        return None
    return outputs.packing.each(outputs.size).cpu()


def _predict(surrogate: Surrogate, inputs: Inputs) -> Tensor:
    with torch.no_grad():
        outputs = surrogate.predict(inputs)
    return outputs[:, 0] if surrogate.model.history else outputs


MOST = 8
"""Samples that an export is compared on."""


def real_inputs(run: Path, config: BundleConfig, data: Path | None = None) -> Inputs:
    """Return up to `MOST` samples.

    Args:
        run: run directory or bundle.
        config: the bundle's record.
        data: data file; the one the run was trained on where not given.

    Raises:
        BundleError: the data file is not known or gone.
        DataError: the data cannot be read, or have another grid.
    """
    path = data if data is not None else data_of_run(run)
    split = config.split_in(path)
    samples = config.recipe.samples(path, split)
    refuse_other_data(config, samples)
    items = [samples[i] for i in range(min(len(samples), MOST))]
    if not items:
        raise DataError(f"{path}: split {split} is empty: give --data FILE")
    shape = tuple(items[0]["inputs"].shape[-len(config.axes) :])
    if config.shape.is_other_grid(shape):
        raise DataError(
            f"{path}: the grid {shape} is not the {config.shape.shape} that the "
            "surrogate was trained on: give --data FILE"
        )
    batch = collate(items)
    return Inputs.of(batch)


def cycled(samples: Inputs, count: int) -> Inputs:
    """Return ``count`` samples, from the first one again when they run out."""
    index = torch.arange(count) % samples.batch
    return samples.each(lambda part: part[index].contiguous())
