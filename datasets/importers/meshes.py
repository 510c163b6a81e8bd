"""Files of meshes with fields, one sample a file: one mesh, moved nodes, or one each.

Files are opened one after another, twice: to see what their meshes have in common, and
to copy them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from opkit.datasets.agreement import same_units
from opkit.datasets.disk import hdf5_appearing
from opkit.datasets.header import POINTS, Header, Mesh, VariableSpec, check_header
from opkit.datasets.importers.agree import AxisOptions, Part, axes
from opkit.datasets.importers.fieldmap import FieldMap
from opkit.datasets.importers.scrutiny import Scrutiny
from opkit.datasets.importers.source import Source
from opkit.datasets.ragged_write import (
    RaggedWriter,
    oriented,
    shapes_of,
    weights_of,
)
from opkit.datasets.write import Writer
from opkit.errors import DataError

Meshes = Literal["one", "moved", "each"]
Open = Callable[[Path], Source]
Dtype = Literal["float32", "float64"]


@dataclass(frozen=True)
class Sample:
    """One file.

    Args:
        mesh: of it, as the file has it.
        fields: by variable.
        dims: of each of them.
        units: of each of them, where the file says.
        part: the file as other imports see it, for the axis of time.
    """

    mesh: Mesh
    fields: Mapping[str, NDArray[Any]]
    dims: Mapping[str, tuple[str, ...]]
    units: Mapping[str, str]
    part: Part


def has_mesh(source: Source) -> bool:
    """Whether a file holds a mesh or cloud of its own, and no axis of samples."""
    points = source.arrays.get(POINTS)
    if points is None or points.dims is not None or len(points.shape) != 2:
        return source.mesh is not None
    return points.shape[1] in (2, 3)


def mesh_of(path: Path, source: Source) -> Mesh:
    """Return the mesh of a file, or of its arrays ``points`` and ``cells``.

    Raises:
        DataError: it has none.
    """
    if source.mesh is not None:
        return source.mesh
    points, cells = (_whole(source, name) for name in (POINTS, "cells"))
    if points is None or points.ndim != 2 or points.shape[1] not in (2, 3):
        raise DataError(
            f"{path}: has no mesh: add arrays points (node, 2 or 3) and cells (cell, "
            "corner), counted from 0"
        )
    if cells is None:
        cells = np.zeros((0, 0), np.int64)
    if cells.dtype.kind not in "iu" or cells.ndim != 2:
        raise DataError(f"{path}: cells is not (cell, corner) of whole numbers")
    return Mesh(points.astype(np.float64), cells.astype(np.int64))


def _whole(source: Source, name: str) -> NDArray[Any] | None:
    array = source.arrays.get(name)
    if array is None:
        return None
    return np.asarray(array.read((slice(None),) * len(array.shape)))


def read_sample(path: Path, open_source: Open, fields: Sequence[FieldMap]) -> Sample:
    """Read one file whole.

    Raises:
        DataError: no mesh, no such array, or several samples.
    """
    source = open_source(path)
    try:
        return sample_of(path, source, fields)
    finally:
        source.close()


def sample_of(path: Path, source: Source, fields: Sequence[FieldMap]) -> Sample:
    """Return the sample that a source is; as `read_sample`."""
    mesh = mesh_of(path, source)
    placed = _with_places(source, mesh)
    selections = [field.take(path, placed) for field in fields]
    for selection in selections:
        if selection.samples not in (None, 1):
            raise DataError(
                f"{path}: {selection.field.source} holds {selection.samples} "
                "samples: files of meshes hold one each"
            )
    return Sample(
        mesh,
        {s.field.name: s.read(slice(0, 1))[0] for s in selections},
        {s.field.name: s.target for s in selections},
        {s.field.name: s.array.units for s in selections},
        Part(path, placed, tuple(selections), 1),
    )


def _with_places(source: Source, mesh: Mesh) -> Source:
    """Say which arrays without names of axes are on nodes, on cells, or numbers."""
    lengths = {len(mesh.points): "node"}
    if len(mesh.cells) == len(mesh.points):
        lengths = {}
    elif len(mesh.cells):
        lengths[len(mesh.cells)] = "cell"
    arrays = {}
    for name, array in source.arrays.items():
        if array.dims is None and not array.shape:
            array = replace(array, dims=())
        elif array.dims is None and array.shape[0] in lengths and len(array.shape) == 1:
            array = replace(array, dims=(lengths[array.shape[0]],))
        arrays[name] = array
    return replace(source, arrays=arrays)


def told(paths: Sequence[Path], open_source: Open, asked: Meshes | None) -> Meshes:
    """Return what the meshes of files have in common.

    Args:
        paths: of the files.
        open_source: opens one.
        asked: what the user says it is.

    Raises:
        DataError: they have less in common than the user says.
    """
    if asked == "each":
        return asked
    first: Mesh | None = None
    common: Meshes = "one"
    for path in paths:
        source = open_source(path)
        try:
            mesh = mesh_of(path, source)
        finally:
            source.close()
        first = first or mesh
        if not _same_topology(mesh, first):
            if asked is not None:
                raise DataError(
                    f"{path}: its cells are not those of {paths[0]}: the topology "
                    "changes; --meshes each stores a mesh for each sample"
                )
            return "each"
        slack = 1e-7 * np.ptp(first.points, axis=0).max()
        if not np.allclose(mesh.points, first.points, rtol=0, atol=slack):
            if asked == "one":
                raise DataError(
                    f"{path}: its nodes do not lie where those of {paths[0]} do: "
                    "--meshes moved stores them for each sample"
                )
            common = "moved"
    if first is not None and not len(first.cells):
        if asked is not None:
            raise DataError(
                f"{paths[0]}: is a cloud without cells: --meshes each stores one for "
                "each sample"
            )
        return "each"
    return asked or common


def is_cloud(source: Source) -> bool:
    """Whether a file's mesh has no cells."""
    return source.mesh is not None and not len(source.mesh.cells)


