"""Messages name the sample at fault once, by its number where the user has it."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import opkit
from opkit.datasets.importers import clouds
from opkit.datasets.importers.convert import import_data
from opkit.datasets.importers.fieldmap import FieldMap
from opkit.datasets.read import DataFile
from opkit.elements.weights import folded, of_grid
from opkit.errors import CFLError, DataError
from opkit.figures.data_file import draw
from opkit.generate.validate import validate

SQUARE = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
CELLS = np.array([[0, 1, 2], [1, 3, 2]])


def item(k: int) -> dict[str, Any]:
    stretched = SQUARE * [1, 1 + 0.1 * k]
    return {"points": stretched, "cells": CELLS, "u": np.full(4, k), "load": float(k)}


def _nan(sample: dict[str, Any]) -> None:
    sample["load"] = np.nan


def _folded(sample: dict[str, Any]) -> None:
    sample["points"] = sample["points"].copy()
    sample["points"][3] = 0.1, 0.1


def _lacks(sample: dict[str, Any]) -> None:
    sample["lod"] = sample.pop("load")


def _long(sample: dict[str, Any]) -> None:
    sample["u"] = np.ones(5)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_nan, "sample 3: load is missing or not finite; 1 such values"),
        (_folded, "sample 3: cell 1 is inverted: it lies over cell 0"),
        (_lacks, "sample 3: lacks load. Did you mean 'lod'?"),
        (_long, "sample 3: the axes of u (5,) are not known"),
    ],
)
def test_of_samples_in_python(
    damage: Callable[[dict[str, Any]], None], says: str, tmp_path: Path
) -> None:
    samples = [item(k) for k in range(6)]
    damage(samples[3])
    with pytest.raises(DataError) as raised:
        opkit.save_meshes(
            samples, tmp_path / "d.h5", ["load"], ["u"], splits={"train": 6}
        )
    assert str(raised.value).startswith(says)
    assert str(raised.value).count("sample 3") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fault", ["repeated", "nan", "twin"])
def test_of_clouds_in_several_files(fault: str, tmp_path: Path) -> None:
    """The number is that in the file, not the row of the file that is made."""
    rng = np.random.default_rng(0)
    files: dict[str, Any] = {}
    for split, count in (("train", 5), ("test", 3)):
        arrays = {"XY": rng.random((count, 9, 2)), "s": rng.random((count, 9))}
        files[split] = arrays
    if fault == "repeated":
        files["test"]["XY"][1, 7] = files["test"]["XY"][1, 2]
    elif fault == "nan":
        files["test"]["s"][1, 4] = np.nan
    else:
        files["test"]["XY"][1] = files["train"]["XY"][4]
    for split, arrays in files.items():
        np.savez(tmp_path / f"{split}.npz", **arrays)
        files[split] = tmp_path / f"{split}.npz"
    with pytest.raises(DataError) as raised:
        import_data(
            files,
            tmp_path / "d.h5",
            [FieldMap.parse("s=s:sample,node", "output")],
            points=[FieldMap.parse("points=XY:sample,node,component", "input")],
        )
    place = f"{files['test']}: sample 1"
    assert str(raised.value).startswith({
        "repeated": f"{place}: points 2 and 7 of the cloud are the same: remove one",
        "nan": f"{place}: s is missing or not finite at node 4; 1 such values",
        "twin": f"{place} (test) has the inputs of {files['train']}: sample 4 (train)",
    }[fault])  # fmt: skip
    assert not (tmp_path / "d.h5").exists()


def test_of_a_batch_are_left_out_where_the_seed_says_it() -> None:
    """Another process is told the same."""
    error = CFLError("dt is too long", sample=3)
    assert str(error) == "sample 3 of the batch: dt is too long"
    assert pickle.loads(pickle.dumps(error)).sample == 3
    error.seed = (0, 23)
    for same in (error, pickle.loads(pickle.dumps(error))):
        assert type(same) is CFLError
        assert str(same) == "dt is too long (seed, sample: (0, 23))"


def grids() -> np.ndarray:
    """Sheared grids (sample, 4, 5, 2)."""
    y, x = np.meshgrid(np.linspace(0, 1, 4), np.linspace(0, 1, 5), indexing="ij")
    return np.stack([np.stack([x + 0.1 * k * y, y], -1) for k in range(6)])


@pytest.mark.parametrize("fault", ["none", "folded", "mirrored", "pinched"])
def test_of_mapped_grids_that_fold(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A grid that is mirrored as a whole, or has cells without area, is sound."""
    points = grids()
    if fault == "folded":
        points[3, 1, 2] += [0.9, 0]  # beyond its right neighbour
    elif fault == "mirrored":
        points[3] = points[3, ::-1]
    elif fault == "pinched":
        points[3, 0] = points[3, 1]
    x, y = points[..., 0], points[..., 1]
    np.savez(tmp_path / "g.npz", X=x, Y=y, Q=x * y)
    axes = ":sample,y,x"
    target = tmp_path / "d.h5"

    def imported() -> None:
        import_data(
            tmp_path / "g.npz",
            target,
            [FieldMap.parse(f"q=Q{axes}", "output")],
            points=[FieldMap.parse(f"points={n}{axes}", "input") for n in "XY"],
            coordinates={"x": (0, 1), "y": (0, 1)},
        )

    if fault == "folded":
        with pytest.raises(DataError) as raised:
            imported()
        assert str(raised.value) == (
            f"{tmp_path / 'g.npz'}: sample 3: the cell at y 0, x 2 is inverted: the "
            "grid folds over itself there; correct its points"
        )
        assert not target.exists()
        monkeypatch.setattr(clouds, "refuse_folds", lambda *_: None)
    imported()
    (meshes,) = (f for f in validate(target) if f.name == "meshes")
    assert meshes.passed == (fault != "folded")
    assert fault != "folded" or "sample 3: the cell at y 0, x 2" in meshes.detail


