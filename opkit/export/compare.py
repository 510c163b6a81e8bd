"""Execute an exported file on real inputs beside the surrogate it came from.

The inputs are samples of the data that the surrogate was trained on.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from opkit.datasets.field_dataset import collate
from opkit.errors import DataError
from opkit.export.derivatives import FORMS, directions
from opkit.export.report import ROOM, Difference, compare
from opkit.export.targets import Function, silent
from opkit.export.verdict import SIGNIFICANCE, Entry
from opkit.operators.inputs import Inputs
from opkit.surrogate.adapters.refuse import refuse_other_data
from opkit.surrogate.bundle.normalise import PackedNormaliser, PhysicalModel
from opkit.surrogate.bundle.outputs import by_name
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


def verdict_gaps(
    judged: Surrogate,
    exported: Function,
    entries: tuple[Entry, ...],
    samples: Inputs,
    batch: int | None,
) -> dict[str, float]:
    """Compare a verdict with that of a check, tensor by tensor.

    Returns:
        By name |a - b| / max(|b|, 1), the largest one; for p-values what exceeds the
        share of one calibration sample, which rounding may move across, and whether an
        input is usual only of those that one such sample does not decide.

    Args:
        judged: surrogate with checks that ask no solver.
        exported: the file's verdict.
        entries: what it consists of.
        samples: real inputs.
        batch: the one batch size the export takes; any where None.
    """
    count = samples.batch
    size = batch or count
    repeated = cycled(samples, -(-count // size) * size)
    found: dict[str, list[Tensor]] = {entry.name: [] for entry in entries}
    with torch.no_grad(), silent():
        for start in range(0, repeated.batch, size):
            part = repeated.rows(slice(start, start + size))
            for name, tensor in zip(
                found, exported(tuple(part.by_role.values())), strict=True
            ):
                found[name].append(tensor.double())
        prediction = judged.predict(samples)
    verdict = judged.checker.judge(samples, prediction)
    bound = verdict.error_bound
    expected = {
        "error_bound": bound[:, 0] if bound.ndim > 1 else bound,
        "usual": verdict.resembles_training().astype(float),
        "novelty": verdict.readings.get("novelty"),
        "p_value": verdict.p_values.get("novelty"),
        "spread": verdict.readings.get("spread"),
        "range": np.stack(list(verdict.by_variable["range"].values()), 1)
        if "range" in verdict.by_variable
        else None,
    }
    share = 1 / (verdict.samples + 1)
    level = max(SIGNIFICANCE, share)
    near = np.zeros(count, np.bool_)
    for name in verdict.of_input & verdict.p_values.keys():
        near |= np.abs(verdict.p_values[name] - level) <= share
    gaps = {}
    for name, parts in found.items():
        known = expected[name]
        assert known is not None
        got, want = torch.cat(parts)[:count].numpy(), np.asarray(known)
        with np.errstate(invalid="ignore"):  # of two infinite bounds
            gap = np.abs(got - want) / np.maximum(np.abs(want), 1)
        gap = np.where(got == want, 0.0, gap)
        if name == "p_value":
            gap = np.maximum(gap - share, 0)
        elif name == "usual":
            gap = np.where(near, 0.0, gap)
        gaps[name] = float(np.max(gap, initial=0.0))
    return gaps


def derivative_gaps(
    surrogate: Surrogate, opened: Mapping[str, Function], inputs: Inputs
) -> dict[str, tuple[float, float]]:
    """Compare products with the Jacobian with PyTorch's own, of the surrogate.

    Args:
        surrogate: where the export came from.
        opened: programs by name, ``jvp`` and ``vjp``.
        inputs: as many samples as the programs take.

    Returns:
        By program the relative L2 difference, and what is allowed: 1e-5, or ten times
        what float32 costs the surrogate itself.
    """

    def own(model: PhysicalModel, *tensors: Tensor) -> tuple[Tensor, ...]:
        outputs: Tensor = model(Inputs(**dict(zip(roles, tensors, strict=True))))
        if surrogate.config.shape.packing is not None:
            return tuple(by_name(outputs, surrogate.config).values())
        return (outputs[:, 0] if model.history else outputs,)

    roles = tuple(inputs.by_role)
    here = tuple(part.to(surrogate.device) for part in inputs.by_role.values())
    with torch.no_grad():
        outputs = own(surrogate.model, *here)
    double = copy.deepcopy(surrogate.model).double()
    gaps = {}
    for name, exported in opened.items():
        extra = directions(name, here, outputs)
        form = FORMS[name][-1]  # derivatives backwards: every operator has them
        count = len(here)
        expected = form(partial(own, surrogate.model), count)(*here, *extra)
        precise = (part.double() for part in (*here, *extra))
        exact = form(partial(own, double), count)(*precise)
        with torch.no_grad(), silent():
            got = exported((*here, *extra))
        gap, cost = (max(map(_relative, values, expected)) for values in (got, exact))
        gaps[name] = (gap, max(DERIVATIVE, ROOM * cost))
    return gaps


def _relative(a: Tensor, b: Tensor) -> float:
    gap = (a.double() - b.double()).norm()
    return float(gap / b.double().norm().clamp_min(torch.finfo(torch.float32).tiny))


def _predict(surrogate: Surrogate, inputs: Inputs) -> Tensor:
    with torch.no_grad():
        outputs = surrogate.predict(inputs)
    return outputs[:, 0] if surrogate.model.history else outputs


DERIVATIVE = 1e-5
"""What products with the Jacobian may differ by, relative L2."""
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
    batch = Inputs.of(collate(items))
    return batch.at_step(0, config.history) if config.history else batch


def cycled(samples: Inputs, count: int) -> Inputs:
    """Return ``count`` samples, from the first one again when they run out."""
    index = torch.arange(count) % samples.batch
    return samples.each(lambda part: part[index].contiguous())
