"""Errors of a surrogate on a data file, beside those of trivial predictors."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from opkit.datasets.field_dataset import FieldDataset, alone, collate
from opkit.errors import DataError, OpkitInputError
from opkit.evaluate import baselines
from opkit.metrics import functional
from opkit.metrics.domains import Domain, Elements, Packed
from opkit.operators.inputs import Inputs
from opkit.surrogate.bundle.record import BundleConfig, Score
from opkit.surrogate.checks.interface import Context, Pairs
from opkit.surrogate.checks.quantities import Quantities, quantity_errors
from opkit.surrogate.surrogate import Surrogate

MAX_POINTS = 2**24
"""Most points (samples times grid) that one row of the table is measured on."""
CHUNK = 2**21  # points read and predicted at once


@dataclass(frozen=True)
class Batch:
    """Some samples at one resolution."""

    inputs: Inputs
    outputs: Tensor


def table(surrogate: Surrogate, data: Path, split: str = "test") -> list[Score]:
    """Measure a surrogate and the trivial predictors at every resolution of a file.

    Rows: ``surrogate``; ``mean``, the mean of the training outputs at every point; of
    what evolves in time ``persistence`` and, at the training resolution, ``linear``
    (`opkit.evaluate.baselines`); and, on grids finer than the training grid,
    ``upsampled``, the surrogate's prediction at the training resolution interpolated
    linearly. The first row is the surrogate at its training resolution.

    Resolutions are the training grid, the finer grids of the file that contain it, and
    every other point of it, where the operator accepts them.

    ``mean`` and ``linear`` are left out of files without training samples.

    The file is taken as checked: whoever calls has opened it as a `DataFile`.

    Raises:
        DataError: the file has no such split.
    """
    splits = surrogate.samples(data, None, 1, trusted=True).header.splits
    trained = len(splits.get("train", ())) > 0
    mean = training_mean(surrogate, data) if trained else None
    rows: list[Score] = []
    for stride in strides(surrogate, data):
        samples = surrogate.samples(data, split, stride, trusted=True)
        train = None
        if trained and not rows:
            train = surrogate.samples(data, "train", stride, trusted=True)
        guesses = baselines.in_time(samples, train)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # rows say the resolution
            try:
                rows += _rows(surrogate, samples, mean, guesses, stride, split)
            except OpkitInputError as error:
                if isinstance(error, DataError) or not rows:
                    raise
    return rows


def strides(surrogate: Surrogate, data: Path) -> list[int]:
    """Return the strides of a file's grid to measure at, the training stride first."""
    samples = surrogate.samples(data, None, 1, trusted=True)
    config = surrogate.config
    if config.shape.ragged:
        return [1]
    if config.shape.packing is not None:
        return [config.recipe.subsample]
    fixed = "time" in config.axes
    sizes = [
        (samples.header.sizes[axis], closed)
        for axis, closed in zip(config.axes, config.shape.periodic, strict=True)
        if axis != "time"
    ]
    base = config.recipe.subsample
    nested = [stride for stride in range(1, base + 1) if base % stride == 0]
    candidates = [
        stride
        for stride in (*nested, 2 * base)
        if all((n if closed else n - 1) % stride == 0 for n, closed in sizes)
    ]
    if "node" in config.axes or fixed or config.boundary:
        candidates = []
    return [base, *(stride for stride in candidates if stride != base)]


def training_mean(surrogate: Surrogate, data: Path) -> Tensor:
    """Return the mean training output at every point of the file's own grid.

    Where samples have points of their own, the mean over them too, (channel, 1). Where
    outputs are of several kinds, on the surrogate's grid, (1, value); of both, brief
    (`opkit.operators.shapes.Packing`).
    """
    packing = surrogate.config.shape.packing
    own = None if packing is not None else 1
    samples = surrogate.samples(data, "train", own, trusted=True)
    if samples.header.ragged and own is not None:
        parts = [b.outputs.double().mean(2) for b in read(samples, len(samples))]
        return torch.cat(parts).mean(0)[:, None].float()
    total = torch.zeros((), dtype=torch.float64)
    for batch in read(samples, len(samples)):
        outputs = batch.outputs if packing is None else packing.shorten(batch.outputs)
        total = total + outputs.double().sum(0)
    return (total / len(samples)).float()