def test_folds_of_grids_that_close() -> None:
    """The polar grid of a ring: area π (4 - 1) to O(h²); its last cell turned over."""
    r, t = np.meshgrid(np.linspace(1, 2, 9), np.arange(64) * np.pi / 32, indexing="ij")
    ring = np.stack([r * np.cos(t), r * np.sin(t)], -1)
    closes = (False, True)
    assert folded(ring, closes) is None
    # each chord of 1/64 of the circle takes away (2π/64)²/6 of the area
    area = of_grid(ring, 2, closes).sum()
    assert area == pytest.approx(3 * np.pi, rel=1.1 * (np.pi / 32) ** 2 / 6)
    ring[4, 63], ring[4, 0] = ring[4, 0].copy(), ring[4, 63].copy()
    assert folded(ring, closes) == (3, 63)


@pytest.mark.parametrize("fault", ["none", "folded", "mirrored"])
def test_of_moved_meshes_that_fold(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    middle = np.concatenate([SQUARE, [[0.5, 0.5]]])
    cells = np.array([[0, 1, 4], [1, 3, 4], [3, 2, 4], [2, 0, 4]])
    moved = np.stack([middle * [1, 1 + 0.1 * k] for k in range(6)])
    if fault == "folded":
        moved[3, 4] = 1.5, 0.6  # beyond the right side
    elif fault == "mirrored":
        moved[3] *= [-1, 1]
    target = tmp_path / "d.h5"

    def saved() -> None:
        arrays = {
            "at": (("sample", "node", "component"), moved),
            "u": (("sample", "node"), moved.prod(-1)),
        }
        opkit.save(arrays, target, [], ["u"], mesh=(middle, cells), points=["at"])

    if fault == "folded":
        with pytest.raises(DataError) as raised:
            saved()
        assert str(raised.value) == (
            "data: sample 3: cell 1 is inverted: correct its points"
        )
        assert not target.exists()
        monkeypatch.setattr(clouds, "refuse_folds", lambda *_: None)
    saved()
    (meshes,) = (f for f in validate(target) if f.name == "meshes")
    assert meshes.passed == (fault != "folded")
    assert fault != "folded" or "sample 3: cell 1 is inverted" in meshes.detail


def test_clouds_with_functions_of_time(tmp_path: Path) -> None:
    """Forcings and the flux that they cause, of a cloud of points per sample."""
    rng = np.random.default_rng(1)
    arrays = {
        "at": (("sample", "node", "component"), rng.random((6, 9, 2))),
        "force": (("sample", "time"), rng.random((6, 4))),
        "flux": (("sample", "time"), rng.random((6, 4))),
        "u": (("sample", "node"), rng.random((6, 9))),
    }
    path = opkit.save(
        arrays, tmp_path / "d.h5", ["force"], ["u", "flux"], points=["at"],
        axes={"time": (0, 3)}, split={"validation": 0.34},
    )  # fmt: skip
    with DataFile(path) as file:
        assert file.header.ragged
        assert file.header.coordinates["time"].values.tolist() == [0, 1, 2, 3]
        for k in range(6):
            sample = file.sample(k)
            for name in ("force", "flux", "u"):
                stored = arrays[name][1][k].astype(np.float32)
                np.testing.assert_array_equal(sample[name], stored)
    draw(path, tmp_path / "d.png")  # the cloud, and lines over time
    assert (tmp_path / "d.png").stat().st_size > 10_000
    with pytest.raises(DataError, match="axis x: the variables have the axes"):
        opkit.save(
            arrays, tmp_path / "e.h5", ["force"], ["u"], points=["at"],
            axes={"x": (0, 3)},
        )  # fmt: skip
