"""Reading ragged data: meshes per second against memory, and memory over their number.

    python -m benchmarks.ragged [--sizes 500 2000 8000] [--trained 400]

Discs of 500 to 1,500 nodes with a field and a number each. Batches of 8 samples,
shuffled, come from the file ("first" compares each sample with its SHA-256, "later"
does not), and from tensors in memory through the same `collate`. Writing and reading
run in a process of their own for each number of samples, whose largest memory is shown.

Then `opkit train` runs two epochs on such a file, held in memory and read lazily, in
steps of 8 samples. Shown are the samples per second of the second epoch, and the share
of its time for which the loop waited for batches, both in processor time, which other
load changes little.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from scipy.spatial import Delaunay

import opkit
from opkit.datasets.field_dataset import FieldDataset, collate
from opkit.train import train
from opkit.train.loop import loop
from opkit.train.loop.batches import Sample, Slice, batches

BATCH = 8
KINDS = 16
"""Different meshes; samples are scaled copies of them."""


def discs() -> list[tuple[np.ndarray, np.ndarray]]:
    """Meshes of the unit disc with 500 to 1,500 nodes."""
    meshes = []
    for k in range(KINDS):
        rng = np.random.default_rng(k)
        angle = 2 * np.pi * np.arange(60) / 60
        rim = np.stack([np.cos(angle), np.sin(angle)], 1)
        radius = 0.95 * np.sqrt(rng.random(440 + 1000 * k // (KINDS - 1)))
        turn = 2 * np.pi * rng.random(len(radius))
        inside = radius[:, None] * np.stack([np.cos(turn), np.sin(turn)], 1)
        points = np.concatenate([rim, inside])
        meshes.append((points, Delaunay(points).simplices.astype(np.int64)))
    return meshes


def samples(count: int) -> Iterator[dict[str, object]]:
    """Yield samples one after another."""
    meshes = discs()
    for k in range(count):
        points, cells = meshes[k % KINDS]
        scaled = (1 + k / count) * points
        yield {"points": scaled, "cells": cells, "load": k, "u": scaled[:, 0]}


def seconds(read: Callable[[list[int]], object], order: list[int]) -> float:
    """Time one pass in batches."""
    start = time.perf_counter()
    for first in range(0, len(order), BATCH):
        read(order[first : first + BATCH])
    return time.perf_counter() - start


def one(count: int) -> None:
    """Write and read so many samples; print one line."""
    imported = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "discs.h5"
        start = time.perf_counter()
        opkit.save_meshes(
            samples(count), path, ["load"], ["u"], splits={"train": count}
        )
        written = time.perf_counter() - start
        dataset = FieldDataset(path, "train", trusted=True)
        order = np.random.default_rng(0).permutation(count).tolist()
        rates = [
            count / seconds(lambda some: collate(dataset.__getitems__(some)), order)
            for _ in range(2)
        ]
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        size = path.stat().st_size
        few = min(count, 1000)
        held = [dataset[i] for i in range(few)]
        memory = few / seconds(
            lambda some: collate([held[i] for i in some]),
            [i for i in order if i < few],
        )
    print(
        f"{count:5d} samples, {size / 2**20:4.0f} MiB: "
        f"written {count / written:4.0f}/s, read {rates[0]:5.0f}/s, "
        f"later {rates[1]:5.0f}/s, from memory {memory:6.0f}/s; "
        f"{most / 1024:4.0f} MiB at most, {imported / 1024:.0f} of them imports",
        flush=True,
    )


class Waits:
    """Processor seconds of training, and of those that went by waiting for batches.

    Stands in place of the loop's `batches`; each of its streams is an epoch or, with
    fewer samples, a validation.
    """

    def __init__(self) -> None:
        self.epochs: list[tuple[int, float, float]] = []
        """Samples, seconds, and seconds of waiting."""

    def __call__(
        self, *arguments: Any, **settings: Any
    ) -> Iterator[tuple[Sample, Slice]]:
        """Yield the batches, and note the time between and within."""
        begin, waited, count = time.process_time(), 0.0, 0
        stream = batches(*arguments, **settings)
        try:
            while True:
                asked = time.process_time()
                item = next(stream, None)
                waited += time.process_time() - asked
                if item is None:
                    break
                count += item[1].total
                yield item
        finally:  # the loop takes no more than it needs, and drops the stream
            self.epochs.append((count, time.process_time() - begin, waited))


def training(count: int, operators: Sequence[str]) -> None:
    """Train two epochs of each operator, from memory and lazily; print what it took."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "discs.h5"
        opkit.save_meshes(
            samples(count), path, ["load"], ["u"], splits={"train": count}
        )
        for operator in operators:
            for name, memory in (("memory", 4.0), ("file", 1e-6)):
                waits = Waits()
                with mock.patch.object(loop, "batches", waits):
                    train(
                        path,
                        Path(folder) / f"{operator}-{name}",
                        operator=operator,
                        overrides=[
                            "training.epochs=2",
                            f"training.batch_size={BATCH}",
                            f"training.memory={memory}",
                        ],
                        device="cpu",
                        progress=lambda _: None,
                    )
                most = max(count for count, _, _ in waits.epochs)
                seen, took, waited = [e for e in waits.epochs if e[0] == most][1]
                print(
                    f"{operator} from {name}: {seen} samples, {seen / took:.1f}/s, "
                    f"{100 * waited / took:.2f} % of the time waiting for batches "
                    f"({seen / waited:.0f}/s); load {os.getloadavg()[0]:.1f}",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="*", type=int, default=[500, 2000, 8000])
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--trained", type=int, default=400, help="samples to learn")
    parser.add_argument("--operators", nargs="*", default=["transolver"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.count:
        one(options.count)
        return
    print(f"1 thread, load {os.getloadavg()[0]:.1f}, batches of {BATCH}")
    for count in options.sizes:
        command = [sys.executable, "-m", "benchmarks.ragged", "--count", str(count)]
        subprocess.run(command, check=True)
    training(options.trained, options.operators)


if __name__ == "__main__":
    main()
