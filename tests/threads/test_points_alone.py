"""Mapped grids that are their only input, from arrays to a checked surrogate."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import opkit
from opkit.base.arrays import Array
from opkit.errors import OpkitInputError
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
