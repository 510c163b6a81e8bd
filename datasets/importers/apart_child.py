"""The child process of `apart`: open foreign files and read parts of their arrays.

    python -m opkit.datasets.importers.apart_child

Requests come on standard input; see `apart`. Before each, this process limits its
address space to what it has plus what the request may take, and its processor time.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from opkit.base.children import close_folder
from opkit.base.sandbox import set_limit
from opkit.datasets.importers.source import Coordinate, Source, unreadable
from opkit.errors import DataError, MissingExtraError, OpkitError

FORMATS = {
    "npz": "opkit.datasets.importers.npz",
    "pt": "opkit.datasets.importers.pt",
    "mat": "opkit.datasets.importers.mat",
    "hdf5": "opkit.datasets.importers.hdf5",
    "pdebench": "opkit.datasets.importers.pdebench",
    "well": "opkit.datasets.importers.well",
    "table": "opkit.datasets.importers.table",
    "vtk": "opkit.datasets.importers.vtk",
    "cgns": "opkit.datasets.importers.cgns",
}
FOLDER = {"npy": "opkit.datasets.importers.npy"}
"""What a folder of .npy files is read by; nobody asks for it by name."""
ANY_HDF5 = "any hdf5"
"""A format that the content tells: The Well's, PDEBench's, or any other."""
ROOM = 2 << 30
"""Bytes that any request may take."""
CLOSING = 30.0
"""Seconds of processor time to close a file."""
HEAVY = {"pt": "torch", "vtk": "meshio"}
"""Packages that modules of formats import late."""
OF_SIZE = {"table": 6, "vtk": 4, "pt": 2}
"""Further bytes that opening a file may take, per byte of it."""
WHOLE = ("npz", "mat")
"""Formats that hold an array in memory once a part of it was read."""


class Reader:
    """The open files.

    Args:
        out: where answers go.
    """

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._open: dict[int, tuple[str, Path, Source]] = {}

    def answer(self, request: dict[str, Any]) -> None:
        """Do what is asked and write the answer."""
        if request["do"] == "load":
            _load(request["format"])
            self._write({}, [])
            return
        number = request["file"]
        if request["do"] == "close":
            _limit(ROOM, CLOSING)
            if number in self._open:
                with contextlib.suppress(Exception):
                    self._open.pop(number)[2].close()
            self._write({}, [])
            return
        start = _processor_time()
        path = Path(request["path"]) if "path" in request else self._open[number][1]
        try:
            if request["do"] == "open":
                reply, arrays = self._opened(number, path, request)
            else:
                reply, arrays = {}, [self._read(number, request)]
        except (DataError, MissingExtraError) as error:
            kind = MissingExtraError if isinstance(error, MissingExtraError) else None
            reply, arrays = _refusal(error, (kind or DataError).__name__), []
        except (OpkitError, OSError, ValueError) as error:
            reply, arrays = _refusal(unreadable(path, error)), []
        except (MemoryError, RecursionError) as error:
            reason = f"{path}: {type(error).__name__}: damaged or hostile"
            reply, arrays = _refusal(DataError(reason)), []
        except Exception as error:  # readers raise what they stumble over
            reply, arrays = _refusal(unreadable(path, error)), []
        self._write(reply | {"used": _processor_time() - start}, arrays)

    def _opened(
        self, number: int, path: Path, request: dict[str, Any]
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        format = request["format"]
        if format == ANY_HDF5:
            _limit(ROOM, request["seconds"])
            format = _layout(path)
        module = _load(format)
        room = ROOM + OF_SIZE.get(format, 0) * path.stat().st_size
        _limit(room, request["seconds"])
        source: Source = vars(module)["open_source"](path)
        self._open[number] = format, path, source
        return _described(source)

    def _read(self, number: int, request: dict[str, Any]) -> NDArray[Any]:
        format, _, source = self._open[number]
        array = source.arrays[request["name"]]
        index = tuple(slice(*ends) for ends in request["index"])
        lengths = zip(index, array.shape, strict=True)
        size = math.prod(len(range(*s.indices(n))) for s, n in lengths) * 8
        whole = math.prod(array.shape) * array.dtype.itemsize
        room = ROOM + 4 * size + (2 * whole if format in WHOLE else 0)
        _limit(room, request["seconds"])
        return np.asarray(array.read(index))

    def _write(self, reply: dict[str, Any], arrays: Sequence[NDArray[Any]]) -> None:
        flat = [np.ascontiguousarray(a).reshape(a.shape) for a in arrays]
        reply["sent"] = [[a.dtype.str, list(a.shape)] for a in flat]
        text = json.dumps(reply, default=str).encode()
        self._out.write(len(text).to_bytes(8, "little") + text)
        for array in flat:
            if array.size:
                self._out.write(memoryview(array.reshape(-1)).cast("B"))
        self._out.flush()


def _load(format: str) -> ModuleType | None:
    """Import what reads a format, with as much memory as there is."""
    _lift()
    if format == ANY_HDF5:
        for each in ("well", "pdebench", "hdf5"):
            _load(each)
        return None
    if format in HEAVY:  # its module says in words if it is not there
        with contextlib.suppress(ImportError, OSError):
            importlib.import_module(HEAVY[format])
    return importlib.import_module((FORMATS | FOLDER)[format])


def _refusal(error: Exception, kind: str = "DataError") -> dict[str, Any]:
    return {"error": " ".join(str(error).split("\n")), "kind": kind}


def _described(source: Source) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """What the parent needs to know of a file, and the arrays to send with it."""
    arrays: list[NDArray[Any]] = []
    listed: list[list[Any]] = []
    numbers: dict[int, int] = {}
    scopes: dict[int, int] = {}
    axes: list[dict[str, int]] = []

    def number(coordinate: Coordinate) -> int:
        if id(coordinate) not in numbers:
            numbers[id(coordinate)] = len(listed)
            place = None
            if coordinate.values is not None:
                place = len(arrays)
                arrays.append(np.asarray(coordinate.values, np.float64))
            labels = (coordinate.units, coordinate.long_name, coordinate.calendar)
            more = (coordinate.letter, coordinate.fault, coordinate.periodic)
            listed.append([place, *labels, *more])
        return numbers[id(coordinate)]

    def scope(own: Any) -> int:
        if id(own) not in scopes:
            scopes[id(own)] = len(axes)
            axes.append({name: number(c) for name, c in own.items()})
        return scopes[id(own)]

    described = [
        [name, list(a.shape), a.dtype.str, a.dims, a.units, scope(a.axes)]
        for name, a in source.arrays.items()
    ]
    own = {name: number(c) for name, c in source.coordinates.items()}
    mesh, names = None, None
    if source.mesh is not None:
        mesh = len(arrays)
        arrays += [source.mesh.points, source.mesh.cells]
        if source.mesh.groups is not None:
            groups = source.mesh.groups
            arrays += [groups.subdomains, groups.facets, groups.parts]
            names = list(groups.names)
    return {
        "arrays": described,
        "axes": axes,
        "coordinates": listed,
        "own": own,
        "provenance": dict(source.provenance),
        "refused": dict(source.refused),
        "mesh": mesh,
        "parts": names,
    }, arrays


def _layout(path: Path) -> str:
    from opkit.datasets.importers import pdebench  # imports xarray: not for other files

    with h5py.File(path, "r") as file:
        if "t0_fields" in file:
            return "well"
        return "pdebench" if pdebench.layout(file) else "hdf5"


def _lift() -> None:
    """Allow as much memory and time as there is, to load libraries."""
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU):
        most = resource.getrlimit(kind)[1]
        set_limit(kind, most, most)


def _limit(room: int, seconds: float) -> None:
    """Allow so many further bytes of address space and seconds of processor time."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        pages = 0
    for kind, soft in (
        (resource.RLIMIT_AS, pages * resource.getpagesize() + room),
        (resource.RLIMIT_CPU, math.ceil(_processor_time() + seconds) + 1),
    ):
        most = resource.getrlimit(kind)[1]
        set_limit(kind, soft, most)


def _processor_time() -> float:
    """Seconds of this process on the processor, so far."""
    return sum(resource.getrusage(resource.RUSAGE_SELF)[:2])


def main() -> int:
    """Answer requests until standard input ends."""
    close_folder()
    set_limit(resource.RLIMIT_CORE, 0, 0)
    set_limit(resource.RLIMIT_FSIZE, ROOM, ROOM)
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)  # what libraries print is no answer
        reader = Reader(out)
        for line in sys.stdin.buffer:
            reader.answer(json.loads(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
