"""YAML, npz, pt, mat and mesh files that a stranger could send."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

GOOD = (Path(__file__).parents[2] / "cases" / "darcy.yaml").read_text()
MESH_CASE = (Path(__file__).parents[2] / "cases" / "darcy-mesh.yaml").read_text()


def canary_code(canary: Path) -> str:
    """Python that leaves a trace if anything executes it."""
    return f"open({str(canary)!r}, 'w').close()"


def yaml_files(canary: Path) -> dict[str, str]:
    """YAML texts by what is wrong with them."""
    run = f"!!python/object/apply:os.system ['touch {canary}']"
    laughs = "".join(
        f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 9)
    )
    return {
        "python tag": f"name: {run}\n",
        "python name": "name: !!python/name:os.system\n",
        "alias bomb": f"a0: &a0 [lol]\n{laughs}",
        "merge key": "a: &a {b: 1}\n<<: *a\n",
        "duplicate key": GOOD + "\nname: other\n",
        "nested 5,000 deep": "[" * 5000,
        "mappings 1,000 deep": "".join(" " * k + "a:\n" for k in range(1000)),
        "2 MiB": "a: " + "x" * (2 << 20),
        "NUL bytes": "name: \x00\x00\n",
        "tab indent": "name:\n\t- x\n",
        "two documents": "a: 1\n---\nb: 2\n",
        "a list": "[1, 2]\n",
        "a number": "7\n",
        "empty": "",
        "unclosed quote": 'name: "darcy\n',
        "unknown key": GOOD + "\nsurprise: 1\n",
        "solver os:system": GOOD.replace("opkit.solvers.darcy:Darcy", "os:system"),
        "solver not allowed": GOOD.replace(":Darcy", ":assemble"),
        "path as a name": GOOD.replace("name: darcy\n", "name: ../../etc\n"),
        "resolution of 10^12": GOOD.replace("421", "1000000000000"),
        "negative resolution": GOOD.replace("421", "-3"),
        "resolution text": GOOD.replace("421", '"421; rm -rf /"'),
        "infinite forcing": GOOD.replace("forcing: 1.0", "forcing: .inf"),
        "nan forcing": GOOD.replace("forcing: 1.0", "forcing: .nan"),
        "huge integer": GOOD.replace("version: 1", "version: " + "9" * 5000),
        "samples negative": GOOD.replace("train: 1000", "train: -1"),
        "samples of 10^15": GOOD.replace("train: 1000", "train: 1000000000000000"),
        "extent reversed": GOOD.replace("x: [0, 1]", "x: [1, 0]"),
        "dims unknown": GOOD.replace("dims: [y, x]", "dims: [y, w]"),
        "solver lacks": GOOD.replace("rtol: 1e-8", "tolerance: 1e-8"),
        "rtol out of range": GOOD.replace("rtol: 1e-8", "rtol: 7"),
        "distribution unknown": GOOD.replace("two-phase", "three-phase"),
        "binary tag": "name: !!binary aGVsbG8=\n",
        "not UTF-8": "name: \udcff\udcfe\n",
    }


class Payload:
    """Pickles to a call that makes the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.canary,)


