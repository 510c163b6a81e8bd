"""CGNS files as HDF5 holds them, one sample a file: PLAID's form among others.

A node of CGNS is a group with the attributes ``name``, ``label`` and ``type``, and its
values in the data set ``" data"``. One base with one unstructured zone is read: its
coordinates, its elements of the highest dimension, and the fields on vertices and cell
centres. PLAID keeps the numbers of a sample beside it, in ``../scalars.csv``. Its
pickles are never read.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from opkit.datasets.header import Mesh
from opkit.datasets.importers.hdf5 import audited, check_before_reading
from opkit.datasets.importers.source import LazyArray, Source, in_memory
from opkit.datasets.read import explained
from opkit.errors import DataError

DATA = " data"
ELEMENTS = {5: (3, 2), 6: (6, 2), 7: (4, 2), 10: (4, 3), 11: (10, 3), 17: (8, 3)}
"""Nodes and dimension by CGNS's number of the kind of an element."""
LOWER = {2, 3, 4}
"""Points and lines."""
PLACES = {"Vertex": "node", "CellCenter": "cell"}
LARGEST_TEXT = 1 << 20


def open_source(path: Path) -> Source:
    """Open a file.

    Raises:
        DataError: no such file, or a grid that is not of one kind of elements.
    """
    file = audited(path)
    with explained(path):
        zone = _only(path, _only(path, file, "CGNSBase_t"), "Zone_t")
        kind = [_text(_values(path, node)) for node in _children(zone, "ZoneType_t")]
        if kind != ["Unstructured"]:
            raise DataError(f"{path}: its zone is {kind}: only Unstructured is read")
        points = _points(path, _only(path, zone, "GridCoordinates_t"))
        mesh = Mesh(*_flattened(points, _cells(path, zone)))
        arrays = dict(_fields(path, zone, len(mesh.points), len(mesh.cells)))
    arrays |= _scalars(path.parent.parent / "scalars.csv")
    return Source(arrays, mesh=mesh, close=file.close)


def _children(group: h5py.Group, label: str) -> Iterator[h5py.Group]:
    for item in group.values():
        if isinstance(item, h5py.Group) and _text(item.attrs.get("label", "")) == label:
            yield item


def _only(path: Path, group: h5py.Group, label: str) -> h5py.Group:
    children = list(_children(group, label))
    if len(children) != 1:
        raise DataError(
            f"{path}: has {len(children)} nodes of the kind {label}: files with one "
            "are read"
        )
    return children[0]


def _values(path: Path, node: h5py.Group) -> NDArray[Any]:
    if DATA not in node:
        raise DataError(f"{path}: the node {node.name} has no values")
    check_before_reading(path, node[DATA])
    return np.asarray(node[DATA][...])


def _text(value: Any) -> str:
    """Return a text, which CGNS also holds as numbers of characters."""
    if isinstance(value, np.ndarray):
        value = value.astype(np.uint8).tobytes()
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return text.rstrip("\0 ")


def _points(path: Path, group: h5py.Group) -> NDArray[np.float64]:
    columns = [
        _values(path, group[f"Coordinate{axis}"]).reshape(-1)
        for axis in "XYZ"
        if f"Coordinate{axis}" in group
    ]
    if not 2 <= len(columns) <= 3 or len({len(c) for c in columns}) > 1:
        raise DataError(f"{path}: give CoordinateX, CoordinateY (and CoordinateZ)")
    return np.stack(columns, 1).astype(np.float64)


def _cells(path: Path, zone: h5py.Group) -> NDArray[np.int64]:
    """Elements of the highest dimension, counted from 0."""
    parts: dict[int, list[NDArray[np.int64]]] = {}
    for node in _children(zone, "Elements_t"):
        number = int(_values(path, node).reshape(-1)[0])
        if number in LOWER:
            continue
        if number not in ELEMENTS:
            raise DataError(
                f"{path}: elements of the kind {number} of CGNS: write triangles, "
                "quadrilaterals, tetrahedra or hexahedra"
            )
        nodes = _values(path, node["ElementConnectivity"]).reshape(-1)
        count = ELEMENTS[number][0]
        if len(nodes) % count:
            raise DataError(f"{path}: {node.name} is not whole")
        parts.setdefault(number, []).append(nodes.astype(np.int64).reshape(-1, count))
    most = max((ELEMENTS[n][1] for n in parts), default=0)
    highest = [n for n in parts if ELEMENTS[n][1] == most]
    if len(highest) > 1:
        raise DataError(f"{path}: has several kinds of cells: write one kind")
    if not highest:
        return np.zeros((0, 0), np.int64)
    return np.concatenate(parts[highest[0]]) - 1


def _flattened(
    points: NDArray[np.float64], cells: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Leave out a third coordinate that is the same everywhere."""
    flat = points.shape[1] == 3 and not np.ptp(points[:, 2])
    return (points[:, :2] if flat else points), cells


def _fields(
    path: Path, zone: h5py.Group, nodes: int, cells: int
) -> Iterator[tuple[str, LazyArray]]:
    names: set[str] = set()
    for group in _children(zone, "FlowSolution_t"):
        where = [_text(_values(path, n)) for n in _children(group, "GridLocation_t")]
        place = PLACES.get((where or ["Vertex"])[0])
        if place is None:
            continue  # on faces: nothing here has them
        for node in _children(group, "DataArray_t"):
            name = node.name.rsplit("/", 1)[-1]
            values = _values(path, node).reshape(-1)
            if len(values) != (nodes if place == "node" else cells):
                raise DataError(f"{path}: {name} has {len(values)} values for {place}s")
            if name in names:
                raise DataError(
                    f"{path}: {name} is on vertices and on cells: leave one"
                )
            names.add(name)
            yield name, in_memory(values, (place,))


def _scalars(table: Path) -> dict[str, LazyArray]:
    """Numbers of the sample: a line of names and a line of numbers."""
    if not table.is_file() or table.stat().st_size > LARGEST_TEXT:
        return {}
    with table.open(newline="") as lines:
        rows = [row for row in csv.reader(lines) if row]
    if len(rows) != 2 or len(rows[0]) != len(rows[1]):
        raise DataError(f"{table}: give a line of names and a line of numbers")
    try:
        pairs = zip(rows[0], map(float, rows[1]), strict=True)
        return {name.strip(): in_memory(np.array(n), ()) for name, n in pairs}
    except ValueError:
        raise DataError(f"{table}: holds a value that is no number") from None
