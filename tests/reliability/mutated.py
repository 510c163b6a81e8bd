"""Change sound files of every kind at random and read them: typed, or as they were.

Other people's files are read as `import` reads them, by the child process of
`opkit.datasets.importers.apart`; the others in a forked process with the limits of
`opkit.base.sandbox`. Each file is read whole.
"""

from __future__ import annotations

import atexit
import os
import pickle
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import corruption
import hostile_others
import numpy as np

from opkit.errors import OpkitError

SECONDS, WALL = 30, 300
"""Of processor time and of wall time, as opkit's own children have."""
GOLDEN = Path(__file__).parents[1] / "data" / "golden"
Outcome = str
SAME, OTHER, REFUSED = "same", "other values", "refused"
ENDED, UNTYPED, CRASHED, HUNG = "reader ended", "untyped", "crashed", "hung"
OUTCOMES = (SAME, OTHER, REFUSED, ENDED, UNTYPED, CRASHED, HUNG)
TOKENS = (
    b"\0" * 8, b"\xff" * 8, b"nan", b"inf", b"-1", b"9" * 19, b"1e308", b"\x1b[2J",
    b"(", b"]", b'"', b"<", b"\n", b"..", b"/etc/passwd", b"\xed\xa0\x80",
)  # fmt: skip


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


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Return other bytes: bits, spans, tokens, an end, or numbers of the text."""
    new = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(max(len(new), 1))
        if rng.random() < 0.5:  # heads and directories are where it hurts
            at = rng.choice((at % 512, max(len(new) - 1 - at % 512, 0)))
        at = min(at, max(len(new) - 1, 0))
        way = rng.randrange(6)
        if way == 0 and new:
            new[at] ^= 1 << rng.randrange(8)
        elif way == 1:
            end = at + rng.choice((1, 4, 64))
            new[at:end] = rng.randbytes(min(end, len(new)) - at)
        elif way == 2:
            token = rng.choice(TOKENS)
            new[at : at + len(token)] = token
        elif way == 3:
            new[at:at] = rng.choice(TOKENS)
        elif way == 4:
            del new[at : at + rng.choice((1, 8, 100))]
        elif rng.random() < 0.5:
            del new[at:]
        else:
            there = rng.randrange(max(len(new), 1))
            new[at : at + 32] = new[there : there + 32]
    return bytes(new)


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


def of_data_file(path: Path) -> bytes:
    """Everything that opkit reads from a file of its own."""
    return corruption.everything(path).encode("utf-8", "replace")


def of_ragged(path: Path) -> bytes:
    """Every sample, its mesh and the items that training gets."""
    from opkit.datasets.field_dataset import FieldDataset
    from opkit.datasets.read import DataFile

    with DataFile(path, trusted=True) as file:
        assert sum(1 for _ in file.verify()) == len(file)
        text = repr((file.header.describe(), file.content_hash())).encode()
        parts = [file.mesh(row).cells.tobytes() for row in range(len(file))]
    samples = FieldDataset(path, None, trusted=True)
    for k in range(len(samples)):
        parts += [t.numpy().tobytes() for t in samples[k].values()]
    return text + b"".join(parts)


def of_bundle(path: Path) -> bytes:
    """The prediction of the bundle whose record or weights the file is."""
    import tempfile

    import opkit

    with tempfile.TemporaryDirectory() as folder:
        bundle = shutil.copytree(GOLDEN / "bundles" / "fno", Path(folder) / "b")
        own = "config.json" if path.suffix == ".json" else "model.safetensors"
        shutil.copy(path, bundle / own)
        field = np.linspace(0, 1, 81).reshape(9, 9)
        found: bytes = opkit.load(bundle)(field).tobytes()
        return found


def of_store(path: Path) -> bytes:
    """What a store holds after one more solution was added."""
    import tempfile

    from opkit.datasets.read import DataFile

    with tempfile.TemporaryDirectory() as folder:
        store = Path(shutil.copy(path, Path(folder) / "store.h5"))
        _fill(store, 3.0)
        with DataFile(store, trusted=True) as file:
            assert sum(1 for _ in file.verify()) == len(file)
            names = [v.name for v in file.header.variables]
            samples = file.read_samples(names, np.arange(len(file)))
            return b"".join(samples[name].tobytes() for name in names)


def _fill(store: Path, *levels: float) -> None:
    import opkit

    surrogate = opkit.load(GOLDEN / "bundles" / "fno")
    for level in levels:
        field = level + np.linspace(0, 1, 81).reshape(9, 9)
        surrogate.solve(field, exact=True, store=store)


def _trained(operator: str) -> Path:
    """A bundle of an operator, trained for an epoch; once in this process."""
    import tempfile

    import opkit

    if operator in _bundles:
        return _bundles[operator]
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, True)
    settings = ["training.epochs=1"]
    if operator == "transolver":
        squares = map(_square, range(12))
        splits = {"train": 8, "validation": 4}
        opkit.save_meshes(squares, folder / "d.h5", ["load"], ["u"], splits=splits)
        settings += ["model.hidden_channels=8", "model.n_layers=1", "model.n_heads=2"]
        settings += ["model.n_slices=4"]
    else:
        rng = np.random.default_rng(0)
        numbers = rng.random((40, 2))
        fields = np.sin(numbers @ rng.random((2, 16)))
        arrays = {
            "p": (("sample",), numbers[:, 0]),
            "q": (("sample",), numbers[:, 1]),
            "u": (("sample", "x"), fields),
        }
        opkit.save(arrays, folder / "d.h5", inputs=["p", "q"], outputs=["u"])
    opkit.train(folder / "d.h5", folder / "run", operator=operator, overrides=settings,
                device="cpu")  # fmt: skip
    _bundles[operator] = folder / "run" / "bundle"
    return _bundles[operator]


_bundles: dict[str, Path] = {}
_ASKED: dict[str, dict[str, Any]] = {
    "pod-gp": {"p": np.array([0.3, 0.6]), "q": np.array([0.2, 0.9])},
    "transolver": {
        "load": 1.0, "points": np.array([[0, 0], [1.5, 0], [1.5, 1], [0, 1.0]]),
        "weights": np.full(4, 0.375),
    },
}  # fmt: skip


def _part_of(operator: str, name: str) -> Kind:
    """A file of a bundle of an operator, read with the bundle around it."""

    def make(path: Path) -> None:
        path.write_bytes((_trained(operator) / name).read_bytes())

    def read(path: Path) -> bytes:
        import tempfile

        import opkit

        with tempfile.TemporaryDirectory() as folder:
            bundle = shutil.copytree(_trained(operator), Path(folder) / "b")
            shutil.copy(path, bundle / name)
            answer = opkit.load(bundle)(_ASKED[operator])
            return b"".join(np.asarray(v).tobytes() for v in answer.values())

    return Kind(Path(name).suffix, make, read)


def of_case(path: Path) -> bytes:
    """A case from a YAML file, with its solver built."""
    from opkit.case import load_case

    case = load_case(str(path))
    case.build_solver()
    return repr(case.dump()).encode("utf-8", "replace")


def of_hypernetwork(path: Path) -> bytes:
    """The weights of a hypernetwork."""
    from opkit.hypino.weights import load

    return b"".join(t.numpy().tobytes() for t in load(path).state_dict().values())


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


def _square(k: int) -> dict[str, Any]:
    points = np.array([[0, 0], [1 + k, 0], [1 + k, 1], [0, 1.0]])
    cells = np.array([[0, 1, 2], [0, 2, 3]])
    return {"points": points, "cells": cells, "u": points[:, 0], "load": k}


def make_ragged(path: Path) -> None:
    """Three samples on meshes of their own."""
    import opkit

    squares = map(_square, range(3))
    opkit.save_meshes(squares, path, ["load"], ["u"], splits={"train": 3})


def _cgns(path: Path) -> None:
    import h5py

    def node(group: Any, name: str, label: str, data: Any = None) -> Any:
        child = group.create_group(name)
        child.attrs["label"] = np.array(label.encode(), "S33")
        if data is not None:
            child[" data"] = data
        return child

    square = _square(0)
    with h5py.File(path, "w") as file:
        base = node(file, "Base", "CGNSBase_t", np.int32([2, 2]))
        zone = node(base, "Zone", "Zone_t", np.int32([[4], [2], [0]]))
        text = np.frombuffer(b"Unstructured", np.int8)
        node(zone, "ZoneType", "ZoneType_t", text)
        grid = node(zone, "GridCoordinates", "GridCoordinates_t")
        for k, axis in enumerate("XY"):
            node(grid, f"Coordinate{axis}", "DataArray_t", square["points"][:, k])
        elements = node(zone, "Triangles", "Elements_t", np.int32([5, 0]))
        node(
            elements, "ElementConnectivity", "DataArray_t", square["cells"].ravel() + 1
        )
        fields = node(zone, "Fields", "FlowSolution_t")
        node(fields, "u", "DataArray_t", square["u"])


def _msh(path: Path) -> None:
    path.write_text(hostile_others.SQUARE)


def _inp(path: Path) -> None:
    path.write_text(
        "*NODE\n1, 0, 0, 0\n2, 1, 0, 0\n3, 1, 1, 0\n4, 0, 1, 0\n"
        "*ELEMENT, TYPE=CPS3\n1, 1, 2, 3\n2, 1, 3, 4\n"
    )


FILES = {"record": "config.json", "weights": "model.safetensors"}


def _copied(name: str) -> Callable[[Path], object]:
    return lambda path: path.write_bytes((GOLDEN / "bundles/fno" / name).read_bytes())


def _hypernetwork(path: Path) -> None:
    import opkit

    package = Path(opkit.__file__).parent
    path.write_bytes((package / "hypino" / "hypino-tiny.safetensors").read_bytes())


def kinds(canary: Path) -> dict[str, Kind]:
    """Every kind of file that opkit reads from others."""
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
        "data file": Kind(".h5", lambda p: corruption.make(p, 4), of_data_file),
        "ragged file": Kind(".h5", make_ragged, of_ragged),
        "store": Kind(".h5", lambda p: _fill(p, 1.0, 2.0), of_store),
        **{
            f"{what} of a {operator} bundle": _part_of(operator, name)
            for operator in _ASKED
            for what, name in FILES.items()
        },
        "case": Kind(".yaml", lambda p: p.write_text(hostile_others.GOOD), of_case),
        "record of a bundle": Kind(".json", _copied("config.json"), of_bundle),
        "weights of a bundle": Kind(
            ".safetensors", _copied("model.safetensors"), of_bundle
        ),
        "hypernetwork": Kind(".safetensors", _hypernetwork, of_hypernetwork),
    }


CHECKED = {
    "npz", "npz with pickles", "pt", "data file", "ragged file", "record of a bundle",
    "weights of a bundle", "hypernetwork", "store",
    *(f"{what} of a {operator} bundle" for operator in _ASKED for what in FILES),
}  # fmt: skip
"""Kinds with checksums, where other values would be silent damage."""


def outcome_here(kind: Kind, path: Path, wanted: bytes) -> Outcome:
    """Read in this process; what opkit reads in another may end that one."""
    start = time.monotonic()
    try:
        found = SAME if kind.read(path) == wanted else OTHER
    except OpkitError as error:
        text = str(error)
        contained = "reading it ended" in text or "takes over" in text
        found = ENDED if contained else REFUSED
        if "\n" in text:
            found = UNTYPED
    except BaseException as error:
        print(f"{path}: {type(error).__name__}: {error}", file=sys.stderr)
        found = UNTYPED
    return HUNG if time.monotonic() - start > WALL + 5 else found


def outcome_forked(kind: Kind, path: Path, wanted: bytes) -> Outcome:
    """Read in a fork under limits."""
    child = os.fork()
    if not child:
        code = OUTCOMES.index(UNTYPED)
        try:
            resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            code = OUTCOMES.index(outcome_here(kind, path, wanted))
        finally:
            sys.stderr.flush()
            os._exit(code)
    until = time.monotonic() + WALL
    while not (done := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return HUNG
        time.sleep(0.002)
    if os.WIFSIGNALED(done[1]):
        return HUNG if os.WTERMSIG(done[1]) == signal.SIGXCPU else CRASHED
    return OUTCOMES[os.WEXITSTATUS(done[1])]


def battery(
    folder: Path, count: int, seed: int = 0, only: tuple[str, ...] = ()
) -> Iterator[tuple[str, dict[str, int]]]:
    """Read so many changed files of each kind and count what came of them."""
    import torch

    torch.set_num_threads(1)  # forks are not to hang, and not to speak of it
    canary = folder / "canary"
    for name, kind in kinds(canary).items():
        if only and name not in only:
            continue
        rng = random.Random(f"{seed} {name}")
        good, bad = folder / f"good{kind.suffix}", folder / f"bad{kind.suffix}"
        kind.make(good)
        content = good.read_bytes()
        here = kind.read is of_source
        try:
            wanted = kind.read(good) if here else _read_forked(kind, good)
        except OpkitError:  # no sound file: it holds pickles
            wanted = b""
        counts = dict.fromkeys(("files", *OUTCOMES, "canaries"), 0)
        run = outcome_here if here else outcome_forked
        for _ in range(count):
            bad.unlink(missing_ok=True)
            bad.write_bytes(mutated(content, rng))
            counts["files"] += 1
            found = run(kind, bad, wanted)
            if kind.apart and found in (CRASHED, HUNG):
                found = ENDED  # the fork stands for opkit's child, with its limits
            counts[found] += 1
            counts["canaries"] += canary.exists()
            canary.unlink(missing_ok=True)
            if found in (UNTYPED, CRASHED, HUNG) or (
                found == OTHER and name in CHECKED and bad.read_bytes() != content
            ):
                kept = Path(os.environ.get("KEEP", folder)) / f"{found}-{bad.name}"
                kept.write_bytes(bad.read_bytes())
                print(f"{name}: {found}", file=sys.stderr)
        yield name, counts


def _read_forked(kind: Kind, path: Path) -> bytes:
    """What a sound file holds, read in a fork, as the others will be."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            with os.fdopen(write, "wb") as out:
                out.write(pickle.dumps(kind.read(path)))
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as found:
        content = found.read()
    os.waitpid(child, 0)
    value: bytes = pickle.loads(content)  # of this program
    return value