def array_files(folder: Path, canary: Path) -> dict[str, Callable[[], Path]]:
    """What makes npz, npy, pt and mat files, by what is wrong with them."""

    def npz(name: str, member: bytes, pack: int = zipfile.ZIP_DEFLATED) -> Path:
        path = folder / f"{name}.npz"
        with zipfile.ZipFile(path, "w", pack) as archive:
            archive.writestr("a.npy", member)
        return path

    def head(shape: tuple[int, ...], kind: str = "<f4") -> bytes:
        buffer = io.BytesIO()
        text = {"descr": kind, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(buffer, text)
        return buffer.getvalue()

    def raw(name: str, content: bytes) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    def objects() -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, np.array([Payload(canary)], object), allow_pickle=True)
        return buffer.getvalue()

    def pt() -> Path:
        import torch

        torch.save({"a": Payload(canary)}, folder / "code.pt")
        return folder / "code.pt"

    def mat() -> bytes:
        from scipy.io import savemat

        savemat(folder / "cut.mat", {"a": np.random.default_rng(0).random((40, 40))})
        return (folder / "cut.mat").read_bytes()

    return {
        "npz with pickled objects": lambda: npz("objects", objects()),
        "npz bomb of 512 MiB": lambda: npz("bomb", head((1 << 27,)) + bytes(512 << 20)),
        "npz header of 2^50": lambda: npz("header", head((1 << 50,), "<f8")),
        "npz header is code": lambda: npz(
            "code", head((1,)).replace(b"'<f4'", b"exit()")
        ),
        "npz cut off": lambda: raw(
            "cut.npz", npz("x", head((9,)) + bytes(36)).read_bytes()[:90]
        ),
        "npy of pickled objects": lambda: raw("objects.npy", objects()),
        "npy header of 2^50": lambda: raw("header.npy", head((1 << 50,), "<f8")),
        "npz that is text": lambda: raw("text.npz", b"hello"),
        "pt with a payload": pt,
        "pt that is a bare pickle": lambda: raw(
            "bare.pt", pickle.dumps(Payload(canary))
        ),
        "pt cut off": lambda: raw("cut.pt", pt().read_bytes()[:200]),
        "mat cut off": lambda: raw("cut.mat", mat()[:3000]),
        "mat of zeros": lambda: raw("zeros.mat", bytes(4096)),
        "nc of nothing": lambda: raw("empty.nc", b"CDF\x01" + b"\xff" * 60),
        "nc with 2^31 dims": lambda: raw(
            "dims.nc", b"CDF\x01\0\0\0\0\0\0\0\n\x7f\xff\xff\xff"
        ),
        "npz bomb, lzma": lambda: npz(
            "lzma", head((1 << 26,)) + bytes(256 << 20), zipfile.ZIP_LZMA
        ),
        "npz in an npz": lambda: npz("nested", npz("inner", head((9,))).read_bytes()),
        "npz header of 4 GiB": lambda: npz("long", LONG_HEADER),
        "npz header nested deeply": lambda: npz("deep", deep_header()),
        "npz that zip64 says is 2^60": lambda: raw("zip64.npz", zip64(head((1,)))),
        "npz whose directory is at 2^60": lambda: raw(
            "zip64d.npz", zip64(head((1,)), True)
        ),
        "npz of an unknown method": lambda: raw(
            "method.npz", unknown_method(head((1,)))
        ),
        "HDF5 with an lzf bomb": lambda: chunk_bomb(folder / "lzf.h5", "lzf"),
        "HDF5 with a deflate bomb": lambda: chunk_bomb(folder / "deflate.h5", "gzip"),
        "HDF5 compressed twice": lambda: packed_twice(folder / "twice.h5"),
        "unknown suffix": lambda: raw("data.exe", b"MZ"),
    }


LONG_HEADER = b"\x93NUMPY\x03\0" + struct.pack("<I", 0xFFFFFFF0) + b"x" * 100


def deep_header() -> bytes:
    """The head of an npy file whose type is lists in lists."""
    text = b"{'descr':" + b"[" * 3000 + b"]" * 3000 + b"}"
    return b"\x93NUMPY\x02\0" + struct.pack("<I", len(text)) + text


