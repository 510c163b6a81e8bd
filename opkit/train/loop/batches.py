"""Batches in an order that depends on (seed, epoch) alone.

All processes draw the same order and take their own slices of it, so that a step of
two processes sees the samples of one process with the doubled batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from opkit.base.children import closed_folder
from opkit.datasets.field_dataset import collate

Sample = dict[str, Tensor]


class Samples(Protocol):
    """Anything indexable that gives dicts with "inputs" and "outputs"."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


class Memory:
    """Samples held as tensors; a batch is one indexing operation.

    Args:
        fields: role to tensor (sample, ...).
    """

    def __init__(self, fields: Sample) -> None:
        self.fields = fields

    @classmethod
    def of(cls, samples: Samples) -> Memory:
        """Read all samples once."""
        fields = {k: t.new_empty(len(samples), *t.shape) for k, t in samples[0].items()}
        for i in range(len(samples)):
            for name, tensor in samples[i].items():
                fields[name][i] = tensor
        return cls(fields)

    def __len__(self) -> int:
        return len(next(iter(self.fields.values())))

    def __getitem__(self, index: int) -> Sample:
        return {name: tensor[index] for name, tensor in self.fields.items()}

    def to(self, device: torch.device) -> Memory:
        """Move to a device."""
        return Memory({name: tensor.to(device) for name, tensor in self.fields.items()})


class Part:
    """Some of the samples, by position."""

    def __init__(self, samples: Samples, indices: list[int]) -> None:
        self.samples = samples
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[self.indices[index]]


class Held:
    """Samples of several lengths, held in memory one by one."""

    def __init__(self, items: list[Sample]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Sample:
        return self._items[index]


def nbytes(samples: Samples) -> int:
    """Bytes of all samples in memory."""
    first = samples[0]
    return len(samples) * sum(t.nbytes for t in first.values())


def in_memory(samples: Samples, gib: float) -> Samples:
    """Hold the samples in memory if they fit."""
    if "sample" in samples[0]:
        return _held(samples, gib * 2**30)
    return Memory.of(samples) if nbytes(samples) <= gib * 2**30 else samples


def _held(samples: Samples, most: float) -> Samples:
    """Hold samples of several lengths, unless they take more than so many bytes."""
    items: list[Sample] = []
    for index in range(len(samples)):
        items.append(samples[index])
        most -= sum(tensor.nbytes for tensor in items[-1].values())
        if most < 0:
            return samples
    return Held(items)


class Slice:
    """The part of a global batch that one process works on.

    Args:
        indices: samples of this process, never empty.
        weight: 1 for each, 0 for a repeated sample that only fills the slice.
        total: samples of the global batch.
    """

    def __init__(self, indices: Tensor, weight: Tensor, total: int) -> None:
        self.indices = indices
        self.weight = weight
        self.total = total


def slices(
    count: int, batch_size: int, rank: int, world: int, order: Tensor | None = None
) -> list[Slice]:
    """Cut an epoch into batches of all processes and take one process's slices."""
    if order is None:
        order = torch.arange(count)
    slices = []
    for chunk in torch.split(order, batch_size * world):
        own = torch.tensor_split(chunk, world)[rank]
        weight = torch.ones(max(len(own), 1))
        if not len(own):
            own, weight = chunk[:1], torch.zeros(1)
        slices.append(Slice(own, weight, len(chunk)))
    return slices


class _Indexed(Dataset[Sample]):
    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


def batches(
    samples: Samples, parts: list[Slice], device: torch.device, workers: int = 0
) -> Iterator[tuple[Sample, Slice]]:
    """Yield the batch of each slice on the device."""
    if isinstance(samples, Memory):
        home = next(iter(samples.fields.values())).device
        for part in parts:
            index = part.indices.to(home)
            chosen = {k: t[index].to(device) for k, t in samples.fields.items()}
            yield chosen, part
        return
    loader = DataLoader(
        _Indexed(samples),
        batch_sampler=[part.indices.tolist() for part in parts],
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
    )
    with closed_folder():  # the workers start here
        loaded = iter(loader)
    for batch, part in zip(loaded, parts, strict=True):
        yield {k: t.to(device, non_blocking=True) for k, t in batch.items()}, part
