"""Read samples of a chunked variable from where they lie in the file.

Going around HDF5 for uncompressed chunks is several times faster: one system call into
the final array, a checksum by matrix products, and no global lock. The operating system
can also be told which chunks will be wanted, to fetch them from disk meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import h5py
import numpy as np
from h5py import h5z
from numpy.typing import NDArray

from opkit.datasets.fletcher import CHECKSUM, fletcher32, stored
from opkit.errors import DataError


class SampleReader:
    """Samples of one variable, laid out with one sample (or part of one) a chunk.

    Args:
        dataset: (sample, [time], ...) as `opkit.datasets.write` lays it out.
        descriptor: of the same file, open for reading.

    Raises:
        DataError: chunks are missing.
    """

    def __init__(self, dataset: h5py.Dataset, descriptor: int) -> None:
        self._dataset, self._descriptor = dataset, descriptor
        creation = dataset.id.get_create_plist()
        filters = [creation.get_filter(k)[0] for k in range(creation.get_nfilters())]
        self._plain = filters == [h5z.FILTER_FLETCHER32] and dataset.dtype.isnative
        self._checked = np.zeros(len(dataset), bool)
        self._numbers = dataset[:] if dataset.ndim == 1 else None  # one chunk for all
        if self._numbers is not None:
            return
        self._frames = dataset.chunks[1]
        parts = -(-dataset.shape[1] // self._frames)
        self._offsets = np.zeros((len(dataset), parts), np.int64)
        self._sizes = np.zeros((len(dataset), parts), np.int64)

        def note(chunk: Any) -> None:
            place = chunk.chunk_offset[0], chunk.chunk_offset[1] // self._frames
            self._offsets[place], self._sizes[place] = chunk.byte_offset, chunk.size
            self._plain &= chunk.filter_mask == 0

        dataset.id.chunk_iter(note)
        if not self._sizes.all():
            raise DataError(f"{dataset.name}: samples are missing from the file")

    def prefetch(self, rows: Iterable[int]) -> None:
        """Ask the operating system to fetch these samples from disk."""
        if self._numbers is not None:
            return
        for row in rows:
            if self._checked[row]:
                continue  # read before; most likely still in memory
            for offset, size in zip(self._offsets[row], self._sizes[row], strict=True):
                os.posix_fadvise(self._descriptor, offset, size, os.POSIX_FADV_WILLNEED)

    def read(self, row: int) -> NDArray[Any]:
        """Return one sample; its checksums are verified the first time.

        Raises:
            DataError: a checksum does not match.
        """
        if self._numbers is not None:
            return np.asarray(self._numbers[row])
        out = np.empty(self._dataset.shape[1:], self._dataset.dtype)
        if self._plain:
            for part in range(self._offsets.shape[1]):
                frames = out[part * self._frames : (part + 1) * self._frames]
                self._read_chunk(row, part, frames)
        else:
            self._dataset.read_direct(out, np.s_[row])
        self._checked[row] = True
        return out

    def _read_chunk(self, row: int, part: int, frames: NDArray[Any]) -> None:
        size = int(self._sizes[row, part])
        wanted = frames.reshape(-1).view(np.uint8)
        # the last chunk in time may hold fewer frames than it has room for
        behind = np.empty(size - len(wanted), np.uint8)
        got = os.preadv(
            self._descriptor, [wanted, behind], int(self._offsets[row, part])
        )
        if got != size:
            raise DataError(f"{self._dataset.name}: sample {row} is cut off")
        if self._checked[row]:
            return
        padding, tail = behind[:-CHECKSUM], behind[-CHECKSUM:]
        whole = np.concatenate([wanted, padding]) if len(padding) else wanted
        if fletcher32(whole[None]) != stored(tail[None]):
            raise DataError(f"{self._dataset.name}: sample {row} is damaged (checksum)")