def _stored(member: bytes) -> tuple[bytes, bytearray]:
    """A zip archive of one member: what comes before its directory, and that."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.npy", member)
    content = buffer.getvalue()
    start, end = content.index(b"PK\1\2"), content.index(b"PK\5\6")
    return content[:start], bytearray(content[start:end])


def zip64(member: bytes, directory: bool = False) -> bytes:
    """An archive whose zip64 records give a member 2^60 bytes, and the directory too.

    Args:
        member: what it holds.
        directory: whether a second record sets the directory at 2^60.
    """
    before, entry = _stored(member)
    more = struct.pack("<HHQQ", 1, 16, 1 << 60, 1 << 50)
    entry[20:28] = b"\xff" * 8
    entry[30:32] = struct.pack("<H", len(more))
    entry += more
    end = struct.pack("<IHHHHII", 0x06054B50, 0, 0, 1, 1, len(entry), len(before))
    if directory:
        at = len(before) + len(entry)
        numbers = (44, 45, 45, 0, 0, 1 << 40, 1 << 40, 1 << 50, 1 << 60)
        end = struct.pack("<IQHHIIQQQQ", 0x06064B50, *numbers)
        end += struct.pack("<IIQI", 0x07064B50, 0, at, 1)
        full = (0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
        end += struct.pack("<IHHHHII", 0x06054B50, 0, 0, *full)
    return before + entry + end + b"\0\0"


def unknown_method(member: bytes) -> bytes:
    """An archive whose member is packed by a method that there is not."""
    before, entry = _stored(member)
    entry[10:12] = struct.pack("<H", 97)
    end = struct.pack("<IHHHHII", 0x06054B50, 0, 0, 1, 1, len(entry), len(before))
    return before[:8] + struct.pack("<H", 97) + before[10:] + entry + end + b"\0\0"


def chunk_bomb(path: Path, kind: str) -> Path:
    """A sound file of 12 MB of which one chunk of 16 MiB expands to 1 GiB or more."""
    import zlib

    import h5py

    shape, bomb = (2, 2048, 2048), 1 << 30
    if kind == "gzip":
        packed = zlib.compress(bytes(bomb), 9)
    else:  # one byte, and 264 times the byte before it as often as it takes
        packed = b"\0\0" + b"\xe0\xff\0" * (bomb // 264)
    with h5py.File(path, "w") as file:
        data = np.random.default_rng(0).integers(0, 9, shape).astype("f4")
        file.create_dataset("a", data=data, chunks=(1, *shape[1:]), compression=kind)
        file["a"].id.write_direct_chunk((1, 0, 0), packed)
    return path


def packed_twice(path: Path) -> Path:
    """A file whose chunks are compressed by lzf and then by deflate."""
    import h5py
    from h5py import h5p, h5s, h5t, h5z

    creation = h5p.create(h5p.DATASET_CREATE)
    creation.set_chunk((1, 64, 64))
    creation.set_filter(h5z.FILTER_LZF, h5z.FLAG_OPTIONAL, (4, 262, 64 * 64 * 4))
    creation.set_deflate(4)
    with h5py.File(path, "w") as file:
        space = h5s.create_simple((2, 64, 64))
        h5py.h5d.create(file.id, b"a", h5t.IEEE_F32LE, space, creation)
        file["a"][:] = 1
    return path


def mesh_files() -> dict[str, tuple[str, str]]:
    """Mesh files by what is wrong with them: (suffix, text)."""
    gmsh = "$MeshFormat\n2.2 0 8\n$EndMeshFormat\n"
    square = "1 0 0 0\n2 1 0 0\n3 1 1 0\n4 0 1 0\n"
    nodes = f"$Nodes\n4\n{square}$EndNodes\n"

    def cells(*corners: str) -> str:
        lines = "".join(f"{k} 2 2 1 1 {c}\n" for k, c in enumerate(corners, 1))
        return f"$Elements\n{len(corners)}\n{lines}$EndElements\n"

    entity = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {"abcdefgh"[k]} "{("&" + "abcdefgh"[k - 1] + ";") * 10}">'
        for k in range(1, 8)
    )
    vtk = "# vtk DataFile Version 3.0\nx\nASCII\nDATASET UNSTRUCTURED_GRID\n"
    return {
        "10^12 nodes, msh": (".msh", gmsh + "$Nodes\n1000000000000\n1 0 0 0\n"),
        "10^9 nodes, vtk": (".vtk", vtk + "POINTS 1000000000 double\n0 0 0\n"),
        "index out of range": (".msh", gmsh + nodes + cells("1 2 99", "1 3 4")),
        "NaN node": (".msh", gmsh + nodes.replace("1 1 0", "nan 1 0") + cells("1 2 3")),
        "zero-area cell": (".msh", gmsh + nodes + cells("1 2 2", "1 3 4")),
        "no cells": (".msh", gmsh + nodes),
        "cut off": (".msh", gmsh + nodes[:20]),
        "not a mesh": (".msh", "hello\n"),
        "vtu that exits": (".vtu", '<VTKFile type="PolyData"></VTKFile>'),
        "vtu entity bomb": (".vtu", f"{entity}]><VTKFile>&h;</VTKFile>"),
        "xdmf": (".xdmf", '<Xdmf><DataItem Format="HDF">../x.h5:/a</DataItem></Xdmf>'),
        "obj with infinity": (".obj", "v inf 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"),
        "empty": (".msh", ""),
    }


SQUARE = (
    "$MeshFormat\n2.2 0 8\n$EndMeshFormat\n"
    '$PhysicalNames\n1\n1 1 "outer"\n$EndPhysicalNames\n'
    "$Nodes\n5\n1 0 0 0\n2 1 0 0\n3 1 1 0\n4 0 1 0\n5 .5 .5 0\n$EndNodes\n"
    "$Elements\n8\n1 1 2 1 1 1 2\n2 1 2 1 1 2 3\n3 1 2 1 1 3 4\n4 1 2 1 1 4 1\n"
    "5 2 2 2 2 1 2 5\n6 2 2 2 2 2 3 5\n7 2 2 2 2 3 4 5\n8 2 2 2 2 4 1 5\n"
    "$EndElements\n"
)
"""A sound mesh of four triangles, its boundary named ``outer``."""


def mesh_case(path: Path) -> str:
    """The mesh case with a mesh from a file."""
    return MESH_CASE.replace("{kind: l-shape}", f"{{kind: file, path: {path}}}")
