"""Shards become one file as they are listed: checked, then copied chunk by chunk."""

from __future__ import annotations

import hashlib
import queue
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import numpy as np

from opkit.base.files import appearing
from opkit.datasets.disk import QuietFile
from opkit.datasets.header import GENERATION_SECONDS, Header
from opkit.datasets.ragged_write import RaggedWriter
from opkit.datasets.read import DataFile, open_hdf5
from opkit.datasets.write import Writer
from opkit.errors import DataError
from opkit.generate.shard import Shard


class Assembler:
    """A thread that writes the final file while samples are solved elsewhere.

    Args:
        out: the final file, which appears whole or not at all.
        folder: where the shards lie, and the file until it is whole.
        header: of the file.
        gzip: compression level.
        ranks: MPI ranks that solved each sample.
    """

    def __init__(
        self, out: Path, folder: Path, header: Header, gzip: int, ranks: int = 1
    ) -> None:
        self._out, self._folder, self._header, self._gzip = out, folder, header, gzip
        self._ranks = ranks
        self._listed: queue.SimpleQueue[Shard | None] = queue.SimpleQueue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="assembler")
        self._buffer = np.empty(0, np.uint8)
        self.processor_seconds = 0.0
        self.future: Future[None] = self._thread.submit(self._assemble)

    def __enter__(self) -> Assembler:
        return self

    def __exit__(self, *_: object) -> None:
        self._listed.put(None)
        self._thread.shutdown()

    def add(self, shard: Shard) -> None:
        """Take a shard that is listed in the manifest, in any order."""
        self._listed.put(shard)

    def finish(self) -> None:
        """Wait for the file.

        Raises:
            DataError: a shard is damaged, or the disk is full.
        """
        self.future.result()

    def _assemble(self) -> None:
        shards = self._in_order()
        try:
            first = next(shards)
            self._write(first, shards)
        except _GivenUp:
            return
        finally:
            self.processor_seconds = time.thread_time()

    def _write(self, first: Shard, others: Iterator[Shard]) -> None:
        with (
            appearing(self._out, self._folder, replace=False) as temporary,
            QuietFile(temporary, "w+b") as raw,
            raw.raising_refusals(),
        ):
            content = self._read(first)
            names, measure = _diagnostics(self._folder / first.name)
            with raw.hdf5("w") as file:
                if self._header.ragged:
                    ragged = RaggedWriter(
                        file, self._header, names, measure, self._gzip
                    )
                    shards = []
                    for shard in chain([first], others):
                        self._copy_ragged(shard, ragged, raw)
                        shards.append(shard)
                    ragged.finish(solving_seconds(shards, self._ranks))
                    return
                writer = Writer(file, self._header, names, measure, self._gzip)
                self._copy(first, content, writer, raw)
                shards = [first]
                for shard in others:
                    self._copy(shard, self._read(shard), writer, raw)
                    shards.append(shard)
                writer.finish(solving_seconds(shards, self._ranks))

    def _read(self, shard: Shard) -> memoryview:
        """Return the bytes of a shard, checked, until the next one is read."""
        path = self._folder / shard.name
        size = path.stat().st_size if path.exists() else 0
        if len(self._buffer) < size:
            self._buffer = np.empty(size, np.uint8)
        content = memoryview(self._buffer)[:size]
        if size:
            with path.open("rb", buffering=0) as file:
                file.readinto(content)
        if hashlib.sha256(content).hexdigest() != shard.sha256:
            raise DataError(f"{path}: damaged: generate again with --resume")
        return content

    def _copy(
        self, shard: Shard, content: memoryview, writer: Writer, raw: QuietFile
    ) -> None:
        with open_hdf5(self._folder / shard.name) as source:
            writer.copy(slice(shard.first, shard.last), source, content)
        raw.start_writing()
        raw.raise_refusal()

    def _copy_ragged(self, shard: Shard, writer: RaggedWriter, raw: QuietFile) -> None:
        """Copy the samples of a shard, which are of several lengths, one by one."""
        self._read(shard)
        names = [v.name for v in self._header.variables]
        with DataFile(self._folder / shard.name, trusted=True) as source:
            numbers, index = source.diagnostics(), source.index
            for row in range(len(source)):
                own = {name: float(values[row]) for name, values in numbers.items()}
                fields = source.sample(row, names)
                writer.put(int(index[row]), source.mesh(row), fields, own)
        raw.start_writing()
        raw.raise_refusal()

    def _in_order(self) -> Iterator[Shard]:
        """Yield shards in the order of their rows.

        Raises:
            _GivenUp: there will be no more.
        """
        waiting: dict[int, Shard] = {}
        row = 0
        while row < self._header.samples:
            while row not in waiting:
                shard = self._listed.get()
                if shard is None:
                    raise _GivenUp
                waiting[shard.first] = shard
            yield waiting[row]
            row = waiting.pop(row).last


def solving_seconds(shards: Sequence[Shard], ranks: int = 1) -> dict[str, float]:
    """Return the processor seconds that all samples took, as provenance.

    Shards adopted from a worker that died before it could say its time count as much
    per sample as the others; nothing is said where no shard knows.

    Args:
        shards: all shards of the file.
        ranks: MPI ranks that solved each sample.
    """
    timed = [shard for shard in shards if shard.solve_processor_seconds > 0]
    if not timed:
        return {}
    samples, measured = (
        sum(shard.last - shard.first for shard in some) for some in (shards, timed)
    )
    seconds = sum(shard.solve_processor_seconds for shard in timed)
    return {GENERATION_SECONDS: round(seconds * ranks * samples / measured, 6)}


class _GivenUp(Exception):
    pass


def _diagnostics(path: Path) -> tuple[list[str], str]:
    with DataFile(path, trusted=True) as shard:
        names = sorted(shard.diagnostics(), key=lambda name: (name != "error", name))
        return names, shard.measure
