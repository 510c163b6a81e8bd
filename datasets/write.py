"""Write samples into an HDF5 file of the layout in SPEC.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

import h5py
import numpy as np
from h5py import h5z
from numpy.typing import NDArray

from opkit.datasets.digest import CHECKSUM, content_digest, sample_digest, tail
from opkit.datasets.header import Header, check_header
from opkit.datasets.layout import LIBVER, describe, fixed, lay_out

__all__ = ["LIBVER", "Writer"]


class Writer:
    """Takes samples in any order.

    Args:
        file: open for writing with ``libver=LIBVER``; empty, or from `lay_out` with the
            same arguments.
        header: what the file is.
        diagnostics: names of the solver's numbers a sample; the first is ``error``.
        measure: what ``error`` is.
        gzip: compression level 0 (none) to 9.

    Raises:
        DataError: the header contradicts itself.
    """

    def __init__(
        self,
        file: h5py.File,
        header: Header,
        diagnostics: Sequence[str] = (),
        measure: str = "",
        gzip: int = 0,
    ) -> None:
        self.header = check_header(header, "header")
        if not len(file):
            lay_out(file, header, diagnostics, measure, gzip)
        n = header.samples
        self._file = file
        self._index = np.full(n, -1, np.int64)
        self._digests = np.zeros((n, 32), np.uint8)
        # one number a sample: one chunk for all, written at the end
        self._numbers = {f"solver_{name}": np.zeros(n) for name in diagnostics}
        self._chunks = {}
        for v in header.variables:
            if v.is_number:
                self._numbers[v.name] = np.zeros((n, *v.shape), v.dtype)
            else:
                self._chunks[v.name] = ChunkWriter(file[v.name])

    def put(
        self,
        rows: slice,
        index: NDArray[np.int64],
        fields: Mapping[str, NDArray[Any]],
        diagnostics: Mapping[str, NDArray[np.float64]] | None = None,
    ) -> None:
        """Write consecutive rows.

        Args:
            rows: which rows of the file.
            index: (batch,) number i of each sample's random stream.
            fields: variable name to (batch, *shape), of the variable's dtype.
            diagnostics: name to (batch,).
        """
        numbers = diagnostics or {}
        self._index[rows] = index
        for name in fields.keys() - self._chunks.keys():
            self._numbers[name][rows] = fields[name]
        for name, values in numbers.items():
            self._numbers[f"solver_{name}"][rows] = values
        for k, row in enumerate(range(rows.start, rows.stop)):
            for name, chunks in self._chunks.items():  # side by side, to be read so
                if name in fields:
                    chunks.write(row, fields[name][k])
            digest = sample_digest(
                {name: values[k] for name, values in fields.items()},
                {name: float(values[k]) for name, values in numbers.items()},
            )
            self._digests[row] = np.frombuffer(digest, np.uint8)

    def copy(self, rows: slice, source: h5py.File, content: memoryview) -> None:
        """Copy all samples of another such file to these rows, chunks as they are.

        Args:
            rows: which rows of this file.
            source: the other file, open for reading.
            content: its bytes.
        """
        self._index[rows] = source["sample"][:]
        self._digests[rows] = source["sha256"][:]
        for name, numbers in self._numbers.items():
            numbers[rows] = source[name][:]
        entries: list[tuple[int, ChunkWriter, Any]] = []
        for name, chunks in self._chunks.items():

            def note(chunk: Any, chunks: ChunkWriter = chunks) -> None:
                entries.append((chunk.byte_offset, chunks, chunk))

            source[name].id.chunk_iter(note)
        for offset, chunks, chunk in sorted(entries, key=itemgetter(0)):
            raw = content[offset : offset + chunk.size]
            row, *inner = chunk.chunk_offset
            chunks.store((row + rows.start, *inner), raw, chunk.filter_mask)

    def finish(self, provenance: Mapping[str, Any] | None = None) -> str:
        """Write numbers, indices, digests and the content hash; return the latter.

        Args:
            provenance: what is known at the end only; added to the header's.
        """
        if provenance:
            whole = {**self.header.provenance, **provenance}
            describe(self._file, replace(self.header, provenance=whole))
        for name, numbers in self._numbers.items():
            self._file[name][:] = numbers
        self._file["sample"][:] = self._index
        self._file["sha256"][:] = self._digests
        content = content_digest(self.header, self._index, self._digests)
        self._file.attrs["content_hash"] = fixed(content)
        return content


class ChunkWriter:
    """Samples of one variable, as chunks.

    Without compression a chunk goes around HDF5's filters with a checksum made here,
    which is several times faster.

    Args:
        dataset: (sample, [time], ...) as `lay_out` makes it.
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset, self._frames = dataset, dataset.chunks[1]
        creation = dataset.id.get_create_plist()
        filters = [creation.get_filter(k)[0] for k in range(creation.get_nfilters())]
        self._plain = filters == [h5z.FILTER_FLETCHER32]
        size = int(np.prod(dataset.chunks)) * dataset.dtype.itemsize
        self._stored = np.zeros(size + CHECKSUM, np.uint8)
        self._inner = (0,) * (dataset.ndim - 2)

    def write(self, row: int, sample: NDArray[Any]) -> None:
        """Write one sample."""
        if not self._plain:
            self._dataset[row] = sample
            return
        whole = np.ascontiguousarray(sample, self._dataset.dtype)
        chunk = self._stored[:-CHECKSUM]
        for start in range(0, len(whole), self._frames):
            part = whole[start : start + self._frames].reshape(-1).view(np.uint8)
            chunk[: len(part)] = part
            chunk[len(part) :] = 0  # the last chunk in time may not be full
            self._stored[-CHECKSUM:] = tail(chunk)
            self.store((row, start, *self._inner), self._stored)

    def store(self, place: tuple[int, ...], raw: Any, mask: int = 0) -> None:
        """Store the bytes of a chunk, checksum included, as they are."""
        self._dataset.id.write_direct_chunk(place, raw, mask)
