"""Refuse a compressed chunk that expands to more than its data set declares.

HDF5's filters give a chunk as much memory as its stream asks for, up to 1032 times
(deflate) or 88 times (lzf) what is stored. Chunks that could take much are expanded
here first, no further than to the size of a chunk.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

import h5py
import numpy as np
from h5py import h5z

from opkit.errors import DataError

HARMLESS_BYTES = 64 << 20
RATIOS = {h5z.FILTER_DEFLATE: 1032, h5z.FILTER_LZF: 88}
CHECKSUM = 4
PIECE = 1 << 20


def check_chunks(dataset: h5py.Dataset, rows: Iterable[int] | None = None) -> None:
    """Look at the compressed chunks of a data set before HDF5 expands them.

    Args:
        dataset: of a file that was audited.
        rows: of the first axis; None for all.

    Raises:
        DataError: one expands to more than a chunk.
    """
    if dataset.chunks is None:
        return
    creation = dataset.id.get_create_plist()
    filters = [creation.get_filter(k)[0] for k in range(creation.get_nfilters())]
    kind = next((f for f in filters if f in RATIOS), None)
    if kind is None:
        return
    first = None if rows is None else {row // dataset.chunks[0] for row in rows}
    large: list[Any] = []

    def note(chunk: Any) -> None:
        number = chunk.chunk_offset[0] // dataset.chunks[0]
        relevant = first is None or number in first
        if relevant and chunk.size * RATIOS[kind] > HARMLESS_BYTES:
            large.append(chunk)

    dataset.id.chunk_iter(note)
    size = int(np.prod(dataset.chunks, dtype=object)) * dataset.dtype.itemsize
    room = size + CHECKSUM * (len(filters) - 1)  # checksums made before packing
    tail = CHECKSUM if filters[-1] == h5z.FILTER_FLETCHER32 else 0
    for chunk in large:
        if chunk.filter_mask >> filters.index(kind) & 1:
            continue  # stored as it is
        _, raw = dataset.id.read_direct_chunk(chunk.chunk_offset)
        stream = raw[: len(raw) - tail]
        deflate = kind == h5z.FILTER_DEFLATE
        if not (_inflates if deflate else _lzf_expands)(stream, room):
            raise DataError(
                f"{dataset.file.filename}: a chunk of {dataset.name} expands to more "
                f"than its {size} bytes: damaged or hostile"
            )


def _inflates(stream: bytes, room: int) -> bool:
    """Whether a deflate stream ends within so many bytes; a damaged one does."""
    inflater = zlib.decompressobj()
    total = 0
    try:
        while stream and not inflater.eof and total <= room:
            total += len(inflater.decompress(stream, PIECE))
            stream = inflater.unconsumed_tail
    except zlib.error:
        return True  # HDF5 says so, after as many bytes
    return total <= room


def _lzf_expands(stream: bytes, room: int) -> bool:
    """Whether an lzf stream ends within so many bytes.

    A control byte c < 32 is followed by c + 1 literal bytes; another one stands for a
    repetition of (c >> 5) + 2 bytes, or, if c >> 5 is 7, of 9 more than the next byte.
    """
    at = total = 0
    while at < len(stream) and total <= room:
        control = stream[at]
        if control < 32:
            total += control + 1
            at += control + 2
        elif control >> 5 < 7:
            total += (control >> 5) + 2
            at += 2
        else:
            total += 9 + (stream[at + 1] if at + 1 < len(stream) else 0)
            at += 3
    return total <= room
