"""Read samples that have a mesh or cloud of their own.

Rows of all samples lie one after another, so that a sample is read without the others.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import h5py
import numpy as np
from h5py import h5z
from numpy.typing import NDArray

from opkit.base.mesh_groups import MeshGroups
from opkit.datasets.digest import CHECKSUM
from opkit.datasets.header import Header, Mesh
from opkit.datasets.inflate import check_chunks
from opkit.datasets.shapes import Shapes
from opkit.errors import DataError

Array = NDArray[Any]


class FlatReader:
    """Rows of data sets that hold all samples one after another.

    Without compression rows are read from where they lie in the file, as
    `opkit.datasets.chunks` does; samples are compared with their SHA-256 by who reads.

    Args:
        file: open for reading.
        descriptor: of the same file.
    """

    def __init__(self, file: h5py.File, descriptor: int) -> None:
        self._file, self._descriptor = file, descriptor
        self._data: dict[str, _Flat] = {}

    def read(self, name: str, rows: slice) -> Array:
        """Return rows of a data set.

        Raises:
            DataError: they are not all in the file.
        """
        if name not in self._data:
            self._data[name] = _Flat(self._file[name])
        return self._data[name].read(self._descriptor, rows.start, rows.stop)


class _Flat:
    """Where the chunks of one data set lie."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset, self._dtype = dataset, dataset.dtype
        self._inner = dataset.shape[1:]
        self._row = int(np.prod(self._inner, dtype=np.int64)) * self._dtype.itemsize
        creation = dataset.id.get_create_plist()
        filters = [creation.get_filter(k)[0] for k in range(creation.get_nfilters())]
        plain = filters == [h5z.FILTER_FLETCHER32] and self._dtype.isnative
        self._chunk = rows = dataset.chunks[0]
        self._places = np.full(-(-len(dataset) // rows), -1, np.int64)
        size = rows * self._row + CHECKSUM
        whole = dataset.chunks[1:] == self._inner

        def note(chunk: Any) -> None:
            nonlocal whole
            self._places[chunk.chunk_offset[0] // rows] = chunk.byte_offset
            whole &= chunk.filter_mask == 0 and chunk.size == size

        if plain:
            dataset.id.chunk_iter(note)
            if (self._places < 0).any():
                raise DataError(f"{dataset.name}: samples are missing from the file")
        else:
            check_chunks(dataset)
        self._plain = plain and whole

    def read(self, descriptor: int, start: int, stop: int) -> Array:
        if not self._plain:
            return np.asarray(self._dataset[start:stop])
        out = np.empty((stop - start, *self._inner), self._dtype)
        data = memoryview(out.reshape(-1).view(np.uint8))
        for k in range(start // self._chunk, -(-stop // self._chunk)):
            low, high = max(start, k * self._chunk), min(stop, (k + 1) * self._chunk)
            into = data[(low - start) * self._row : (high - start) * self._row]
            place = int(self._places[k]) + (low - k * self._chunk) * self._row
            if os.preadv(descriptor, [into], place) != len(into):
                raise DataError(f"{self._dataset.file.filename}: is cut off")
        return out


def read_sample(
    reader: FlatReader,
    header: Header,
    row: int,
    names: Iterable[str],
    numbers: Mapping[str, Array],
) -> dict[str, Array]:
    """Return arrays of one sample.

    Args:
        reader: of the file.
        header: with offsets.
        row: of the sample.
        names: of variables, or of parts as of `parts_of_sample`.
        numbers: (sample, ...) by name of each number and series per sample.
    """
    shapes = header.shapes
    assert shapes is not None
    places = {
        "weights": "node", "cell_nodes": "cell", "facet_nodes": "facet",
        "facet_part": "facet",
    }  # fmt: skip
    arrays: dict[str, Array] = {}
    for name in names:
        if name in numbers:
            arrays[name] = numbers[name][row]
        elif name == "points":
            nodes = shapes.rows("node", row)
            axes = "xyz"[: shapes.dimension]
            columns = [reader.read(f"node_{axis}", nodes) for axis in axes]
            arrays[name] = np.stack(columns, 1)
        else:
            place = places.get(name) or header.variable(name).dims[0]
            arrays[name] = reader.read(name, shapes.rows(place, row))
    return arrays


def fault_of(arrays: Mapping[str, Array]) -> str:
    """Say which part of a sample names nodes that it has not; empty where none does."""
    nodes = len(arrays["points"])
    for name in ("cell_nodes", "facet_nodes"):
        part = arrays.get(name)
        if part is not None and part.size and not 0 <= part.min() <= part.max() < nodes:
            return f"{name} names a node that is not among its {nodes}"
    return ""


def part_names(shapes: Shapes) -> list[str]:
    """Names of the parts of each sample, as of `parts_of_sample`."""
    names = ["points", "weights"]
    if shapes.corners:
        names.append("cell_nodes")
    if shapes.facet_corners:
        names += ["facet_nodes", "facet_part"]
    return names


def mesh_of(arrays: Mapping[str, Array], shapes: Shapes) -> Mesh:
    """Return the mesh that a sample's parts are."""
    points = arrays["points"]
    cells = arrays.get("cell_nodes", np.zeros((0, 0), np.int64))
    groups = None
    if shapes.facet_corners:
        groups = MeshGroups(
            subdomains=np.zeros(len(cells), np.int64),
            facets=arrays["facet_nodes"],
            parts=arrays["facet_part"],
            names=shapes.parts,
        )
    return Mesh(points, cells, groups)
