"""SHA-256 over decoded content: of one sample, and of a whole file.

The digest of a file is built from the digests of its samples (a Merkle root), so it
does not depend on chunking, compression, the order of writing, or who wrote which part.
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
    _absorb(total, "split", header.split_codes)
    _absorb(total, "sample", np.asarray(index, np.int64))
    _absorb(total, "sha256", digests)
    return total.hexdigest()


def _absorb(total: Any, name: str, array: NDArray[Any]) -> None:
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    total.update(f"{name}\0{little.dtype.str}\0{array.shape}\0".encode())
    total.update(little.data)