def _same_topology(one: Mesh, other: Mesh) -> bool:
    if one.points.shape != other.points.shape:
        return False
    if (one.groups is None) != (other.groups is None):
        return False
    if one.groups is not None and other.groups is not None:
        same = np.array_equal(one.groups.facets, other.groups.facets)
        same &= np.array_equal(one.groups.parts, other.groups.parts)
        if not same or one.groups.names != other.groups.names:
            return False
    return np.array_equal(one.cells, other.cells)


@dataclass(frozen=True)
class Wanted:
    """The data file that is to be made.

    Args:
        target: the file.
        fields: which arrays become which variables.
        meshes: ``moved`` or ``each``.
        splits: split name to rows.
        units: by variable, where the files do not say.
        dtype: stored type.
        provenance: where the data come from.
        force: replace the target.
        axes: what the user says of the axis of time, where variables have it.
    """

    target: Path
    fields: Sequence[FieldMap]
    meshes: Meshes
    splits: Mapping[str, NDArray[np.int64]]
    units: Mapping[str, str]
    dtype: Dtype
    provenance: Mapping[str, Any] = field(default_factory=dict)
    force: bool = True
    axes: AxisOptions = field(default_factory=lambda: AxisOptions({}, {}))


def copy(paths: Sequence[Path], open_source: Open, wanted: Wanted) -> None:
    """Copy files of meshes into one data file, one after another.

    Args:
        paths: of the files, in the order of the rows.
        open_source: opens one.
        wanted: the file to make.

    Raises:
        DataError: files that disagree, meshes that are not sound, missing values.
    """
    write(((p, read_sample(p, open_source, wanted.fields)) for p in paths), wanted)


