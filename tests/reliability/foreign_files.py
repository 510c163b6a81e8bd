"""Sound files of other people's formats, and how opkit reads all that they hold.

They are read as `import` reads them, by the child process of
`opkit.datasets.importers.apart`, and meshes as the child of `read_mesh` does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hostile_others
import numpy as np

from opkit.errors import OpkitError


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Args:
        suffix: of the files.
        make: writes a sound one.
        read: reads all of it, to bytes.
        apart: whether opkit reads it in a child process, which may end.
    """

    suffix: str
    make: Callable[[Path], object]
    read: Callable[[Path], bytes]
    apart: bool = False


def of_source(path: Path) -> bytes:
    """Everything that an import could take."""
    from opkit.datasets.importers.convert import open_source

    source = open_source(path)
    try:
        parts = []
        for name in sorted(source.arrays):
            array = source.arrays[name]
            values = array.read((slice(None),) * len(array.shape))
            parts += [name.encode("utf-8", "replace"), values.tobytes()]
        return b"\0".join(parts)
    finally:
        source.close()


def of_mesh(path: Path) -> bytes:
    """Arrays of a mesh, as the child of `read_mesh` writes them, checked."""
    from opkit.solvers.fem import read_mesh, read_mesh_child

    def run_here(_: str, words: list[str], origin: str, *rest: object) -> str:
        if read_mesh_child.main(*words):
            raise OpkitError(f"{origin}: refused")
        return ""

    read_mesh.run_limited = run_here
    read_mesh_child.limit_this_process = lambda *_: None  # the fork has its own
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    mesh = read_mesh.read_mesh(path)
    return mesh.points.tobytes() + mesh.cells.tobytes()


def _arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"a": rng.random((3, 8, 8)), "u": rng.random((3, 8, 8)).astype("f4")}


def _npz(path: Path) -> None:
    np.savez_compressed(path, **_arrays())


def _pt(path: Path) -> None:
    import torch

    torch.save({k: torch.from_numpy(v) for k, v in _arrays().items()}, path)


def _pickled(canary: Path) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        import torch

        torch.save({"a": torch.ones(9), "b": hostile_others.Payload(canary)}, path)

    return make


def _objects(canary: Path) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        payload = np.array([hostile_others.Payload(canary)], object)
        np.savez(path, a=np.ones(9), b=payload, allow_pickle=True)

    return make


def _mat(path: Path) -> None:
    from scipy.io import savemat

    savemat(path, _arrays(), do_compression=True)


def _mat73(path: Path) -> None:
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in _arrays().items():
            file.create_dataset(name, data=values, compression=4)
            file[name].attrs["MATLAB_class"] = np.bytes_(b"double")


def _netcdf(engine: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        import xarray as xr

        held = {k: (("sample", "y", "x"), v) for k, v in _arrays().items()}
        axis = np.linspace(0, 1, 8)
        data = xr.Dataset(held, {"y": axis, "x": axis})
        packed = {k: {"zlib": True} for k in held} if engine == "h5netcdf" else {}
        data.to_netcdf(path, engine=engine, encoding=packed)

    return make


def _csv(path: Path) -> None:
    rows = ["sample,x,a,u"]
    rows += [f"{i},{j},{i + j / 7},{i * j}" for i in range(4) for j in range(6)]
    path.write_text("\n".join(rows) + "\n")


def _vtu(path: Path) -> None:
    import meshio

    points = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.0]])
    cells = [("triangle", np.array([[0, 1, 2], [0, 2, 3]]))]
    meshio.Mesh(points, cells, {"u": np.arange(4.0)}).write(path)


def square(k: int) -> dict[str, Any]:
    points = np.array([[0, 0], [1 + k, 0], [1 + k, 1], [0, 1.0]])
    cells = np.array([[0, 1, 2], [0, 2, 3]])
    return {"points": points, "cells": cells, "u": points[:, 0], "load": k}


def _cgns(path: Path) -> None:
    import h5py

    def node(group: Any, name: str, label: str, data: Any = None) -> Any:
        child = group.create_group(name)
        child.attrs["label"] = np.array(label.encode(), "S33")
        if data is not None:
            child[" data"] = data
        return child

    held = square(0)
    with h5py.File(path, "w") as file:
        base = node(file, "Base", "CGNSBase_t", np.int32([2, 2]))
        zone = node(base, "Zone", "Zone_t", np.int32([[4], [2], [0]]))
        text = np.frombuffer(b"Unstructured", np.int8)
        node(zone, "ZoneType", "ZoneType_t", text)
        grid = node(zone, "GridCoordinates", "GridCoordinates_t")
        for k, axis in enumerate("XY"):
            node(grid, f"Coordinate{axis}", "DataArray_t", held["points"][:, k])
        elements = node(zone, "Triangles", "Elements_t", np.int32([5, 0]))
        node(elements, "ElementConnectivity", "DataArray_t", held["cells"].ravel() + 1)
        fields = node(zone, "Fields", "FlowSolution_t")
        node(fields, "u", "DataArray_t", held["u"])


def _msh(path: Path) -> None:
    path.write_text(hostile_others.SQUARE)


def _inp(path: Path) -> None:
    path.write_text(
        "*NODE\n1, 0, 0, 0\n2, 1, 0, 0\n3, 1, 1, 0\n4, 0, 1, 0\n"
        "*ELEMENT, TYPE=CPS3\n1, 1, 2, 3\n2, 1, 3, 4\n"
    )


def kinds(canary: Path) -> dict[str, Kind]:
    """Every kind of file of others.

    Args:
        canary: what the pickles would make, if they ran.
    """
    return {
        "npz": Kind(".npz", _npz, of_source, True),
        "npz with pickles": Kind(".npz", _objects(canary), of_source, True),
        "npy": Kind(".npy", lambda p: np.save(p, _arrays()["a"]), of_source, True),
        "pt": Kind(".pt", _pt, of_source, True),
        "pt with pickles": Kind(".pt", _pickled(canary), of_source, True),
        "mat": Kind(".mat", _mat, of_source, True),
        "mat 7.3": Kind(".mat", _mat73, of_source, True),
        "netCDF-3": Kind(".nc", _netcdf("scipy"), of_source, True),
        "netCDF-4": Kind(".nc", _netcdf("h5netcdf"), of_source, True),
        "csv": Kind(".csv", _csv, of_source, True),
        "vtu": Kind(".vtu", _vtu, of_source, True),
        "cgns": Kind(".cgns", _cgns, of_source, True),
        "msh": Kind(".msh", _msh, of_mesh, True),
        "inp": Kind(".inp", _inp, of_mesh, True),
    }


CHECKED = {"npz", "npz with pickles", "pt"}
"""Kinds with checksums, where other values would be silent damage."""
