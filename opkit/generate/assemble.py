"""Shards become one file: checked against the manifest, copied chunk by chunk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from opkit.case import parse_case
from opkit.case_data import DType
from opkit.datasets.files import appearing, sync
from opkit.datasets.read import DataFile
from opkit.datasets.write import LIBVER, Writer
from opkit.errors import DataError
from opkit.generate.plan import plan


@dataclass(frozen=True)
class Assembly:
    """What to put together, as JSON types.

    Args:
        case: the resolved case.
        seed: of the generation.
        samples: total, or None for the case's own numbers.
        dtype: stored type.
        gzip: compression level.
        folder: where the shards lie.
        out: the final file.
        shards: (name, SHA-256) in the order of their samples.
        marks: added to the file's provenance.
    """

    case: dict[str, Any]
    seed: int
    samples: int | None
    dtype: DType
    gzip: int
    folder: str
    out: str
    shards: list[tuple[str, str]]
    marks: dict[str, Any]


def assemble(job: Assembly) -> str:
    """Write the final file, which appears whole or not at all.

    Returns:
        Its content hash.

    Raises:
        DataError: a shard is damaged, or the disk is full.
    """
    header = plan(parse_case(job.case), job.seed, job.samples, job.dtype).header
    header = replace(header, provenance={**header.provenance, **job.marks})
    names, measure = _diagnostics(Path(job.folder) / job.shards[0][0])
    out = Path(job.out)
    row = 0
    with (
        appearing(out) as temporary,
        h5py.File(temporary, "w", libver=LIBVER) as file,
    ):
        writer = Writer(file, header, names, measure, job.gzip)
        with ThreadPoolExecutor(1) as pool:  # to disk all the while
            syncing = pool.submit(sync, temporary)
            for path, content in _contents(job):
                with h5py.File(path, "r") as shard:
                    count = len(shard["sample"])
                    writer.copy(slice(row, row + count), shard, content)
                row += count
                if syncing.done():
                    syncing.result()  # a full disk is told once
                    syncing = pool.submit(sync, temporary)
            syncing.result()
        return writer.finish()


def _contents(job: Assembly) -> Iterator[tuple[Path, memoryview]]:
    """Yield path and bytes of each shard, read once; the next is hashed meanwhile.

    The bytes are those of one of two buffers: use them before asking for more.
    """
    buffers = [np.empty(0, np.uint8)] * 2
    last: tuple[Path, memoryview, Future[Any], str] | None = None
    with ThreadPoolExecutor(1) as pool:
        for number, (name, digest) in enumerate(job.shards):
            path = Path(job.folder) / name
            size = path.stat().st_size if path.exists() else 0
            if len(buffers[number % 2]) < size:
                buffers[number % 2] = np.empty(size, np.uint8)
            content = memoryview(buffers[number % 2])[:size]
            if size:
                with path.open("rb") as file:
                    file.readinto(content)
            hashing = pool.submit(hashlib.sha256, content)
            if last is not None:
                yield _checked(*last)
            last = path, content, hashing, digest
        if last is not None:
            yield _checked(*last)


def _checked(
    path: Path, content: memoryview, hashing: Future[Any], digest: str
) -> tuple[Path, memoryview]:
    if hashing.result().hexdigest() != digest:
        raise DataError(f"{path}: damaged: generate again with --resume")
    return path, content


def _diagnostics(path: Path) -> tuple[list[str], str]:
    with DataFile(path, trusted=True) as shard:
        names = sorted(shard.diagnostics(), key=lambda name: (name != "error", name))
        return names, shard.measure
