"""HDF5 files that a stranger could send: each function makes one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import corruption
import h5py
import numpy as np
from h5py import h5p, h5s, h5t, h5z

Make = Callable[[Path], None]
FILES: dict[str, Make] = {}


def hostile(make: Make) -> Make:
    """List a maker under its name."""
    FILES[make.__name__.replace("_", " ")] = make
    return make


def changed(path: Path) -> h5py.File:
    """A sound data file, open to be spoilt."""
    corruption.make(path, gzip=4)
    return h5py.File(path, "r+")


def with_header(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    """Change the JSON header and make its checksum right."""
    import hashlib

    with changed(path) as file:
        data = json.loads(file.attrs["opkit_header"])
        text = change(data) or json.dumps(data)
        file.attrs["opkit_header"] = np.bytes_(str(text).encode())
        digest = hashlib.sha256(str(text).encode()).hexdigest()
        file.attrs["opkit_header_sha256"] = np.bytes_(digest.encode())


@hostile
def declares_8_TiB(path: Path) -> None:
    with changed(path) as file:
        del file["vorticity"]
        file.create_dataset("vorticity", (1 << 40,), "f8", chunks=(1 << 20,))


@hostile
def declares_2_GiB_in_1_kB(path: Path) -> None:
    with changed(path) as file:
        del file["vorticity"]
        file.create_dataset("vorticity", (20, 3, 1 << 12, 1 << 11), "f4", chunks=True)


@hostile
def gzip_bomb(path: Path) -> None:
    with changed(path) as file:
        del file["vorticity"]
        shape = (64, 2048, 2048)
        dataset = file.create_dataset(
            "vorticity", shape, "f4", chunks=(1, 2048, 2048), compression=9
        )
        for k in range(len(dataset)):
            dataset[k] = np.zeros(shape[1:], "f4")


@hostile
def huge_chunk(path: Path) -> None:
    with changed(path) as file:
        chunk = (1, 1, 20000, 20000)
        file.create_dataset("extra", chunk, "f4", chunks=chunk, compression=1)


@hostile
def soft_link(path: Path) -> None:
    with changed(path) as file:
        file["pressure"] = h5py.SoftLink("/vorticity")


@hostile
def external_link(path: Path) -> None:
    with changed(path) as file:
        file["pressure"] = h5py.ExternalLink("/etc/passwd", "/x")


@hostile
def external_storage_of_a_system_file(path: Path) -> None:
    with changed(path) as file:
        del file["split"]
        place = [(b"/etc/passwd", 0, 20)]
        file.create_dataset("split", (20,), "i1", external=place)


@hostile
def virtual_data_set(path: Path) -> None:
    with changed(path) as file:
        layout = h5py.VirtualLayout((20,), "i1")
        layout[:] = h5py.VirtualSource("/etc/hostname", "x", (20,))
        del file["split"]
        file.create_virtual_dataset("split", layout)


@hostile
def hard_link_cycle(path: Path) -> None:
    with changed(path) as file:
        file.create_group("a")["b"] = file["/"]


@hostile
def linked_twice(path: Path) -> None:
    with changed(path) as file:
        file["copy"] = file["vorticity"]


@hostile
def nested_groups(path: Path) -> None:
    with changed(path) as file:
        file.create_group("/".join("abcdefghijklmnop"))


@hostile
def soft_link_cycle(path: Path) -> None:
    with changed(path) as file:
        file["p"] = h5py.SoftLink("/q")
        file["q"] = h5py.SoftLink("/p")


@hostile
def committed_type(path: Path) -> None:
    with changed(path) as file:
        file["kind"] = np.dtype("f8")


@hostile
def class_that_is_a_reference(path: Path) -> None:
    with changed(path) as file:
        file["x"].attrs["CLASS"] = file["vorticity"].ref


@hostile
def class_that_is_numbers(path: Path) -> None:
    with changed(path) as file:
        file["x"].attrs["CLASS"] = np.arange(9)


@hostile
def users_of_an_axis_that_are_numbers(path: Path) -> None:
    with changed(path) as file:
        del file["x"].attrs["REFERENCE_LIST"]
        file["x"].attrs["REFERENCE_LIST"] = np.zeros(3)


@hostile
def filter_of_a_plugin(path: Path) -> None:
    creation = h5p.create(h5p.DATASET_CREATE)
    creation.set_chunk((10,))
    creation.set_filter(32001, h5z.FLAG_OPTIONAL, (2, 2, 8, 80))
    with changed(path) as file:
        space = h5s.create_simple((20,))
        h5py.h5d.create(file.id, b"extra", h5t.IEEE_F64LE, space, creation)


@hostile
def digests_too_short(path: Path) -> None:
    with changed(path) as file:
        del file["sha256"]
        file["sha256"] = np.zeros((20, 3), "u1")


@hostile
def two_errors_per_sample(path: Path) -> None:
    with changed(path) as file:
        del file["solver_error"]
        file["solver_error"] = np.zeros((20, 2))


@hostile
def many_objects(path: Path) -> None:
    with changed(path) as file:
        for k in range(20_000):
            file.create_group(f"g{k}")


@hostile
def string_of_100_MB(path: Path) -> None:
    with changed(path) as file:
        file.create_dataset("text", data=np.bytes_(b"x" * 100_000_000))


@hostile
def variable_length_data(path: Path) -> None:
    with changed(path) as file:
        file.create_dataset("text", data=["a" * 1000] * 10)


@hostile
def object_references(path: Path) -> None:
    with changed(path) as file:
        dataset = file.create_dataset("refs", (3,), dtype=h5py.ref_dtype)
        dataset[0] = file["vorticity"].ref


@hostile
def compound_type(path: Path) -> None:
    with changed(path) as file:
        del file["vorticity"]
        file.create_dataset("vorticity", (20,), [("a", "f4"), ("b", "i8")])


@hostile
def unknown_filter(path: Path) -> None:
    with changed(path) as file:
        file.create_dataset("extra", data=np.arange(1000), chunks=(100,), scaleoffset=0)


@hostile
def huge_attribute(path: Path) -> None:
    with changed(path) as file:
        file.attrs["x"] = np.zeros(1 << 20)


@hostile
def many_attributes(path: Path) -> None:
    with changed(path) as file:
        for k in range(1000):
            file.attrs[f"a{k}"] = k


@hostile
def header_is_not_JSON(path: Path) -> None:
    with_header(path, lambda data: "{'case': __import__('os')}")


@hostile
def header_is_a_list(path: Path) -> None:
    with_header(path, lambda data: "[1, 2]")


@hostile
def header_nested_deeply(path: Path) -> None:
    with_header(path, lambda data: "[" * 100_000)


@hostile
def header_lacks_keys(path: Path) -> None:
    with_header(path, lambda data: data.pop("variables") and None)


@hostile
def newer_schema(path: Path) -> None:
    with_header(path, lambda data: data.update(schema_version=99))


@hostile
def wrong_types_in_header(path: Path) -> None:
    with_header(path, lambda data: data.update(variables=[{"name": 3}]))


@hostile
def infinite_sizes_in_header(path: Path) -> None:
    def change(data: dict[str, object]) -> None:
        data["variables"][0]["shape"] = [1e400, -1]  # type: ignore[index]

    with_header(path, change)


@hostile
def path_as_variable_name(path: Path) -> None:
    def change(data: dict[str, object]) -> None:
        data["variables"][0]["name"] = "../../etc/passwd"  # type: ignore[index]

    with_header(path, change)


@hostile
def variable_missing(path: Path) -> None:
    with changed(path) as file:
        del file["vorticity"]


@hostile
def variable_of_other_shape(path: Path) -> None:
    with changed(path) as file:
        del file["vorticity"]
        file["vorticity"] = np.zeros((20, 3, 5, 5), "f4")


@hostile
def unknown_split(path: Path) -> None:
    with changed(path) as file:
        file["split"][3] = 77


@hostile
def coordinate_with_nan(path: Path) -> None:
    with changed(path) as file:
        file["x"][3] = np.nan


@hostile
def no_header(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(3)


@hostile
def cut_in_half(path: Path) -> None:
    changed(path).close()
    os.truncate(path, path.stat().st_size // 2)


@hostile
def only_a_signature(path: Path) -> None:
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\xff" * 4000)


@hostile
def empty(path: Path) -> None:
    path.touch()


@hostile
def a_folder(path: Path) -> None:
    path.mkdir()


@hostile
def a_pipe(path: Path) -> None:
    os.mkfifo(path)


@hostile
def link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")
