"""Shards become one file: checked against the manifest, copied chunk by chunk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from opkit.case import parse_case
from opkit.case_data import DType
from opkit.datasets.files import appearing
from opkit.datasets.read import DataFile
from opkit.datasets.write import LIBVER, Writer
from opkit.errors import DataError
from opkit.generate.manifest import file_digest
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
    """

    case: dict[str, Any]
    seed: int
    samples: int | None
    dtype: DType
    gzip: int
    folder: str
    out: str
    shards: list[tuple[str, str]]


def assemble(job: Assembly) -> str:
    """Write the final file, which appears whole or not at all.

    Returns:
        Its content hash.

    Raises:
        DataError: a shard is damaged, or the disk is full.
    """
    header = plan(parse_case(job.case), job.seed, job.samples, job.dtype).header
    names, measure = _diagnostics(Path(job.folder) / job.shards[0][0])
    out = Path(job.out)
    row = 0
    with (
        appearing(out) as temporary,
        h5py.File(temporary, "w", libver=LIBVER) as file,
    ):
        writer = Writer(file, header, names, measure, job.gzip)
        for name, digest in job.shards:
            path = Path(job.folder) / name
            if file_digest(path) != digest:
                raise DataError(f"{path}: damaged: generate again with --resume")
            with h5py.File(path, "r") as shard:
                count = len(shard["sample"])
                writer.copy(slice(row, row + count), shard)
            row += count
        return writer.finish()


def _diagnostics(path: Path) -> tuple[list[str], str]:
    with DataFile(path, trusted=True) as shard:
        names = sorted(shard.diagnostics(), key=lambda name: (name != "error", name))
        return names, shard.measure
