"""Sound files of opkit's own, and how opkit reads all that they hold.

Data files, ragged ones, stores, cases, records and weights of bundles, a hypernetwork.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import corruption
import foreign_files
import hostile_others
import numpy as np
from foreign_files import Kind

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


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
    import opkit

    if operator in _bundles:
        return _bundles[operator]
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, True)
    settings = ["training.epochs=1"]
    if operator == "transolver":
        squares = map(foreign_files.square, range(12))
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


def make_ragged(path: Path) -> None:
    """Three samples on meshes of their own."""
    import opkit

    squares = map(foreign_files.square, range(3))
    opkit.save_meshes(squares, path, ["load"], ["u"], splits={"train": 3})


FILES = {"record": "config.json", "weights": "model.safetensors"}


def _copied(name: str) -> Callable[[Path], object]:
    return lambda path: path.write_bytes((GOLDEN / "bundles/fno" / name).read_bytes())


def _hypernetwork(path: Path) -> None:
    import opkit

    package = Path(opkit.__file__).parent
    path.write_bytes((package / "hypino" / "hypino-tiny.safetensors").read_bytes())


def kinds() -> dict[str, Kind]:
    """Every kind of file of opkit's own."""
    return {
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


CHECKED = set(kinds()) - {"case"}
"""Kinds with checksums, where other values would be silent damage."""
