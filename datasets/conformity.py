"""Whether a file is laid out as SPEC.md says, beyond what reading it needs."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from opkit.datasets.header import SPLITS
from opkit.datasets.read import DataFile, explained, text


def faults(file: DataFile) -> Iterator[str]:
    """Yield what other netCDF-4 tools would see differently from opkit.

    The header is one JSON attribute with a checksum; dims, units and roles are also
    there in netCDF's own way, and must agree with it.
    """
    header = file.header
    with explained(file.path):
        raw = file.handle
        for v in header.variables:
            item = raw[v.name]
            dims = tuple(next(iter(d.keys()), "") for d in item.dims)
            if dims != ("sample", *v.stored_dims):
                yield f"{v.name}: dimension scales {dims}, header {v.stored_dims}"
            for name in ("units", "long_name", "role"):
                attribute = text(item.attrs.get(name, ""))
                if attribute != getattr(v, name):
                    yield f"{v.name}: {name} {attribute!r}, header {getattr(v, name)!r}"
        for name, axis in header.coordinates.items():
            attribute = text(raw[name].attrs.get("units", ""))
            if attribute != axis.units:
                yield f"{name}: units {attribute!r}, header {axis.units!r}"
        if text(raw["split"].attrs.get("flag_meanings", "")) != " ".join(SPLITS):
            yield "split: flag_meanings do not name the splits"
    index = file.index
    if len(np.unique(index)) != len(index):
        yield "sample: numbers appear twice"


def duplicates(file: DataFile) -> list[tuple[str, int, int]]:
    """Return (kind, row, row) of samples with equal inputs.

    Kind is ``"across splits"`` or ``"within train"`` and so on.
    """
    groups: dict[bytes, list[int]] = defaultdict(list)
    for row in range(len(file)):
        total = hashlib.sha256()
        for v in file.header.inputs:
            total.update(np.ascontiguousarray(file.read(v.name, row)).data)
        groups[total.digest()].append(row)
    codes = file.header.split_codes
    pairs = []
    for rows in groups.values():
        for row in rows[1:]:
            first, second = codes[rows[0]], codes[row]
            same = f"within {SPLITS[first]}"
            kind = same if first == second else "across splits"
            pairs.append((kind, rows[0], row))
    return pairs


def leaks(file: DataFile) -> list[tuple[str, int, str, int]]:
    """Return (split, row, split, row) of equal samples in different splits.

    Compares the stored digests of samples (inputs, outputs, the solver's numbers), and
    so reads no data; `duplicates` compares inputs alone.
    """
    first_rows: dict[bytes, int] = {}
    codes = file.header.split_codes
    pairs = []
    with explained(file.path):
        digests = file.handle["sha256"][:]
    for row, digest in enumerate(digests):
        first = first_rows.setdefault(digest.tobytes(), row)
        if codes[first] != codes[row]:
            here, there = SPLITS[codes[first]], SPLITS[codes[row]]
            pairs.append((here, first, there, row))
    return pairs