def write(samples: Iterable[tuple[Path, Sample]], wanted: Wanted) -> None:
    """Write samples one after another, as many as the splits have.

    Args:
        samples: with the paths, or names, that they come from.
        wanted: the file to make.

    Raises:
        DataError: as `copy`.
    """
    target, meshes = wanted.target, wanted.meshes
    coming = iter(samples)
    start = next(coming, None)
    if start is None:
        raise DataError(f"{target}: there are no samples")
    first = start[1]
    variables = _variables(first, wanted)
    header = Header(
        case={},
        variables=variables,
        coordinates=axes([first.part], wanted.axes),
        splits=wanted.splits,
        provenance=wanted.provenance,
        mesh=oriented(first.mesh) if meshes == "moved" else None,
        shapes=shapes_of(first.mesh) if meshes == "each" else None,
    )
    check_header(header, str(target))
    names = [v.name for v in variables if v.role != "points"]
    cells = oriented(first.mesh).cells
    scrutiny = Scrutiny(header)
    with hdf5_appearing(target, replace=wanted.force) as file:
        ragged = RaggedWriter(file, header) if meshes == "each" else None
        writer = Writer(file, header) if meshes == "moved" else None
        for row, (path, sample) in enumerate(chain([start], coming)):
            if row == header.samples:
                raise DataError(f"{path}: is one more than the {row} that were said")
            _check_alike(path, sample, first, header, wanted)
            whole = {name: sample.fields[name][None] for name in names}
            if writer is not None:  # a cell that is turned over there is inverted
                mesh = replace(sample.mesh, cells=cells)
                weights_of(mesh, str(path))
                whole[POINTS] = mesh.points[None]
                values = scrutiny.look([str(path)], row, whole)
                writer.put(slice(row, row + 1), np.array([row]), values)
            if ragged is not None:
                mesh = oriented(sample.mesh)
                values = scrutiny.look([str(path)], row, whole, _bytes_of(mesh))
                own = {n: array[0] for n, array in values.items()}
                ragged.put(row, mesh, own, place=str(path))
        scrutiny.finish()
        if ragged is not None:
            ragged.finish()
        if writer is not None:
            writer.finish()


def _bytes_of(mesh: Mesh) -> bytes:
    """Return a digest of a shape, which is an input of its sample."""
    total = hashlib.sha256(np.ascontiguousarray(mesh.points).data)
    total.update(np.ascontiguousarray(mesh.cells).data)
    return total.digest()


def _variables(first: Sample, wanted: Wanted) -> tuple[VariableSpec, ...]:
    specs = []
    for each in wanted.fields:
        name = each.name
        dims, shape = first.dims[name], np.shape(first.fields[name])
        number = set(dims) <= {"component"}
        if wanted.meshes == "each" and not number and dims != ("time",):
            shape = (0,) * len(dims)
        said = wanted.units.get(name) or each.units or first.units[name] or "1"
        kind: Dtype = "float64" if number else wanted.dtype
        specs.append(
            VariableSpec(name, each.role, dims, shape, kind, said, each.long_name)
        )
    if wanted.meshes == "moved":
        dims, nodes = ("node", "component"), first.mesh.points.shape
        specs.append(VariableSpec(POINTS, "points", dims, nodes, wanted.dtype))
    return tuple(specs)


def _check_alike(
    path: Path, sample: Sample, first: Sample, header: Header, wanted: Wanted
) -> None:
    """Refuse a file whose variables are not those of the first."""
    for name, dims in sample.dims.items():
        if dims != first.dims[name]:
            raise DataError(
                f"{path}: {name} has the axes {dims}, not {first.dims[name]}"
            )
        spec = header.variable(name)
        if 0 not in spec.shape and np.shape(sample.fields[name]) != spec.shape:
            raise DataError(
                f"{path}: {name} has shape {np.shape(sample.fields[name])}, the first "
                f"file {spec.shape}"
            )
        said = sample.units[name]
        if said and name not in wanted.units and not same_units(said, spec.units):
            raise DataError(
                f"{path}: {name} is in {said!r} there and in {spec.units!r} in the "
                "first file"
            )
    if header.coordinates:
        axes([first.part, sample.part], wanted.axes)
