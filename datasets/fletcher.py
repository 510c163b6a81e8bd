"""The Fletcher-32 checksum that HDF5 stores behind each chunk.

    s1 = Σ w_i,   s2 = Σ (n - i) w_i   (mod 65535)

over the n big-endian 16-bit words w_i of the chunk. Both sums are taken here over words
read as little-endian: swapping the bytes of a word is a multiplication by 256 modulo
65535, because 65536 ≡ 1.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

BLOCK = 256  # words
_INSIDE = np.arange(BLOCK)


def fletcher32(data: NDArray[np.uint8]) -> tuple[int, int]:
    """Return (s1, s2) modulo 65535 of an even number of bytes.

    Words are summed in blocks by two matrix products in float64, which are exact here.
    """
    words = data.view("<u2")
    n = len(words)
    whole = n - n % BLOCK
    table = words[:whole].reshape(-1, BLOCK).astype(np.float64)
    ones, behind = _weights(n)
    by_block = (table @ ones[:BLOCK]).astype(np.int64)
    by_column = (ones[: len(table)] @ table).astype(np.int64)
    s1 = int(by_block.sum())
    s2 = int(behind @ by_block) - int(_INSIDE @ by_column)
    if whole < n:
        rest = words[whole:].astype(np.int64)
        s1 += int(rest.sum())
        s2 += int(np.arange(n - whole, 0, -1) @ rest)
    return s1 * 256 % 65535, s2 * 256 % 65535


@lru_cache(maxsize=16)
def _weights(n: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Ones, and the number of words from each block's start to the end."""
    blocks = n // BLOCK
    return np.ones(max(blocks, BLOCK)), n - BLOCK * np.arange(blocks)


def stored(tail: NDArray[np.uint8]) -> tuple[int, int]:
    """Return (s1, s2) modulo 65535 from the four bytes behind a chunk."""
    low, high = (int(word) % 65535 for word in tail.view("<u2"))
    return low, high
