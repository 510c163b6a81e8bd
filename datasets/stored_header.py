"""The header of a data file, as its attributes and arrays hold it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import h5py
import numpy as np

from opkit.base.mesh_groups import MeshGroups
from opkit.datasets.header import (
    SCHEMA_VERSION,
    SPLITS,
    Axis,
    Header,
    Mesh,
    VariableSpec,
    check_header,
)
from opkit.datasets.header_record import checked
from opkit.datasets.inflate import check_chunks
from opkit.datasets.shapes import Shapes
from opkit.errors import DataError


def text(value: Any) -> str:
    """Return an attribute's text, whichever way HDF5 holds it."""
    return value.decode() if isinstance(value, bytes) else str(value)


def read_header(file: h5py.File, origin: str) -> Header:
    """Return the header of an open file, if it and the file agree.

    Args:
        file: open for reading.
        origin: how messages name it.

    Raises:
        DataError: no data file, of another version, damaged, or contradicting itself.
    """
    if "opkit_header" not in file.attrs:
        raise DataError(f"{origin}: not an opkit data file: `opkit import` makes one")
    described = text(file.attrs["opkit_header"])
    claimed = text(file.attrs["opkit_header_sha256"])
    if hashlib.sha256(described.encode()).hexdigest() != claimed:
        raise DataError(f"{origin}: the header is damaged")
    data = _parsed(described, origin)
    version = data.get("schema_version")
    if type(version) is not int or version != SCHEMA_VERSION:
        raise DataError(
            f"{origin}: schema version {version}, this opkit reads {SCHEMA_VERSION}: "
            "upgrade opkit"
        )
    data = checked(data, origin)
    shapes = _read_shapes(file, data["shapes"], origin) if "shapes" in data else None
    variables = tuple(_variable(v) for v in data["variables"])
    for name in set(file) - {v.name for v in variables}:
        check_chunks(file[name])
    for v in variables:
        if v.name not in file:
            raise DataError(f"{origin}: variable {v.name!r} of the header is not there")
        dataset = file[v.name]
        shape, expected = dataset.shape[1:], v.shape
        if shapes is not None and not v.is_whole:
            shape, expected = dataset.shape, (shapes.count("".join(v.dims)),)
        if shape != expected or dataset.dtype != np.dtype(v.dtype):
            raise DataError(f"{origin}: {v.name} is not what the header says")
    codes = np.asarray(file["split"][:])
    splits = {s: np.flatnonzero(codes == k) for k, s in enumerate(SPLITS)}
    if (
        len(codes) != file["sample" if shapes else variables[0].name].shape[0]
        or not np.isin(codes, range(3)).all()
    ):
        raise DataError(f"{origin}: the split of some samples is not known")
    _check_columns(file, len(codes), origin)
    header = Header(
        case=data["case"],
        variables=variables,
        coordinates={
            name: Axis(np.asarray(file[name][:], np.float64), **labels)
            for name, labels in data["coordinates"].items()
        },
        splits={name: rows for name, rows in splits.items() if len(rows)},
        seed=data["seed"],
        provenance=data["provenance"],
        mesh=_read_mesh(file, data.get("boundary_parts"))
        if "mesh" in file and shapes is None
        else None,
        files=data.get("files", {}),
        shapes=shapes,
    )
    return check_header(header, origin)


def _read_shapes(file: h5py.File, described: dict[str, Any], origin: str) -> Shapes:
    """Return what a ragged file says of its meshes, if its lengths add up."""
    shapes = Shapes(**{**described, "parts": tuple(described["parts"])})
    offsets = {
        place: np.asarray(file[f"{place}_offset"][:], np.int64)
        for place in shapes.places
    }
    shapes = replace(shapes, offsets=offsets)
    fault = shapes.fault(len(file["sample"]))
    if fault:
        raise DataError(f"{origin}: {fault}")
    axes = [f"node_{axis}" for axis in "xyz"[: shapes.dimension]]
    flat = {
        "node": ["node", "weights", *axes],
        "cell": ["cell", "cell_nodes"],
        "facet": ["facet", "facet_nodes", "facet_part"],
    }
    inner = {"cell_nodes": shapes.corners, "facet_nodes": shapes.facet_corners}
    for place in shapes.places:
        for name in flat[place]:
            columns = (inner[name],) if name in inner else ()
            kind = "f" if name == "weights" or name in axes else "i"
            if file[name].shape[1:] != columns or file[name].dtype.kind != kind:
                raise DataError(f"{origin}: {name} is not what the header says")
            if len(file[name]) != shapes.count(place):
                raise DataError(
                    f"{origin}: {place}_offset ends at {shapes.count(place)}, {name} "
                    f"has {len(file[name])} rows: the offsets do not add up"
                )
    return shapes


def _check_columns(file: h5py.File, samples: int, origin: str) -> None:
    """Refuse numbers and digests of the samples that are not what their names say."""
    columns = {n: "f" for n in file if n.startswith("solver_")} | {"sample": "iu"}
    shapes = dict.fromkeys(columns, (samples,)) | {"sha256": (samples, 32)}
    for name, kinds in (columns | {"sha256": "u"}).items():
        item = file[name]
        if item.shape != shapes[name] or item.dtype.kind not in kinds:
            raise DataError(
                f"{origin}: {name} is {item.dtype} {item.shape} for {samples} samples: "
                "damaged or not a data file"
            )


def _read_mesh(file: h5py.File, parts: list[str] | None) -> Mesh:
    names = [n for n in ("node_x", "node_y", "node_z") if n in file]
    points = np.stack([file[n][:] for n in names], axis=1)
    groups = None
    if parts is not None:
        groups = MeshGroups(
            subdomains=np.asarray(file["cell_subdomain"][:], np.int64),
            facets=np.asarray(file["facet_nodes"][:], np.int64),
            parts=np.asarray(file["facet_part"][:], np.int64),
            names=tuple(str(name) for name in parts),
        )
    return Mesh(points, np.asarray(file["cell_nodes"][:], np.int64), groups)


def _parsed(described: str, origin: str) -> dict[str, Any]:
    try:
        data = json.loads(described, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise DataError(f"{origin}: the header is damaged (not JSON)") from None
    if not isinstance(data, dict):
        raise DataError(f"{origin}: the header is damaged (no mapping)")
    return data


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _variable(data: dict[str, Any]) -> VariableSpec:
    return VariableSpec(
        **{**data, "dims": tuple(data["dims"]), "shape": tuple(data["shape"])}
    )
