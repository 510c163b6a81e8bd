"""What a data file says about itself: variables, coordinates, splits, provenance."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from opkit.base.mesh_groups import MeshGroups
from opkit.datasets.shapes import FLAT_NAMES, Shapes
from opkit.errors import DataError

SCHEMA_VERSION = 1
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
DIMENSIONS = ("time", "layer", "z", "y", "x", "boundary", "node", "cell", "component")
SPACE = ("z", "y", "x", "node", "cell")
"""Dimensions that are places."""
POINTS = "points"
"""Name of the variable that holds where the nodes of each sample lie."""
GROUP_NAMES = {"cell_subdomain", "facet", "facet_corner", "facet_nodes", "facet_part"}
"""Names of the data sets that hold the groups of a mesh."""
RESERVED = {"sample", "split", "sha256", "byte", "corner", "mesh", *DIMENSIONS}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")


GENERATION_SECONDS = "generation_seconds"
"""Key in the provenance: processor seconds of drawing and solving all samples."""
KEPT_BY = {"kept_by": "surrogate.solve"}
"""What the provenance of a file says whose samples a surrogate had the solver solve."""


@dataclass(frozen=True)
class VariableSpec:
    """One physical field of a file, or numbers or a series per sample.

    Args:
        name: lower-case identifier, such as ``"permeability"``.
        role: whether it is given to a surrogate, asked of it, or where the nodes lie.
        dims: names of its dimensions after ``sample``, in array order; none of a
            number, ``component`` alone of a short vector, ``time`` alone of a series.
        shape: length of each of them; 0 of the nodes or cells of a ragged file.
        dtype: stored number type.
        units: UDUNITS string; ``"1"`` where nondimensional.
        long_name: for axes of figures.
        scale: ``"log"`` of a number whose logarithm is what varies evenly.
    """

    name: str
    role: Literal["input", "output", "points"]
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: Literal["float32", "float64"] = "float32"
    units: str = "1"
    long_name: str = ""
    scale: Literal["linear", "log"] = "linear"

    @property
    def is_number(self) -> bool:
        """Whether it is a number or a short vector per sample, not a field."""
        return set(self.dims) <= {"component"}

    @property
    def is_series(self) -> bool:
        """Whether it is a function of time alone."""
        return self.dims == ("time",)

    @property
    def is_whole(self) -> bool:
        """Whether it belongs to a sample as a whole: a number, a vector, a series."""
        return self.is_number or self.is_series

    @property
    def is_field(self) -> bool:
        """Whether it has places: neither numbers, nor a series, nor the nodes."""
        return not (self.is_whole or self.role == "points")

    @property
    def stored_dims(self) -> tuple[str, ...]:
        """Its dimensions' names in the file: each vector has components of its own."""
        return tuple(f"{self.name}_{d}" if d == "component" else d for d in self.dims)

    @property
    def nbytes(self) -> int:
        """Bytes of one sample."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Axis:
    """Values of one dimension.

    Args:
        values: (n,), increasing.
        units: UDUNITS string, ``"days since 2000-01-01"`` included.
        long_name: for axes of figures.
        calendar: CF's, of times since a date; empty for the standard one.
        periodic: whether the value after the last is the first again; values are then
            evenly spaced and the end that repeats the first is left out.
    """

    values: NDArray[np.float64]
    units: str = "1"
    long_name: str = ""
    calendar: str = ""
    periodic: bool = False

    def describe(self) -> dict[str, Any]:
        """Return what is stored as JSON; what is not said is left out."""
        labels: dict[str, Any] = {"units": self.units, "long_name": self.long_name}
        if self.calendar:
            labels["calendar"] = self.calendar
        if self.periodic:
            labels["periodic"] = True
        return labels


@dataclass(frozen=True, eq=False)
class Mesh:
    """Nodes and cells of an unstructured mesh.

    Args:
        points: (node, 2 or 3) coordinates.
        cells: (cell, corner) indices into points, counted from 0.
        groups: subdomains and boundary parts, of a mesh that came from a file.
    """

    points: NDArray[np.float64]
    cells: NDArray[np.int64]
    groups: MeshGroups | None = None


@dataclass(frozen=True)
class Header:
    """A file without its samples.

    Args:
        case: the resolved case as plain JSON types; empty for data without one.
        variables: the physical fields.
        coordinates: axis values by dimension name; a mesh brings ``node`` and ``cell``.
        splits: split name to increasing row numbers; every row is in exactly one.
        seed: sample i was drawn from ``SeedSequence([seed, i])``; None if imported.
        provenance: versions, command, source; not part of the content hash.
        mesh: for variables on ``node`` or ``cell``.
        files: name to SHA-256 of each file that the case names.
        shapes: of a ragged file, where each sample has a mesh or cloud of its own.
    """

    case: Mapping[str, Any]
    variables: tuple[VariableSpec, ...]
    coordinates: Mapping[str, Axis]
    splits: Mapping[str, NDArray[np.int64]]
    seed: int | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    mesh: Mesh | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    shapes: Shapes | None = None

    @property
    def ragged(self) -> bool:
        """Whether each sample has a mesh or cloud of its own."""
        return self.shapes is not None

    @property
    def inputs(self) -> tuple[VariableSpec, ...]:
        """The variables given to a surrogate."""
        return tuple(v for v in self.variables if v.role == "input")

    @property
    def parameters(self) -> tuple[VariableSpec, ...]:
        """The inputs that are numbers or short vectors per sample."""
        return tuple(v for v in self.inputs if v.is_number)

    @property
    def dtype(self) -> Literal["float32", "float64"]:
        """Number type of the fields; numbers per sample are float64."""
        kinds = [v.dtype for v in self.variables if not v.is_number]
        return kinds[0] if kinds else "float64"

    @property
    def outputs(self) -> tuple[VariableSpec, ...]:
        """The variables asked of a surrogate."""
        return tuple(v for v in self.variables if v.role == "output")

    @property
    def samples(self) -> int:
        """Number of rows."""
        return sum(len(rows) for rows in self.splits.values())

    @property
    def sample_nbytes(self) -> int:
        """Bytes of one sample over all variables, on average where they differ."""
        if self.shapes is None:
            return sum(v.nbytes for v in self.variables)
        total = 0
        for v in self.variables:
            size = np.dtype(v.dtype).itemsize
            rows = self.samples if v.is_whole else self.shapes.count(v.dims[0])
            total += rows * size * int(np.prod(v.shape if v.is_whole else 1))
        return max(total // max(self.samples, 1), 1)

    @property
    def sizes(self) -> dict[str, int]:
        """Length of every dimension that all samples share.

        Not of ``sample``, the components of vectors, and nodes of a ragged file.
        """
        return {
            d: n
            for v in self.variables
            for d, n in zip(v.dims, v.shape, strict=True)
            if d != "component" and n
        }

    @property
    def split_codes(self) -> NDArray[np.int8]:
        """For each row the position of its split in `SPLITS`."""
        codes = np.full(self.samples, -1, np.int8)
        for name, rows in self.splits.items():
            codes[rows] = SPLITS.index(name)
        return codes

    def variable(self, name: str) -> VariableSpec:
        """Return a variable by name.

        Raises:
            DataError: there is none of that name.
        """
        for variable in self.variables:
            if variable.name == name:
                return variable
        known = ", ".join(v.name for v in self.variables)
        raise DataError(f"no variable {name!r}; the file has {known}")

    def describe(self) -> dict[str, Any]:
        """Return the part stored as JSON (no arrays)."""
        described = {
            "schema_version": SCHEMA_VERSION,
            "case": dict(self.case),
            "variables": [_plain(v) for v in self.variables],
            "coordinates": {d: a.describe() for d, a in self.coordinates.items()},
            "seed": self.seed,
            "provenance": dict(self.provenance),
        }
        if self.mesh is not None and self.mesh.groups is not None:
            described["boundary_parts"] = list(self.mesh.groups.names)
        if self.files:
            described["files"] = dict(self.files)
        if self.shapes is not None:
            described["ragged"] = True
            described["shapes"] = self.shapes.describe()
        return described


def is_store(header: Header) -> bool:
    """Whether the samples are those that a surrogate had the solver solve."""
    return KEPT_BY.items() <= dict(header.provenance).items()


SIDES = {"x": ("left", "right"), "y": ("bottom", "top"), "z": ("back", "front")}
"""Axes of space, and the sides of the domain that each of them joins."""


def periodic_axes(header: Header) -> set[str]:
    """Return the axes of space whose last value is followed by the first.

    The case says so; of data without one, the axes themselves.
    """
    if not header.case:
        return {d for d, axis in header.coordinates.items() if axis.periodic}
    boundary = header.case.get("boundary", {})
    return {
        axis
        for axis, sides in SIDES.items()
        if all(boundary.get(s, {}).get("kind") == "periodic" for s in sides)
    }


def closed(values: NDArray[Any], header: Header, dims: Sequence[str]) -> NDArray[Any]:
    """Repeat the first of (*dims, ...) values behind the last on periodic axes."""
    periodic = periodic_axes(header)
    for axis, dim in enumerate(dims):
        if dim in periodic:
            first = np.take(values, [0], axis)
            values = np.concatenate([values, first], axis)
    return values


def check_header(header: Header, origin: str) -> Header:
    """Return the header if it is consistent.

    Raises:
        DataError: names, dims, shapes, coordinates or splits contradict one another.
    """

    def refuse(problem: str) -> DataError:
        return DataError(f"{origin}: {problem}")

    names = [v.name for v in header.variables]
    # shapes may be the only input
    shaped = header.ragged or POINTS in names
    if not (header.inputs or shaped) or not header.outputs:
        raise refuse("a file needs at least one input and one output variable")
    sizes: dict[str, int] = {}
    for v in header.variables:
        if (
            not _NAME.match(v.name)
            or v.name in RESERVED
            or v.name.startswith("solver_")
        ):
            raise refuse(f"{v.name!r} is not a free lower-case name for a variable")
        if names.count(v.name) > 1:
            raise refuse(f"variable {v.name!r} appears twice")
        if len(v.dims) != len(v.shape) or len(set(v.dims)) != len(v.dims):
            raise refuse(f"{v.name}: dims {v.dims} do not fit shape {v.shape}")
        for dim in v.dims:
            if dim not in DIMENSIONS:
                raise refuse(f"{v.name}: unknown dimension {dim!r}; use {DIMENSIONS}")
        if list(v.dims) != sorted(v.dims, key=DIMENSIONS.index):
            raise refuse(f"{v.name}: the order of dims is {DIMENSIONS}, not {v.dims}")
        if header.shapes is not None and not v.is_whole:
            _check_flat(v, header.shapes, refuse)
            continue
        for dim, length in zip(v.dims, v.shape, strict=True):
            if length < 1 or (
                dim != "component" and sizes.setdefault(dim, length) != length
            ):
                other = next(w.name for w in header.variables if dim in w.dims)
                raise refuse(
                    f"dimension {dim} has length {sizes[dim]} in {other} and {length} "
                    f"in {v.name}: give them the same points; an input of one "
                    "frame has no time (`@0` on import)"
                )
        _check_components(v, refuse)
    mesh_dims = {"node": "points", "cell": "cells"} if header.mesh else {}
    for dim, length in sizes.items():
        if dim in mesh_dims:
            size = len(getattr(header.mesh, mesh_dims[dim]))
        elif dim in header.coordinates:
            axis = np.asarray(header.coordinates[dim].values)
            size = len(axis) if axis.ndim == 1 else -1
            if not np.all(np.isfinite(axis)) or np.any(np.diff(axis) <= 0):
                raise refuse(f"coordinate {dim} must be finite and increasing")
        else:
            raise refuse(f"dimension {dim} has no coordinate")
        if size != length:
            raise refuse(f"coordinate {dim} does not have {length} values")
    _check_mesh(header.mesh, refuse)
    if header.shapes is not None:
        _check_shapes(header, header.shapes, refuse)
    if header.mesh is not None and header.mesh.groups is not None:
        clashes = sorted(GROUP_NAMES.intersection(names))
        if clashes:
            raise refuse(f"{clashes[0]!r} names a part of the mesh, not a variable")
    if not set(header.splits) <= set(SPLITS):
        raise refuse(f"splits must be among {', '.join(SPLITS)}")
    rows = [np.asarray(r) for r in header.splits.values()]
    together = np.sort(np.concatenate(rows)) if rows else np.empty(0, np.int64)
    if not np.array_equal(together, np.arange(len(together))):
        raise refuse("every sample must be in exactly one split")
    return header


def _check_components(v: VariableSpec, refuse: Any) -> None:
    """Refuse components where there are none, and points that are none."""
    vector = v.dims == ("component",)
    if (v.role == "points") != (v.name == POINTS):
        raise refuse(f"the role points and the name {POINTS!r} belong together")
    if v.role == "points":
        if not set(v.dims[:-1]) <= set(SPACE) or v.dims[-1:] != ("component",):
            raise refuse(f"{v.name}: dims are those of space and component")
        if len(v.dims) < 2 or v.shape[-1] not in (2, 3):
            raise refuse(f"{v.name} must be (*space, 2) or (*space, 3)")
    elif "component" in v.dims and not vector:
        raise refuse(f"{v.name}: component is for short vectors per sample alone")
    elif vector and v.shape[0] < 2:
        raise refuse(f"{v.name} is a vector of one number: leave its axis away")
    if v.scale == "log" and not v.is_number:
        raise refuse(f"{v.name}: the scale log is for numbers per sample")


def _check_flat(v: VariableSpec, shapes: Shapes, refuse: Any) -> None:
    """Refuse fields that a ragged file cannot hold."""
    if v.name in FLAT_NAMES or v.role == "points":
        raise refuse(f"{v.name!r} names a part of the meshes, not a variable")
    if v.dims not in (("node",), ("cell",)) or v.shape != (0,):
        raise refuse(
            f"{v.name} has dims {v.dims}: fields of a ragged file are on node or cell"
        )
    if v.dims[0] not in shapes.places:
        raise refuse(f"{v.name} is on cells, and the samples are clouds without any")


def _check_shapes(header: Header, shapes: Shapes, refuse: Any) -> None:
    fault = shapes.fault(header.samples)
    if fault:
        raise refuse(fault)
    if header.mesh is not None or set(header.coordinates) - {"time"}:
        raise refuse("a ragged file has no axes of space and no mesh that all share")


def _check_mesh(mesh: Mesh | None, refuse: Any) -> None:
    if mesh is None:
        return
    if mesh.points.ndim != 2 or mesh.points.shape[1] not in (2, 3):
        raise refuse("mesh points must be (node, 2) or (node, 3)")
    if not np.all(np.isfinite(mesh.points)):
        raise refuse("mesh points must be finite")
    cells = mesh.cells
    if cells.ndim != 2 or cells.min(initial=0) < 0:
        raise refuse("mesh cells must be (cell, corner), counted from 0")
    if not len(cells):
        raise refuse("the mesh has no cells")
    if cells.max(initial=0) >= len(mesh.points):
        raise refuse("mesh cells point beyond the last node")
    if mesh.groups is not None:
        nodes, dimension = mesh.points.shape
        fault = mesh.groups.fault(nodes, dimension, len(cells))
        if fault:
            raise refuse(f"mesh: {fault}")


def canonical(data: Any) -> str:
    """Return JSON text that is the same for equal data."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(variable: VariableSpec) -> dict[str, Any]:
    plain = {
        "name": variable.name,
        "role": variable.role,
        "dims": list(variable.dims),
        "shape": list(variable.shape),
        "dtype": variable.dtype,
        "units": variable.units,
        "long_name": variable.long_name,
    }
    if variable.scale != "linear":
        plain["scale"] = variable.scale
    return plain
