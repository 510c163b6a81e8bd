"""Whether a file is laid out as SPEC.md says, beyond what reading it needs."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from opkit.datasets.header import SPLITS
from opkit.datasets.ragged import part_names
from opkit.datasets.read import DataFile, explained
from opkit.datasets.stored_header import text


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
            flat = header.ragged and not v.is_whole
            if dims != (v.dims if flat else ("sample", *v.stored_dims)):
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
        yield from _rows_of_places(file)
    index = file.index
    if len(np.unique(index)) != len(index):
        yield "sample: numbers appear twice"


def _rows_of_places(file: DataFile) -> Iterator[str]:
    """Whether `node`, `cell` and `facet` of a ragged file say what offsets say."""
    shapes = file.header.shapes
    for place in () if shapes is None else shapes.places:
        assert shapes is not None
        dataset = file.handle[place]
        for row in range(len(file)):
            here = shapes.rows(place, row)
            if not (dataset[here] == row).all():
                yield f"{place}: sample {row} is numbered otherwise than by its offsets"
                break


def duplicates(file: DataFile) -> list[tuple[str, int, int]]:
    """Return (kind, row, row) of samples with equal inputs, on equal points.

    Kind is ``"across splits"`` or ``"within train"`` and so on.
    """
    groups: dict[bytes, list[int]] = defaultdict(list)
    for row in range(len(file)):
        total = hashlib.sha256()
        if file.header.shapes is not None:
            given = [v.name for v in file.header.inputs]
            given += part_names(file.header.shapes)
            for values in file.sample(row, given).values():
                total.update(np.ascontiguousarray(values).data)
            groups[total.digest()].append(row)
            continue
        for v in file.header.variables:
            if v.role in ("input", "points"):
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
