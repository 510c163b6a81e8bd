"""Mapped grids that are their only input, from arrays to a checked surrogate."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import opkit
from opkit.base.arrays import Array
from opkit.errors import DataError, OpkitInputError
from opkit.figures import run as run_figures
from opkit.figures.data_file import draw
from opkit.figures.plots import last_plane
from opkit.generate.validate import validate
from opkit.surrogate import Surrogate

SMALL = [
    "model.hidden_channels=8",
    "model.n_layers=1",
    "model.n_heads=2",
    "model.n_slices=4",
    "training.epochs=2",
]


def sheared(k: float) -> Array:
    y, x = np.meshgrid(np.linspace(0, 1, 4), np.linspace(0, 1, 5), indexing="ij")
    return np.stack([x + 0.02 * k * y, y * (1 + 0.01 * k)], -1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    points = np.stack([sheared(k) for k in range(30)])
    arrays = {
        "at": (("sample", "y", "x", "component"), points),
        "u": (("sample", "y", "x"), points.prod(-1)),
    }
    path = tmp_path_factory.mktemp("points") / "d.h5"
    split = {"validation": 0.2}
    return opkit.save(arrays, path, [], ["u"], points=["at"], split=split)


@pytest.fixture(scope="module")
def surrogate(data: Path) -> Surrogate:
    run = data.parent / "run"
    opkit.train(data, run, operator="transolver", overrides=SMALL, device="cpu")
    return opkit.load(run)


def test_it_is_called_with_points_in_every_way(
    surrogate: Surrogate, data: Path
) -> None:
    points = sheared(3.3)
    alone = surrogate({"points": points})["u"]
    batch = torch.from_numpy(np.stack([points, sheared(7.0)]))
    together = surrogate({"points": batch})["u"]
    # a batch of another size sums in another order
    np.testing.assert_allclose(together[0], alone, rtol=1e-4, atol=1e-6)
    with xr.open_dataset(data) as file:
        named = surrogate(file[["points"]])["u"]
        rows = surrogate({"points": file["points"].values})["u"]
        np.testing.assert_allclose(named, rows, rtol=1e-4, atol=1e-6)


def test_novelty_tells_other_sizes_and_places(surrogate: Surrogate) -> None:
    usual = surrogate({"points": sheared(10.5)}, check=True)
    larger = surrogate({"points": 3 * sheared(10.5)}, check=True)
    elsewhere = surrogate({"points": sheared(10.5) + 5}, check=True)
    assert usual.resembles_training().all()
    assert not larger.resembles_training().any()
    assert not elsewhere.resembles_training().any()


def test_calls_that_cannot_be_meant(surrogate: Surrogate) -> None:
    points = sheared(0)
    points[1, 2] += [0.9, 0]  # beyond its right neighbour
    says = {
        "sample 0: the cell at y 0, x 2 is inverted": {"points": points},
        "give points, which are the only input. Did you mean": {"pints": sheared(0)},
        "give a dict or an xarray.Dataset with points": sheared(0),
    }
    for words, inputs in says.items():
        with pytest.raises(OpkitInputError, match=re.escape(words)):
            surrogate(inputs)


def test_operators_that_are_not_given_points_say_who_is(
    data: Path, tmp_path: Path
) -> None:
    with pytest.raises(OpkitInputError, match=r"fno is not given points.*transolver"):
        opkit.train(data, tmp_path / "run", operator="fno", device="cpu")
    assert not (tmp_path / "run").exists()


def test_other_points_make_another_sample(data: Path) -> None:
    """All else that the samples have is equal."""
    (duplicates,) = (f for f in validate(data) if f.name == "duplicates")
    assert duplicates.passed


def test_a_number_of_each_shape(tmp_path: Path) -> None:
    """No field at all: the mean height of the nodes, from where they lie."""
    points = np.stack([sheared(k) for k in range(12)])
    arrays = {
        "at": (("sample", "y", "x", "component"), points),
        "height": (("sample",), points[..., 1].mean((1, 2))),
    }
    data = opkit.save(
        arrays, tmp_path / "d.h5", [], ["height"], points=["at"],
        split={"validation": 0.25},
    )  # fmt: skip
    run = tmp_path / "run"
    opkit.train(data, run, operator="transolver", overrides=SMALL, device="cpu")
    answer = opkit.load(run)({"points": points})
    assert answer["height"].shape == (12,)
    with pytest.raises(DataError, match="only fields on grids and triangles"):
        draw(data, tmp_path / "d.png")


def test_a_mapped_box_is_drawn(tmp_path: Path) -> None:
    """The last plane of three axes, at its own x and y."""
    line = np.linspace(0, 1, 4)
    z, y, x = np.meshgrid(line[:3], line, line, indexing="ij")
    points = np.stack([np.stack([x + 0.1 * k * z, y, z], -1) for k in range(12)])
    arrays = {
        "at": (("sample", "z", "y", "x", "component"), points),
        "u": (("sample", "z", "y", "x"), points[..., 0]),
    }
    data = opkit.save(
        arrays, tmp_path / "d.h5", [], ["u"], points=["at"], split={"validation": 0.25}
    )
    run = tmp_path / "run"
    opkit.train(data, run, operator="transolver", overrides=SMALL, device="cpu")
    drawn = {figure.name for figure in run_figures.draw(run)}
    assert {"samples.png", "worst.png"} <= drawn
    plane = last_plane(points[5])
    assert plane is not None
    np.testing.assert_array_equal(plane, points[5, -1, ..., :2])


def test_what_is_missing_is_named_without_the_points(tmp_path: Path) -> None:
    """Points belong to the call: they are not what stands in place of the load."""
    points = np.stack([sheared(k) for k in range(12)])
    arrays = {
        "at": (("sample", "y", "x", "component"), points),
        "load": (("sample",), np.arange(12.0)),
        "u": (("sample", "y", "x"), points.prod(-1)),
    }
    data = opkit.save(
        arrays, tmp_path / "d.h5", ["load"], ["u"], points=["at"],
        split={"validation": 0.25},
    )  # fmt: skip
    run = tmp_path / "run"
    opkit.train(data, run, operator="transolver", overrides=SMALL, device="cpu")
    surrogate = opkit.load(run)
    for given in (
        {"points": sheared(1), "lod": 1.0},
        xr.Dataset({"points": (("y", "x", "c"), sheared(1)), "lod": 1.0}),
    ):
        with pytest.raises(OpkitInputError) as raised:
            surrogate(given)
        said = str(raised.value)
        assert said.startswith("inputs lack load: give load")
        assert said.endswith("Did you mean 'load' by 'lod'?")
        assert "points" not in said
