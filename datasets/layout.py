"""Lay out a file of SPEC.md: attributes, axes, mesh, splits, and room for samples."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np

from opkit.base.mesh_groups import MeshGroups
from opkit.datasets.header import (
    SPLITS,
    Axis,
    Header,
    VariableSpec,
    canonical,
    check_header,
)
from opkit.datasets.shapes import Shapes

LIBVER = ("v110", "v110")  # checksummed metadata, read by HDF5 1.10 (2016) and newer
CHUNK_BYTES = 1 << 20
FLAT_CHUNK_BYTES = 32 << 10
"""Of a ragged file: small, so that a sample reads little beside itself."""
CORNERS = "corner"


def lay_out(
    file: h5py.File,
    header: Header,
    diagnostics: Sequence[str] = (),
    measure: str = "",
    gzip: int = 0,
) -> None:
    """Fill an empty file with everything but samples.

    Args:
        file: open for writing with ``libver=LIBVER``.
        header: what the file is.
        diagnostics: names of the solver's numbers a sample; the first is ``error``.
        measure: what ``error`` is.
        gzip: compression level 0 (none) to 9.

    Raises:
        DataError: the header contradicts itself.
    """
    layout = _Layout(file, check_header(header, "header"), gzip)
    layout.root_attributes()
    layout.scales()
    layout.variables()
    layout.diagnostics(diagnostics, measure)


def blank(header: Header, diagnostics: Sequence[str], measure: str, gzip: int) -> bytes:
    """Return the bytes of a file without samples; arguments as of `lay_out`."""
    image = io.BytesIO()
    with h5py.File(image, "w", libver=LIBVER) as file:
        lay_out(file, header, diagnostics, measure, gzip)
    return image.getvalue()


def describe(file: h5py.File, header: Header) -> None:
    """Write what a file says about itself, or write it anew."""
    described = canonical(header.describe())
    file.attrs["opkit_header"] = fixed(described)
    digest = hashlib.sha256(described.encode()).hexdigest()
    file.attrs["opkit_header_sha256"] = fixed(digest)


class _Layout:
    def __init__(self, file: h5py.File, header: Header, gzip: int) -> None:
        self.header, self._file, self._gzip = header, file, gzip
        self._samples = header.samples

    def variables(self) -> None:
        for v in self.header.variables:
            if self.header.ragged and not v.is_whole:
                self._lay_field(v)
                continue
            shape = (self._samples, *v.shape)
            if "component" in v.dims:
                count, name = v.shape[-1], v.stored_dims[-1]
                axis = Axis(np.arange(float(count)), "1", f"component of {v.name}")
                self._scale(name, axis, "i8")
            dataset = self._lay(v.name, v.dtype, ("sample", *v.stored_dims), shape)
            _label(dataset, v.units, v.long_name)
            dataset.attrs["role"] = fixed(v.role)
            if self.header.mesh is not None and not v.is_whole:
                dataset.attrs["mesh"] = fixed("mesh")
                dataset.attrs["location"] = fixed(
                    "face" if "cell" in v.dims else "node"
                )

    def _lay_field(self, v: VariableSpec) -> None:
        """Make room that grows for a field of a ragged file."""
        dataset = self._lay_flat(v.name, v.dtype, (v.dims[0],), ())
        _label(dataset, v.units, v.long_name)
        dataset.attrs["role"] = fixed(v.role)
        dataset.attrs["mesh"] = fixed("mesh")
        dataset.attrs["location"] = fixed("face" if v.dims == ("cell",) else "node")

    def diagnostics(self, names: Sequence[str], measure: str) -> None:
        for name in names:
            dataset = self._lay(f"solver_{name}", "f8", ("sample",), (self._samples,))
            _label(dataset, "1", measure if name == "error" else name)

    def root_attributes(self) -> None:
        plain = {
            "Conventions": "CF-1.11 UGRID-1.0"
            if self.header.mesh or self.header.ragged
            else "CF-1.11",
            "title": str(self.header.case.get("title", "")) or "imported data",
        }
        for name, value in plain.items():
            self._file.attrs[name] = fixed(value)
        describe(self._file, self.header)

    def scales(self) -> None:
        header = self.header
        n = self._samples
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
        split.attrs["flag_meanings"] = fixed(" ".join(SPLITS))
        if header.mesh is not None:
            self._lay_mesh()
        if header.shapes is not None:
            self._lay_shapes(header.shapes)

    def _lay_shapes(self, shapes: Shapes) -> None:
        """Make room that grows for the meshes of all samples."""
        n = self._samples + 1
        self._scale("bound", Axis(np.arange(float(n)), "1", "end of a sample"), "i8")
        corners = {CORNERS: shapes.corners, "facet_corner": shapes.facet_corners}
        for name, length in corners.items():
            if length:
                self._scale(name, Axis(np.arange(float(length)), "1", name), "i8")
        for place in shapes.places:
            offsets = self._lay(f"{place}_offset", "i8", ("bound",), (n,))
            _label(offsets, "1", f"first {place} of each sample, and the end")
            row = self._grow(place, "i4", ())
            row.make_scale(place)
            _label(row, "1", f"row of the sample that the {place} belongs to")
        names = [f"node_{axis}" for axis in "xyz"[: shapes.dimension]]
        for name in names:
            _label(self._lay_flat(name, "f8", ("node",), ()), "1", f"{name[-1]}")
        kinds = {
            "cells": "length, area or volume that belongs to the node, from the cells",
            "equal": "equal weights that sum to 1: there are no cells",
        }
        weights = self._lay_flat("weights", "f8", ("node",), ())
        _label(weights, "1", kinds[shapes.weights])
        if shapes.corners:
            cells = self._lay_flat(
                "cell_nodes", "i8", ("cell", CORNERS), (shapes.corners,)
            )
            _label(cells, "1", "nodes of the cell, counted from 0 in each sample")
            cells.attrs["start_index"] = np.int64(0)
            cells.attrs["cf_role"] = fixed("face_node_connectivity")
        if shapes.facet_corners:
            facets = self._lay_flat(
                "facet_nodes", "i8", ("facet", "facet_corner"), (shapes.facet_corners,)
            )
            _label(facets, "1", "boundary facet")
            facets.attrs["start_index"] = np.int64(0)
            part = self._lay_flat("facet_part", "i8", ("facet",), ())
            _label(part, "1", "part of the boundary")
            _flag_parts(part, shapes.parts)
        topology = self._file.create_dataset("mesh", data=np.int32(0))
        topology.attrs["cf_role"] = fixed("mesh_topology")
        topology.attrs["topology_dimension"] = np.int32(shapes.dimension)
        topology.attrs["node_coordinates"] = fixed(" ".join(names))
        if shapes.corners:
            topology.attrs["face_node_connectivity"] = fixed("cell_nodes")
            topology.attrs["face_dimension"] = fixed("cell")

    def _lay_flat(
        self, name: str, dtype: str, dims: tuple[str, ...], inner: tuple[int, ...]
    ) -> h5py.Dataset:
        """Make a data set that grows along its first axis, with scales."""
        dataset = self._grow(name, dtype, inner)
        for axis, dim in enumerate(dims):
            dataset.dims[axis].attach_scale(self._file[dim])
        return dataset

    def _grow(self, name: str, dtype: str, inner: tuple[int, ...]) -> h5py.Dataset:
        row = int(np.prod(inner, dtype=np.int64)) * np.dtype(dtype).itemsize
        rows = max(FLAT_CHUNK_BYTES // row, 1)
        return self._create(
            name, dtype, (0, *inner), (rows, *inner), maxshape=(None, *inner)
        )

    def _lay_mesh(self) -> None:
        mesh = self.header.mesh
        assert mesh is not None
        nodes, dimension = mesh.points.shape
        sizes = {"node": nodes, "cell": len(mesh.cells), CORNERS: mesh.cells.shape[1]}
        for name, length in sizes.items():
            self._scale(name, Axis(np.arange(length, dtype=float), "1", name), "i8")
        names = [f"node_{axis}" for axis in "xyz"[:dimension]]
        for k, name in enumerate(names):
            dataset = self._lay(name, "f8", ("node",), (nodes,))
            dataset[:] = mesh.points[:, k]
            _label(dataset, "1", f"{name[-1]} of the node")
        cells = self._lay("cell_nodes", "i8", ("cell", CORNERS), mesh.cells.shape)
        cells[:] = mesh.cells
        cells.attrs["start_index"] = np.int64(0)
        cells.attrs["cf_role"] = fixed("face_node_connectivity")
        if mesh.groups is not None:
            self._lay_groups(mesh.groups)
        topology = self._file.create_dataset("mesh", data=np.int32(0))
        topology.attrs["cf_role"] = fixed("mesh_topology")
        topology.attrs["topology_dimension"] = np.int32(dimension)
        topology.attrs["node_coordinates"] = fixed(" ".join(names))
        topology.attrs["face_node_connectivity"] = fixed("cell_nodes")
        topology.attrs["face_dimension"] = fixed("cell")
        if mesh.groups is not None:
            topology.attrs["boundary_node_connectivity"] = fixed("facet_nodes")

    def _lay_groups(self, groups: MeshGroups) -> None:
        facets, corners = groups.facets.shape
        for name, length in {"facet": facets, "facet_corner": corners}.items():
            self._scale(name, Axis(np.arange(length, dtype=float), "1", name), "i8")
        arrays = {
            "cell_subdomain": (("cell",), groups.subdomains, "subdomain of the cell"),
            "facet_nodes": (("facet", "facet_corner"), groups.facets, "boundary facet"),
            "facet_part": (("facet",), groups.parts, "part of the boundary"),
        }
        for name, (dims, values, long_name) in arrays.items():
            dataset = self._lay(name, "i8", dims, values.shape)
            dataset[:] = values
            _label(dataset, "1", long_name)
        self._file["facet_nodes"].attrs["start_index"] = np.int64(0)
        part = self._file["facet_part"]
        _flag_parts(part, groups.names)

    def _scale(self, name: str, axis: Axis, dtype: str) -> None:
        dataset = self._create(name, dtype, (len(axis.values),), (len(axis.values),))
        dataset[:] = axis.values
        dataset.make_scale(name)
        _label(dataset, axis.units, axis.long_name or name)
        if axis.calendar:
            dataset.attrs["calendar"] = fixed(axis.calendar)

    def _lay(
        self, name: str, dtype: str, dims: tuple[str, ...], shape: tuple[int, ...]
    ) -> h5py.Dataset:
        dataset = self._create(name, dtype, shape, chunk_shape(dims, shape, dtype))
        for axis, dim in enumerate(dims):
            dataset.dims[axis].attach_scale(self._file[dim])
        return dataset

    def _create(
        self,
        name: str,
        dtype: str,
        shape: tuple[int, ...],
        chunks: tuple[int, ...],
        maxshape: tuple[int | None, ...] | None = None,
    ) -> h5py.Dataset:
        compression = {"compression": self._gzip, "shuffle": True} if self._gzip else {}
        return self._file.create_dataset(
            name,
            shape,
            dtype,
            chunks=chunks,
            maxshape=maxshape,
            fletcher32=True,
            **compression,
        )


def chunk_shape(
    dims: tuple[str, ...], shape: tuple[int, ...], dtype: str
) -> tuple[int, ...]:
    """Return one sample a chunk, and as many frames of it as fit into about 1 MiB."""
    numbers = len(dims) == 2 and dims[1].endswith("_component")
    if dims[0] != "sample" or len(dims) == 1 or dims[1] == "byte" or numbers:
        return shape
    chunk = [1, *shape[1:]]
    if dims[1] == "time":
        frame = int(np.prod(shape[2:], dtype=np.int64)) * np.dtype(dtype).itemsize
        chunk[1] = max(1, min(shape[1], CHUNK_BYTES // max(frame, 1)))
    return tuple(chunk)


def _flag_parts(dataset: h5py.Dataset, names: Sequence[str]) -> None:
    dataset.attrs["flag_values"] = np.arange(len(names), dtype=np.int64)
    meanings = ("_".join(name.split()) for name in names)
    dataset.attrs["flag_meanings"] = fixed(" ".join(meanings))


def _label(dataset: h5py.Dataset, units: str, long_name: str) -> None:
    dataset.attrs["units"] = fixed(units)
    dataset.attrs["long_name"] = fixed(long_name)


def fixed(value: str) -> Any:
    """Return a fixed-length string: variable-length ones have no checksum in HDF5."""
    encoded = value.encode()
    return np.array(encoded, h5py.string_dtype("utf-8", max(len(encoded), 1)))
