"""Predictions from file to file agree with predictions in memory."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import opkit
from opkit.errors import DataError, OpkitInputError
from opkit.generate import generate
from opkit.surrogate.predict_file import predict
from opkit.train import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("predict")
    case = opkit.load_case("darcy", ("resolution=17",))
    data = generate(case, folder / "darcy.h5", samples=16)
    settings = ("training.epochs=1", "model.n_modes=[4, 4]", "subsample=1")
    train(data, folder / "run", operator="fno", overrides=settings, device="cpu")
    return folder / "run", data


def test_data_file_to_netcdf(trained: tuple[Path, Path], tmp_path: Path) -> None:
    run, data = trained
    shape = predict(run, data, tmp_path / "out.nc", split="test")
    with xr.open_dataset(data, engine="h5netcdf") as data_in:
        rows = np.flatnonzero(data_in["split"].values == 2)
        expected = opkit.load(run)(data_in["permeability"].values[rows])
    with xr.open_dataset(tmp_path / "out.nc", engine="h5netcdf") as data_out:
        assert data_out["pressure"].dims == ("sample", "y", "x")
        assert data_out["pressure"].shape == shape == expected.shape
        np.testing.assert_array_equal(data_out["sample"], rows)
        np.testing.assert_array_equal(data_out["pressure"], expected)


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_arrays(trained: tuple[Path, Path], tmp_path: Path, kind: str) -> None:
    run, _ = trained
    field = np.random.default_rng(0).uniform(3, 12, (2, 17, 17)).astype(np.float32)
    source, target = tmp_path / f"in.{kind}", tmp_path / f"out.{kind}"
    if kind == "npz":
        np.savez(source, permeability=field)
    else:
        np.save(source, field)
    predict(run, source, target)
    content = np.load(target)
    content = content["pressure"] if kind == "npz" else content
    np.testing.assert_array_equal(content, opkit.load(run)(field))


def _pickle(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def _wrong_name(path: Path) -> None:
    np.savez(path, perm=np.ones((2, 17, 17)))


@pytest.mark.parametrize(
    ("name", "make", "error", "message"),
    [
        ("absent.npz", lambda path: None, DataError, "no such file"),
        ("text.npz", lambda path: path.write_text("hello"), DataError, "text.npz"),
        ("object.npy", _pickle, DataError, "pickle"),
        ("name.npz", _wrong_name, OpkitInputError, "permeability"),
        ("table.csv", lambda path: path.write_text("1"), DataError, "npz"),
        ("text.h5", lambda path: path.write_text("hello"), DataError, "text.h5"),
    ],
)
def test_bad_input_leaves_nothing_behind(
    trained: tuple[Path, Path],
    tmp_path: Path,
    name: str,
    make: Callable[[Path], None],
    error: type[Exception],
    message: str,
) -> None:
    source = tmp_path / name
    make(source)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error, match=message) as caught:
        predict(trained[0], source, tmp_path / "out.nc")
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_unknown_target_is_refused(trained: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\.nc"):
        predict(*trained, tmp_path / "out.csv")