def read(samples: FieldDataset, count: int) -> Iterator[Batch]:
    """Yield the first ``count`` samples in chunks of about `CHUNK` points.

    Samples with points of their own come one by one.
    """
    if samples.header.ragged:
        for i in range(count):
            fields = alone(samples[i])
            yield Batch(Inputs.of(fields), fields["outputs"])
        return
    points = int(samples[0]["outputs"].nelement())
    size = max(CHUNK // points, 1)
    for start in range(0, count, size):
        items = [samples[i] for i in range(start, min(start + size, count))]
        fields = collate(items)
        yield Batch(Inputs.of(fields), fields["outputs"])


def _rows(
    surrogate: Surrogate,
    samples: FieldDataset,
    mean: Tensor | None,
    guesses: Mapping[str, baselines.Guess],
    stride: int,
    split: str,
) -> list[Score]:
    config = surrogate.config
    space, domain = len(config.axes), surrogate.domain
    on_mesh = isinstance(domain, Elements)
    ragged = config.shape.ragged
    shape = tuple(samples[0]["outputs"].shape[-space:])
    packed, packing = isinstance(domain, Packed), config.shape.packing
    if ragged or packed:
        shape = config.shape.shape  # of one sample, for all
    count = min(len(samples), max(MAX_POINTS // int(np.prod(shape)), 1))
    coarse = _coarse_stride(config.recipe.subsample, stride)
    at_points = mean
    if mean is not None and not packed:
        at_points = mean[_every(stride, config.axes)]
    each: dict[str, list[Tensor]] = {}
    more = ["upsampled"] if coarse > 1 else []
    trivial = [] if at_points is None else ["mean"]
    names = ["surrogate", *trivial, *guesses, *more]
    errors: dict[str, list[Tensor]] = {name: [] for name in names}
    slopes: dict[str, list[Tensor]] = {name: [] for name in names}
    quantities = Quantities(Context(config, surrogate.model))
    own_grid = shape == config.shape.shape
    off: dict[str, dict[str, list[Tensor]]] = {name: {} for name in names}

    def note(name: str, prediction: Tensor, batch: Batch) -> None:
        target, norm = batch.outputs, surrogate.domain_of(batch.inputs)
        errors[name].append(sample_errors(prediction, target, space, norm))
        if isinstance(norm, Packed):
            entries = functional.relative_entries(prediction, target, norm)
            each.setdefault(name, []).append(entries)
        if on_mesh:
            slopes[name].append(functional.relative_h1(prediction, target, domain))

    def note_quantities(name: str, prediction: Tensor, batch: Batch) -> None:
        pairs = Pairs(batch.inputs, batch.outputs)
        errors = quantity_errors(quantities, pairs, prediction) if own_grid else {}
        for quantity, gap in errors.items():
            off[name].setdefault(quantity, []).append(torch.from_numpy(gap).flatten())

    seconds = 0.0
    for batch in read(samples, count):
        begin = time.perf_counter()
        prediction = _predict(surrogate, batch)
        seconds += time.perf_counter() - begin
        note("surrogate", prediction, batch)
        note_quantities("surrogate", prediction, batch)
        if at_points is not None:
            whole = at_points
            if packing is not None:
                whole = packing.lengthen(at_points, batch.outputs.shape[-1])
            note("mean", whole.expand_as(batch.outputs), batch)
            note_quantities("mean", whole.expand_as(batch.outputs), batch)
        for name, guess in guesses.items():
            note(name, guess(batch.inputs, batch.outputs), batch)
        if coarse > 1:
            few_inputs = thinned(batch.inputs, _every(coarse, config.axes))
            few = _predict(surrogate, Batch(few_inputs, batch.outputs))
            fine = upsample(few, shape, config.shape.periodic)
            note("upsampled", fine, batch)
    return [
        Score(
            predictor=name,
            split=split,
            resolution=shape,
            samples=count,
            relative_l2=_mean(errors[name]),
            relative_h1=_mean(slopes[name]) if slopes[name] else None,
            seconds=seconds / count if name == "surrogate" else None,
            quantities={key: _mean(parts) for key, parts in off[name].items()},
            outputs=_by_output(each.get(name, []), config),
        )
        for name in names
        if name not in guesses or math.isfinite(_mean(errors[name]))
    ]


def _by_output(entries: list[Tensor], config: BundleConfig) -> dict[str, float]:
    """Mean relative error of each output, of (batch, entry) of outputs of kinds."""
    if not entries:
        return {}
    means = torch.cat(entries).double().mean(0)
    parts = torch.split(means, [v.channels for v in config.outputs])
    return {
        v.name: float(part.mean())
        for v, part in zip(config.outputs, parts, strict=True)
    }


def _mean(errors: list[Tensor]) -> float:
    return float(torch.cat(errors).double().mean())


def _predict(surrogate: Surrogate, batch: Batch) -> Tensor:
    steps = batch.outputs.shape[1] if surrogate.model.history else 1
    return surrogate.predict(batch.inputs, steps)


def sample_errors(
    prediction: Tensor, target: Tensor, space: int, domain: Domain
) -> Tensor:
    """Return the relative L2 error of each sample (batch,); of rollouts the mean.

    Args:
        prediction: (batch, [steps,] channel, *space).
        target: the same.
        space: number of its last axes that are axes of space.
        domain: that norms are taken with.
    """
    if target.ndim > space + 2:  # rollouts: the mean over frames
        values = functional.relative_l2(prediction.flatten(0, 1), target.flatten(0, 1))
        return values.view(len(target), -1).mean(1)
    return functional.relative_l2(prediction, target, domain)


def thinned(inputs: Inputs, every: Any) -> Inputs:
    """Return inputs at every so manieth point; weights are those of these points.

    Args:
        inputs: of a batch.
        every: index (..., *space).
    """
    static, points = inputs.static, inputs.points
    return inputs._replace(
        fields=inputs.fields[every],
        static=None if static is None else static[every],
        points=None if points is None else points[(*every, slice(None))],
        weights=None,
    )


def _coarse_stride(base: int, stride: int) -> int:
    """Stride from this grid to the training grid; 1 where that is not a coarser one."""
    return base // stride if base > stride and base % stride == 0 else 1


def _every(stride: int, axes: tuple[str, ...]) -> Any:
    return (..., *(slice(None, None, 1 if a == "time" else stride) for a in axes))


def upsample(
    fields: Tensor, shape: tuple[int, ...], periodic: tuple[bool, ...]
) -> Tensor:
    """Interpolate (..., *space) linearly to a finer grid over the same domain."""
    space = len(shape)
    lead = fields.shape[:-space]
    x = fields.reshape(1, -1, *fields.shape[-space:])
    for axis, closed in enumerate(periodic, 2):
        if closed:  # the first point again, at L
            x = torch.cat([x, x.narrow(axis, 0, 1)], axis)
    target = [n + closed for n, closed in zip(shape, periodic, strict=True)]
    kind = {1: "linear", 2: "bilinear", 3: "trilinear"}[space]
    x = F.interpolate(x, target, mode=kind, align_corners=True)
    for axis, n in enumerate(shape, 2):
        x = x.narrow(axis, 0, n)
    return x.reshape(*lead, *shape)
