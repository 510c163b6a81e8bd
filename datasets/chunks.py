"""Read samples of chunked variables from where they lie in the file.

Going around HDF5 for uncompressed chunks is several times faster: chunks that lie side
by side come with one system call, into the final arrays, and the checksums of a batch
are matrix products. The operating system is told which parts of the file will be wanted
so that it fetches them from disk all at once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import h5py
import numpy as np
from h5py import h5z
from numpy.typing import NDArray

from opkit.datasets.digest import CHECKSUM, fletcher32, stored
from opkit.datasets.inflate import check_chunks
from opkit.errors import DataError

WINDOW = 128 << 10  # bytes: what Linux reads around a fault of a memory map
MAX_BUFFERS = 1000  # Linux takes 1024 a call

Piece = tuple[int, int, memoryview, memoryview]  # from, to, data, checksum
Span = tuple[int, int, list[memoryview]]


class ChunkReader:
    """Rows of several variables of one file.

    Args:
        file: open for reading.
        descriptor: of the same file.
    """

    def __init__(self, file: h5py.File, descriptor: int) -> None:
        self._file, self._descriptor = file, descriptor
        self._variables: dict[str, _Variable] = {}
        self._asked = bytearray(file.id.get_filesize() // WINDOW + 1)

    def read(
        self, names: Sequence[str], rows: NDArray[np.int64]
    ) -> dict[str, NDArray[Any]]:
        """Return (row, ...) of each variable; what is read first is verified.

        Raises:
            DataError: a checksum does not match, or chunks are missing.
        """
        values: dict[str, NDArray[Any]] = {}
        batches = []
        for name in names:
            if name not in self._variables:
                self._variables[name] = _Variable(self._file[name])
            variable = self._variables[name]
            if variable.plain:
                batches.append(_Batch(variable, rows))
                values[name] = batches[-1].out
            else:
                values[name] = variable.read(rows)
        pieces = [piece for batch in batches for piece in batch.pieces()]
        spans = _side_by_side(pieces)
        self._prefetch(spans)
        for begin, end, buffers in spans:
            if os.preadv(self._descriptor, buffers, begin) != end - begin:
                raise DataError(f"{self._file.filename}: cut off at byte {end}")
        for batch in batches:
            batch.verify()
        return values

    def _prefetch(self, spans: list[Span]) -> None:
        """Ask for all at once; the first time also for what lies around."""
        for begin, end, _ in spans:
            first, last = begin // WINDOW, end // WINDOW + 1
            if self._asked.find(0, first, last) >= 0:
                self._asked[first:last] = b"\1" * (last - first)
                begin, end = first * WINDOW, last * WINDOW
            os.posix_fadvise(
                self._descriptor, begin, end - begin, os.POSIX_FADV_WILLNEED
            )


def _side_by_side(pieces: list[Piece]) -> list[Span]:
    """Sort pieces by where they lie, and join those without a gap between."""
    spans: list[Span] = []
    until = -1
    for start, end, data, behind in sorted(pieces, key=itemgetter(0)):
        if start == until and len(spans[-1][2]) < MAX_BUFFERS:
            begin, _, buffers = spans[-1]
            buffers += (data, behind)
            spans[-1] = begin, end, buffers
        else:
            spans.append((start, end, [data, behind]))
        until = end
    return spans


class _Variable:
    """Where the chunks of a variable lie, and which samples were verified."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self.dataset, self.dtype = dataset, dataset.dtype
        self.shape = dataset.shape[1:]
        self.checked = np.zeros(len(dataset), bool)
        creation = dataset.id.get_create_plist()
        filters = [creation.get_filter(k)[0] for k in range(creation.get_nfilters())]
        self.plain = filters == [h5z.FILTER_FLETCHER32] and self.dtype.isnative
        self._numbers = None
        if dataset.chunks == dataset.shape and dataset.ndim <= 2:  # one for all
            check_chunks(dataset)
            self._numbers, self.plain = dataset[:], False
            return
        frames, length = dataset.chunks[1], dataset.shape[1]
        frame = int(np.prod(dataset.shape[2:], dtype=np.int64)) * self.dtype.itemsize
        self.chunk_bytes, self.sample_bytes = frames * frame, length * frame
        self.offsets = np.full((len(dataset), -(-length // frames)), -1, np.int64)

        def note(chunk: Any) -> None:
            place = chunk.chunk_offset[0], chunk.chunk_offset[1] // frames
            self.offsets[place] = chunk.byte_offset
            whole = chunk.size == self.chunk_bytes + CHECKSUM
            self.plain &= chunk.filter_mask == 0 and whole

        dataset.id.chunk_iter(note)
        if (self.offsets < 0).any():
            raise DataError(f"{dataset.name}: samples are missing from the file")

    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Read through HDF5, which verifies each time."""
        if self._numbers is not None:
            return np.asarray(self._numbers[rows])
        new = rows[~self.checked[rows]]
        if len(new):
            check_chunks(self.dataset, new.tolist())
            self.checked[rows] = True
        out = np.empty((len(rows), *self.shape), self.dtype)
        for k, row in enumerate(rows):
            self.dataset.read_direct(out[k], np.s_[int(row)])
        return out


class _Batch:
    """Rows of one variable on their way into memory."""

    def __init__(self, variable: _Variable, rows: NDArray[np.int64]) -> None:
        self._variable, self._rows = variable, rows
        self.out = np.empty((len(rows), *variable.shape), variable.dtype)
        parts = variable.offsets.shape[1]
        # the last chunk in time may have more room than frames
        room = [variable.chunk_bytes * (p + 1) for p in range(parts)]
        ends = [min(end, variable.sample_bytes) for end in room]
        starts = [variable.chunk_bytes * p for p in range(parts)]
        self._spans = list(zip(starts, ends, strict=True))
        self._behind = [
            np.empty((len(rows), end - used + CHECKSUM), np.uint8)
            for end, used in zip(room, ends, strict=True)
        ]

    def pieces(self) -> list[Piece]:
        """The chunks to read, and where to."""
        pieces: list[Piece] = []
        if not len(self._rows):
            return pieces
        data, size = memoryview(self.out).cast("B"), self._variable.sample_bytes
        length = self._variable.chunk_bytes + CHECKSUM
        offsets = self._variable.offsets[self._rows].T.tolist()
        for places, (a, b), tails in zip(
            offsets, self._spans, self._behind, strict=True
        ):
            behind, rest = memoryview(tails).cast("B"), tails.shape[1]
            for k, place in enumerate(places):
                into = data[k * size + a : k * size + b]
                tail = behind[k * rest : (k + 1) * rest]
                pieces.append((place, place + length, into, tail))
        return pieces

    def verify(self) -> None:
        """Compare the checksums of samples that are read for the first time."""
        variable, rows = self._variable, self._rows
        new = np.flatnonzero(~variable.checked[rows])
        if not len(new):
            return
        content = self.out.reshape(len(rows), -1).view(np.uint8)
        if len(new) < len(rows):
            content = content[new]
        for (a, b), tails in zip(self._spans, self._behind, strict=True):
            chunk, behind = content[:, a:b], tails[new]
            if behind.shape[1] > CHECKSUM:
                chunk = np.concatenate([chunk, behind[:, :-CHECKSUM]], axis=1)
            sums, expected = fletcher32(chunk), stored(behind[:, -CHECKSUM:])
            wrong = (sums[0] != expected[0]) | (sums[1] != expected[1])
            if wrong.any():
                row = rows[new[wrong.argmax()]]
                dataset = variable.dataset
                raise DataError(
                    f"{dataset.file.filename}: sample {row} of {dataset.name[1:]} is "
                    "damaged (checksum): copy or generate the file again"
                )
        variable.checked[rows] = True
