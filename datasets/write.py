"""Write samples into an open HDF5 file of the layout in SPEC.md."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from opkit.datasets.digest import content_digest, sample_digest
from opkit.datasets.header import SPLITS, Axis, Header, canonical, check

LIBVER = ("v110", "v110")  # checksummed metadata, read by HDF5 1.10 (2016) and newer
CHUNK_BYTES = 1 << 20
CORNERS = "corner"


class Writer:
    """Lays out a file at once, then takes samples in any order.

    Args:
        file: an empty HDF5 file open for writing with ``libver=LIBVER``.
        header: what the file is.
        diagnostics: names of the solver's numbers a sample; the first is ``error``.
        measure: what ``error`` is.
        gzip: compression level 0 (none) to 9.
    """

    def __init__(
        self,
        file: h5py.File,
        header: Header,
        diagnostics: Sequence[str] = (),
        measure: str = "",
        gzip: int = 0,
    ) -> None:
        self.header = check(header, "header")
        self._file = file
        self._gzip = gzip
        self._diagnostics = tuple(diagnostics)
        n = header.samples
        self._index = np.full(n, -1, np.int64)
        self._digests = np.zeros((n, 32), np.uint8)
        self._root_attributes()
        self._lay_scales()
        for v in header.variables:
            made = self._lay(v.name, v.dtype, ("sample", *v.dims), (n, *v.shape))
            _label(made, v.units, v.long_name)
            made.attrs["role"] = _text(v.role)
            if header.mesh is not None:
                made.attrs["mesh"] = _text("mesh")
                made.attrs["location"] = _text("face" if "cell" in v.dims else "node")
        for name in self._diagnostics:
            made = self._lay(f"solver_{name}", "f8", ("sample",), (n,))
            _label(made, "1", measure if name == "error" else name)

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
        for name, values in fields.items():
            self._file[name][rows] = values
        for name, values in numbers.items():
            self._file[f"solver_{name}"][rows] = values
        for k, row in enumerate(range(rows.start, rows.stop)):
            digest = sample_digest(
                {name: values[k] for name, values in fields.items()},
                {name: float(values[k]) for name, values in numbers.items()},
            )
            self._digests[row] = np.frombuffer(digest, np.uint8)

    def copy(self, rows: slice, source: h5py.File) -> None:
        """Copy all samples of another such file to these rows, chunks as they are."""
        self._index[rows] = source["sample"][:]
        self._digests[rows] = source["sha256"][:]
        for v in self.header.variables:
            if not v.dims:  # one number a sample: all of them are one chunk
                self._file[v.name][rows] = source[v.name][:]
                continue
            old, new = source[v.name].id, self._file[v.name].id
            for k in range(old.get_num_chunks()):
                offset = old.get_chunk_info(k).chunk_offset
                mask, raw = old.read_direct_chunk(offset)
                moved = (offset[0] + rows.start, *offset[1:])
                new.write_direct_chunk(moved, raw, filter_mask=mask)
        for name in self._diagnostics:
            self._file[f"solver_{name}"][rows] = source[f"solver_{name}"][:]

    def finish(self) -> str:
        """Write indices, digests and the content hash, and return the latter."""
        self._file["sample"][:] = self._index
        self._file["sha256"][:] = self._digests
        content = content_digest(self.header, self._index, self._digests)
        self._file.attrs["content_hash"] = _text(content)
        return content

    def _root_attributes(self) -> None:
        text = canonical(self.header.describe())
        case = self.header.case
        plain = {
            "Conventions": "CF-1.11 UGRID-1.0" if self.header.mesh else "CF-1.11",
            "title": str(case.get("title", "")) or "imported data",
            "opkit_header": text,
            "opkit_header_sha256": hashlib.sha256(text.encode()).hexdigest(),
        }
        for name, value in plain.items():
            self._file.attrs[name] = _text(value)

    def _lay_scales(self) -> None:
        header = self.header
        n = header.samples
        self._scale("sample", Axis(np.zeros(n), "1", "number of the sample"), "i8")
        self._scale("byte", Axis(np.arange(32.0), "1", "byte of the digest"), "i4")
        for name in header.sizes:
            if name in header.coordinates:
                self._scale(name, header.coordinates[name], "f8")
        self._lay("sha256", "u1", ("sample", "byte"), (n, 32))
        split = self._lay("split", "i1", ("sample",), (n,))
        split[:] = header.split_codes
        _label(split, "1", "part of the data set")
        split.attrs["flag_values"] = np.arange(len(SPLITS), dtype=np.int8)
        split.attrs["flag_meanings"] = _text(" ".join(SPLITS))
        if header.mesh is not None:
            self._lay_mesh()

    def _lay_mesh(self) -> None:
        mesh = self.header.mesh
        assert mesh is not None
        nodes, dimension = mesh.points.shape
        sizes = {"node": nodes, "cell": len(mesh.cells), CORNERS: mesh.cells.shape[1]}
        for name, length in sizes.items():
            self._scale(name, Axis(np.arange(length, dtype=float), "1", name), "i8")
        names = [f"node_{axis}" for axis in "xyz"[:dimension]]
        for k, name in enumerate(names):
            made = self._lay(name, "f8", ("node",), (nodes,))
            made[:] = mesh.points[:, k]
            _label(made, "1", f"{name[-1]} of the node")
        cells = self._lay("cell_nodes", "i8", ("cell", CORNERS), mesh.cells.shape)
        cells[:] = mesh.cells
        cells.attrs["start_index"] = np.int64(0)
        cells.attrs["cf_role"] = _text("face_node_connectivity")
        topology = self._file.create_dataset("mesh", data=np.int32(0))
        topology.attrs["cf_role"] = _text("mesh_topology")
        topology.attrs["topology_dimension"] = np.int32(dimension)
        topology.attrs["node_coordinates"] = _text(" ".join(names))
        topology.attrs["face_node_connectivity"] = _text("cell_nodes")
        topology.attrs["face_dimension"] = _text("cell")

    def _scale(self, name: str, axis: Axis, dtype: str) -> None:
        made = self._create(name, dtype, (len(axis.values),), (len(axis.values),))
        made[:] = axis.values
        made.make_scale(name)
        _label(made, axis.units, axis.long_name or name)

    def _lay(
        self, name: str, dtype: str, dims: tuple[str, ...], shape: tuple[int, ...]
    ) -> h5py.Dataset:
        made = self._create(name, dtype, shape, chunk_shape(dims, shape, dtype))
        for axis, dim in enumerate(dims):
            made.dims[axis].attach_scale(self._file[dim])
        return made

    def _create(
        self, name: str, dtype: str, shape: tuple[int, ...], chunks: tuple[int, ...]
    ) -> h5py.Dataset:
        compression = {"compression": self._gzip, "shuffle": True} if self._gzip else {}
        return self._file.create_dataset(
            name, shape, dtype, chunks=chunks, fletcher32=True, **compression
        )


def chunk_shape(
    dims: tuple[str, ...], shape: tuple[int, ...], dtype: str
) -> tuple[int, ...]:
    """Return one sample a chunk, and as many frames of it as fit into about 1 MiB."""
    if dims[0] != "sample" or len(dims) == 1 or dims == ("sample", "byte"):
        return shape
    chunk = [1, *shape[1:]]
    if dims[1] == "time":
        frame = int(np.prod(shape[2:], dtype=np.int64)) * np.dtype(dtype).itemsize
        chunk[1] = max(1, min(shape[1], CHUNK_BYTES // max(frame, 1)))
    return tuple(chunk)


def _label(dataset: h5py.Dataset, units: str, long_name: str) -> None:
    dataset.attrs["units"] = _text(units)
    dataset.attrs["long_name"] = _text(long_name)


def _text(value: str) -> Any:
    """Return a fixed-length string: variable-length ones have no checksum in HDF5."""
    encoded = value.encode()
    return np.array(encoded, h5py.string_dtype("utf-8", max(len(encoded), 1)))
