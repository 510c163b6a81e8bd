"""Training goes on with further files of samples on meshes and with points."""

from pathlib import Path

import numpy as np
import pytest

import opkit
from opkit.base.arrays import Array
from opkit.errors import DataError
from opkit.surrogate.bundle import files as bundle
from opkit.train import train

SMALL = (
    "model.hidden_channels=8",
    "model.n_layers=1",
    "model.n_heads=2",
    "model.n_slices=4",
    "training.epochs=1",
)
SQUARE = np.array([[0, 0], [1, 0], [0, 1], [1, 1], [0.5, 0.4]], float)
CELLS = np.array([[0, 1, 4], [1, 3, 4], [3, 2, 4], [2, 0, 4]])


def moved(path: Path, seed: int, cells: Array = CELLS) -> Path:
    """Twelve samples: u = load x on a mesh whose middle lies elsewhere in each."""
    rng = np.random.default_rng(seed)
    load, points = rng.random(12), np.repeat(SQUARE[None], 12, 0)
    points[:, 4] += rng.uniform(-0.1, 0.1, (12, 2))
    arrays = {
        "at": (("sample", "node", "component"), points),
        "load": (("sample",), load),
        "u": (("sample", "node"), load[:, None] * points[..., 0]),
    }
    split = {"validation": 0.25}
    return opkit.save(
        arrays, path, ["load"], ["u"], points=["at"], mesh=(SQUARE, cells), split=split
    )


def clouds(path: Path, seed: int) -> Path:
    """Twelve samples, u = load x, on 8 to 14 points each."""
    rng = np.random.default_rng(seed)
    samples = []
    for k in range(12):
        points, load = rng.random((8 + (k + seed) % 7, 2)), rng.random()
        samples.append({"points": points, "load": load, "u": load * points[:, 0]})
    splits = {"train": 9, "validation": 3}
    return opkit.save_meshes(samples, path, ["load"], ["u"], splits=splits)


@pytest.mark.parametrize("make", [moved, clouds])
def test_further_samples_are_learnt_from(make, tmp_path: Path) -> None:
    first, second = make(tmp_path / "1.h5", 0), make(tmp_path / "2.h5", 1)
    go = {"overrides": SMALL, "device": "cpu"}
    train(first, tmp_path / "run", operator="transolver", **go)
    train(first, tmp_path / "next", start=tmp_path / "run", more=[second], device="cpu")
    made = bundle.read_config(tmp_path / "next").provenance
    assert (made.train_samples, made.validation_samples) == (18, 3)
    copy = tmp_path / "copy.h5"
    copy.write_bytes(first.read_bytes())
    for more in ([first], [copy]):
        with pytest.raises(DataError, match="a file that is given already"):
            train(first, tmp_path / "own", start=tmp_path / "run", more=more)
    assert not (tmp_path / "own").exists()


def test_another_mesh_is_refused(tmp_path: Path) -> None:
    first = moved(tmp_path / "1.h5", 0)
    other = moved(tmp_path / "2.h5", 1, np.roll(CELLS, 1, 0))
    train(first, tmp_path / "run", operator="transolver", overrides=SMALL, device="cpu")
    with pytest.raises(DataError, match=r"2\.h5: another mesh or other channels"):
        train(first, tmp_path / "next", start=tmp_path / "run", more=[other])
    assert not (tmp_path / "next").exists()
