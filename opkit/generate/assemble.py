"""Shards become one file: checked against the manifest, copied chunk by chunk."""

from __future__ import annotations

import hashlib
import io
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py

from opkit.case import parse_case
from opkit.case_data import DType
from opkit.datasets.files import appearing
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
        threads: that read and check shards while others are being copied.
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
    threads: int
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
        for content in _contents(job):
            with h5py.File(io.BytesIO(content), "r") as shard:
                count = len(shard["sample"])
                writer.copy(slice(row, row + count), shard, content)
            row += count
        return writer.finish()


def _contents(job: Assembly) -> Iterator[bytes]:
    """Yield the bytes of each shard, read once and checked."""
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(job.threads) as pool:
        for name, digest in job.shards:
            waiting.append(pool.submit(_content, Path(job.folder) / name, digest))
            if len(waiting) > job.threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _content(path: Path, digest: str) -> bytes:
    content = path.read_bytes() if path.exists() else b""
    if hashlib.sha256(content).hexdigest() != digest:
        raise DataError(f"{path}: damaged: generate again with --resume")
    return content


def _diagnostics(path: Path) -> tuple[list[str], str]:
    with DataFile(path, trusted=True) as shard:
        names = sorted(shard.diagnostics(), key=lambda name: (name != "error", name))
        return names, shard.measure
