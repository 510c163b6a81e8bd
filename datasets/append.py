"""Add samples to a data file: the old and the new ones in a new file, and one rename.

Chunks of the old samples are copied as they are; readers that have the old file open
keep it as it was.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from opkit.datasets.disk import hdf5_appearing
from opkit.datasets.header import SPLITS, Header, Mesh, Split
from opkit.datasets.ragged_write import RaggedWriter
from opkit.datasets.read import DataFile
from opkit.datasets.write import Writer
from opkit.errors import DataError


@dataclass(frozen=True)
class NewSamples:
    """Samples to be added.

    Args:
        fields: variable name to (batch, *shape), of the variable's dtype.
        numbers: the solver's numbers by name (batch,), ``error`` among them.
        measure: what ``error`` is.
        splits: the split of each sample.
        mesh: of the one sample, where each has its own.
    """

    fields: Mapping[str, NDArray[Any]]
    numbers: Mapping[str, NDArray[np.float64]]
    measure: str
    splits: Sequence[Split]
    mesh: Mesh | None = None


def append(
    path: Path,
    header: Header,
    old: DataFile | None,
    new: Sequence[NewSamples],
    provenance: Mapping[str, Any],
) -> None:
    """Write a file of old and new samples in place of the old file.

    Args:
        path: the file, which appears whole or stays as it was.
        header: what the new samples are; its splits are not looked at.
        old: the file as it is, open; None where there is none yet.
        new: batches of samples, one at least, whose numbers are counted on from the
            old ones; of one sample each where samples have meshes of their own.
        provenance: of the whole file.

    Raises:
        DataError: the old file is damaged or has other solver numbers, a mesh is not
            sound, the disk is full, or the folder cannot be written.
    """
    names = sorted(new[0].numbers, key=lambda name: (name != "error", name))
    if old is not None:
        old.check_seal()
        if sorted(names) != sorted(old.diagnostics()):
            raise DataError(
                f"{path}: the solver gives {', '.join(names)} per sample, the file "
                f"holds {', '.join(old.diagnostics())}: choose another file"
            )
        header = old.header
    codes = [] if old is None else list(old.header.split_codes)
    codes += [SPLITS.index(split) for batch in new for split in batch.splits]
    splits = {name: np.flatnonzero(np.equal(codes, k)) for k, name in enumerate(SPLITS)}
    whole = replace(
        header,
        splits={name: own for name, own in splits.items() if len(own)},
        provenance=dict(provenance),
    )
    write = _write_ragged if whole.shapes is not None else _write
    with hdf5_appearing(path) as file:
        write(file, whole, names, old, new)


def _write(
    file: h5py.File,
    header: Header,
    names: Sequence[str],
    old: DataFile | None,
    new: Sequence[NewSamples],
) -> None:
    writer = Writer(file, header, names, new[0].measure)
    count = 0 if old is None else len(old)
    if old is not None:
        with old.path.open("rb") as raw:
            # not closed here: an error on a full disk holds parts of it
            content = mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ)
        writer.copy(slice(0, count), old.handle, memoryview(content))
    for batch in new:
        rows = slice(count, count + len(batch.splits))
        index = np.arange(rows.start, rows.stop, dtype=np.int64)
        writer.put(rows, index, batch.fields, batch.numbers)
        count = rows.stop
    writer.finish()


def _write_ragged(
    file: h5py.File,
    header: Header,
    names: Sequence[str],
    old: DataFile | None,
    new: Sequence[NewSamples],
) -> None:
    assert header.shapes is not None
    grows = replace(header, shapes=replace(header.shapes, offsets={}))
    writer = RaggedWriter(file, grows, names, new[0].measure)
    if old is not None:
        writer.copy(old.handle)
    for batch in new:
        assert batch.mesh is not None
        fields = {name: values[0] for name, values in batch.fields.items()}
        numbers = {name: float(values[0]) for name, values in batch.numbers.items()}
        writer.put(writer.written, batch.mesh, fields, numbers)
    writer.finish()
