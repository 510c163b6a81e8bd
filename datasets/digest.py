"""Checksums: SHA-256 of decoded content, Fletcher-32 of stored chunks.

The digest of a file is built from the digests of its samples (a Merkle root), so it
does not depend on chunking, compression, the order of writing, or who wrote which part.

HDF5 stores a Fletcher-32 checksum behind each chunk:

    s1 = Σ w_i,   s2 = Σ (n - i) w_i   (mod 65535)

over the n big-endian 16-bit words w_i of the chunk. Both sums are taken here over words
read as little-endian: swapping the bytes of a word is a multiplication by 256 modulo
65535, because 65536 ≡ 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opkit.datasets.header import Header, canonical


def sample_digest(
    fields: Mapping[str, NDArray[Any]], diagnostics: Mapping[str, float]
) -> bytes:
    """Digest one sample.

    Args:
        fields: variable name to array, as stored (dtype included).
        diagnostics: the solver's numbers for this sample.

    Returns:
        32 bytes.
    """
    total = hashlib.sha256()
    for name in sorted(fields):
        _absorb(total, name, np.asarray(fields[name]))
    for name in sorted(diagnostics):
        _absorb(total, name, np.asarray(diagnostics[name], np.float64))
    return total.digest()


def content_digest(
    header: Header, index: NDArray[np.int64], digests: NDArray[np.uint8]
) -> str:
    """Digest a file: header without provenance, axes, mesh, splits, and all samples.

    Args:
        header: what the file is.
        index: (sample,) the number i of each row's random stream.
        digests: (sample, 32) from `sample_digest`.

    Returns:
        64 hexadecimal digits.
    """
    description = header.describe()
    del description["provenance"]
    total = hashlib.sha256(canonical(description).encode())
    for name in sorted(header.coordinates):
        _absorb(total, name, np.asarray(header.coordinates[name].values, np.float64))
    if header.mesh is not None:
        _absorb(total, "points", np.asarray(header.mesh.points, np.float64))
        _absorb(total, "cells", np.asarray(header.mesh.cells, np.int64))
        groups = header.mesh.groups
        if groups is not None:  # their names are in the description
            for name in ("subdomains", "facets", "parts"):
                _absorb(total, name, np.asarray(getattr(groups, name), np.int64))
    if header.shapes is not None:
        for place, offsets in header.shapes.offsets.items():
            _absorb(total, f"{place}_offset", np.asarray(offsets, np.int64))
    _absorb(total, "split", header.split_codes)
    _absorb(total, "sample", np.asarray(index, np.int64))
    _absorb(total, "sha256", digests)
    return total.hexdigest()


def _absorb(total: Any, name: str, array: NDArray[Any]) -> None:
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    total.update(f"{name}\0{little.dtype.str}\0{array.shape}\0".encode())
    total.update(little.data)


CHECKSUM = 4  # bytes behind each chunk
BLOCK = 256  # words: 256 * 65535 < 2**24, so that sums in float32 are exact
SLAB = BLOCK * BLOCK
_ONES = np.ones(BLOCK, np.float32)
_INSIDE = np.arange(BLOCK)

Sums = tuple[NDArray[np.int64], NDArray[np.int64]]


def fletcher32(chunks: NDArray[np.uint8]) -> Sums:
    """Return (s1, s2) modulo 65535 of each of several chunks of one size.

    Words are summed in blocks by two matrix products, which are exact here, over a few
    hundred KiB at a time so that they stay in the processor's cache.

    Args:
        chunks: (chunk, byte) with an even number of bytes.
    """
    words = chunks.view("<u2")
    count, n = words.shape
    s1, s2 = np.zeros(count, np.int64), np.zeros(count, np.int64)
    whole = n - n % BLOCK
    together = max(1, SLAB // max(n, 1))
    room = np.empty(min(count, together) * min(whole, SLAB), np.float32)
    for first in range(0, count, together):
        some = slice(first, first + together)
        for start in range(0, whole, SLAB):
            part = words[some, start : min(start + SLAB, whole)]
            table = room[: part.size].reshape(len(part), -1, BLOCK)
            np.copyto(table.reshape(part.shape), part)
            blocks = table.shape[1]
            by_block = (table @ _ONES).astype(np.int64)
            by_column = (_ONES[:blocks] @ table).astype(np.int64)
            behind = n - start - BLOCK * np.arange(blocks)
            s1[some] += by_block.sum(1)
            s2[some] += by_block @ behind - by_column @ _INSIDE
    if whole < n:
        rest = words[:, whole:].astype(np.int64)
        s1 += rest.sum(1)
        s2 += rest @ np.arange(n - whole, 0, -1)
    return s1 * 256 % 65535, s2 * 256 % 65535


def stored(tails: NDArray[np.uint8]) -> Sums:
    """Return (s1, s2) modulo 65535 from the four bytes behind each chunk."""
    words = tails.view("<u2").astype(np.int64) % 65535
    return words[:, 0], words[:, 1]


def tail(chunk: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the four bytes that HDF5 stores behind this chunk.

    Its sums fold the carry back in, so that they are 65535 instead of 0 unless every
    word is 0.
    """
    sums = [int(s[0]) for s in fletcher32(chunk[None])]
    if 0 in sums and chunk.any():
        sums = [s or 65535 for s in sums]
    return np.array(sums, "<u2").view(np.uint8)
