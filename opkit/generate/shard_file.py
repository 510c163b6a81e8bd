"""A shard on its way to disk: rows are written while the next ones are solved."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opkit.base.files import publish, temporary_beside, why
from opkit.case.data import mesh_among
from opkit.datasets.disk import QuietFile
from opkit.datasets.header import Header
from opkit.datasets.layout import blank
from opkit.datasets.ragged_write import RaggedWriter
from opkit.datasets.write import Writer
from opkit.errors import DataError
from opkit.solvers.interface import Fields, Solution


class ShardFile:
    """A file of samples that appears under its name when it is whole, or never.

    A thread of its own hashes rows, writes them, and has the system bring them to disk,
    so that little is left to wait for at the end.

    Args:
        path: its final name.
        header: what it is.
        gzip: compression level.
        key: files of the same key and number of rows are laid out alike.
    """

    def __init__(self, path: Path, header: Header, gzip: int, key: str) -> None:
        self._path, self._temporary = path, temporary_beside(path)
        self._header, self._gzip, self._key = header, gzip, key
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._last: Future[None] | None = None
        self._raw: QuietFile | None = None
        self._file: Any = None
        self._ragged: RaggedWriter | None = None
        self._row = 0
        self.processor_seconds = 0.0

    def __enter__(self) -> ShardFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()
        if self._raw is not None:
            self._raw.refused = self._raw.refused or OSError("given up")
            if self._file is not None:
                self._file.close()
            self._raw.close()
        self._temporary.unlink(missing_ok=True)

    def put(self, index: NDArray[np.int64], fields: Fields, solution: Solution) -> None:
        """Take the next rows, when those before are written.

        Args:
            index: (batch,) number i of each sample's random stream.
            fields: variable name to (batch, *shape), as they are to be stored.
            solution: with the solver's numbers.

        Raises:
            DataError: the disk is full, or the folder cannot be written.
        """
        self._wait()
        self._last = self._thread.submit(self._put, index, fields, solution)

    def finish(self) -> str:
        """Sync and rename the file; return the SHA-256 of its bytes.

        Raises:
            DataError: the disk is full, or the folder cannot be written.
        """
        self._wait()
        with self._raising():
            (self._ragged or self._writer).finish()
            assert self._file is not None
            self._file.close()
        with self._raising():
            digest = self._thread.submit(self._digest)  # while the disk is waited for
            publish(self._temporary, self._path)
            return digest.result()

    def _wait(self) -> None:
        if self._last is not None:
            self._last.result()

    def _put(
        self, index: NDArray[np.int64], fields: Fields, solution: Solution
    ) -> None:
        names = sorted(solution.details)
        with self._raising():
            if self._raw is None:
                self._open(["error", *names], solution.measure)
            numbers = {k: np.asarray(solution.details[k], float) for k in names}
            numbers["error"] = solution.error
            if self._ragged is not None:
                self._put_ragged(self._ragged, index, fields, numbers)
            else:
                rows = slice(self._row, self._row + len(index))
                self._writer.put(rows, index, fields, numbers)
                self._row = rows.stop
            assert self._raw is not None
            self._raw.start_writing()

    def _put_ragged(
        self,
        writer: RaggedWriter,
        index: NDArray[np.int64],
        fields: Fields,
        numbers: Fields,
    ) -> None:
        """Write samples that have a mesh each."""
        assert self._header.shapes is not None
        for k, i in enumerate(index):
            one = {name: np.asarray(values)[k] for name, values in fields.items()}
            mesh = mesh_among(one, self._header.shapes)
            own = {name: float(values[k]) for name, values in numbers.items()}
            place = f"the solver's mesh of seed [{self._header.seed}, {i}]"
            writer.put(int(i), mesh, one, own, place)

    def _open(self, names: list[str], measure: str) -> None:
        if self._header.ragged:
            self._raw = QuietFile(self._temporary, "w+b")
            self._file = self._raw.hdf5("w")
            self._ragged = RaggedWriter(
                self._file, self._header, names, measure, self._gzip
            )
            return
        laid = _laid_out(self._key, self._header, names, measure, self._gzip)
        self._raw = QuietFile(self._temporary, "w+b")
        self._raw.write(laid)
        self._raw.raise_refusal()
        self._file = self._raw.hdf5("r+")
        self._writer = Writer(self._file, self._header, names, measure, self._gzip)

    def _digest(self) -> str:
        begun = time.thread_time()
        assert self._raw is not None
        self._raw.seek(0)
        digest = hashlib.file_digest(self._raw, "sha256").hexdigest()
        self.processor_seconds += time.thread_time() - begun
        return digest

    @contextmanager
    def _raising(self) -> Iterator[None]:
        begun = time.thread_time()
        try:
            with self._raw.raising_refusals() if self._raw else nullcontext():
                yield
        except (OSError, RuntimeError) as error:
            raise DataError(f"{self._path}: {why(error)}") from error
        finally:
            self.processor_seconds += time.thread_time() - begun


_LAID: dict[tuple[Any, ...], bytes] = {}  # the last one: most shards are alike


def _laid_out(
    key: str, header: Header, names: Sequence[str], measure: str, gzip: int
) -> bytes:
    """Return the bytes of a shard without samples."""
    full = (key, header.samples, tuple(names), measure, gzip)
    if full not in _LAID:
        _LAID.clear()
        _LAID[full] = blank(header, names, measure, gzip)
    return _LAID[full]
