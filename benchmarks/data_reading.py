"""Reading: samples a second through FieldDataset against a memory-mapped array.

    python -m benchmarks.data_reading [--quick]

Both read the same float32 numbers in the same shuffled batches of 20 on one thread;
"cold" means dropped from the page cache before. The memory map checks nothing, the data
file verifies checksums on first reading (cold and first), and not again (later).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from opkit.datasets.field_dataset import FieldDataset
from opkit.datasets.header import Axis, Header, VariableSpec
from opkit.datasets.write import LIBVER, Writer

BATCH = 20


def make(folder: Path, samples: int, size: int) -> tuple[Path, Path]:
    """Write the same random fields as a data file and as a .npy."""
    fields = np.random.default_rng(0).normal(size=(samples, 2, size, size))
    stored = fields.astype(np.float32)
    axis = Axis(np.linspace(0, 1, size))
    variables = tuple(
        VariableSpec(name, role, ("y", "x"), (size, size))  # type: ignore[arg-type]
        for name, role in (("permeability", "input"), ("pressure", "output"))
    )
    rows = {"train": np.arange(samples)}
    header = Header({}, variables, {"y": axis, "x": axis}, rows)
    with h5py.File(folder / "data.h5", "w", libver=LIBVER) as file:
        writer = Writer(file, header)
        for row in range(samples):
            here = slice(row, row + 1)
            pair = {v.name: stored[here, k] for k, v in enumerate(variables)}
            writer.put(here, np.arange(row, row + 1), pair)
        writer.finish()
    np.save(folder / "data.npy", stored)
    return folder / "data.h5", folder / "data.npy"


def drop_from_cache(path: Path) -> None:
    """Make the next reading come from disk."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def seconds(read: Callable[[list[int]], object], order: np.ndarray) -> float:
    """Time one pass over all samples in batches."""
    start = time.perf_counter()
    for first in range(0, len(order), BATCH):
        read(order[first : first + BATCH].tolist())
    return time.perf_counter() - start


def compare(samples: int, size: int, rounds: int) -> None:
    """Print one line for each state of the cache."""
    with tempfile.TemporaryDirectory() as name:
        data, plain = make(Path(name), samples, size)
        times: dict[str, list[tuple[float, float]]] = {}
        for round_ in range(rounds):
            order = np.random.default_rng(round_).permutation(samples)
            drop_from_cache(data)
            drop_from_cache(plain)
            dataset = FieldDataset(data, "train", trusted=True)
            mapped = np.load(plain, mmap_mode="r")
            for state in ("cold", "later"):
                ours = seconds(dataset.__getitems__, order)
                theirs = seconds(mapped.__getitem__, order)
                times.setdefault(state, []).append((ours, theirs))
            del mapped  # mapped pages cannot be dropped from the cache
    for state, pairs in times.items():
        ours, theirs = (
            statistics.median(column) for column in zip(*pairs, strict=True)
        )
        print(
            f"{samples:5d} samples of 2 x {size}²  {state:5s}  "
            f"opkit {samples / ours:7.0f}/s  memory map {samples / theirs:7.0f}/s  "
            f"ratio {theirs / ours:.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, one round")
    quick = parser.parse_args().quick
    load = os.getloadavg()[0]
    print(f"1 thread, load {load:.1f}, medians of {1 if quick else 5} rounds")
    for samples, size in ((40, 85),) if quick else ((300, 421), (4000, 64)):
        compare(samples, size, 1 if quick else 5)


if __name__ == "__main__":
    main()
