"""Predictions from file to file of what evolves: frames, times, names and units."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from fixtures.training import splits, write_file
from typer.testing import CliRunner

import opkit
from opkit.cli import app
from opkit.datasets.header import Axis, Header, VariableSpec
from opkit.errors import DataError, OpkitInputError
from opkit.surrogate.bundle import files as bundle
from opkit.surrogate.predict_file import predict
from opkit.train import train

SMALL = (
    "model.n_modes=[4]", "model.hidden_channels=4", "model.n_layers=1",
    "training.epochs=1",
)  # fmt: skip


def opened(path: Path) -> xr.Dataset:
    with xr.open_dataset(path, engine="h5netcdf", decode_times=False) as file:
        return file.load()


def test_the_built_in_flow_is_rolled_out_from_its_data_file(flow, tmp_path):
    out = tmp_path / "out.nc"
    words = ["predict", str(flow.run), str(flow.data), "--split", "test"]
    done = CliRunner().invoke(app, [*words, "-o", str(out)])
    assert done.exit_code == 0, done.output
    vorticity, file = opened(out)["vorticity"], opened(flow.data)
    # the initial state and the first of five records are given: four are predicted
    assert vorticity.dims == ("sample", "time", "y", "x")
    np.testing.assert_array_equal(vorticity["time"], file["time"].values[1:])
    np.testing.assert_array_equal(vorticity["x"], file["x"])
    assert vorticity.attrs["units"] == file["vorticity"].attrs["units"]
    assert vorticity["time"].attrs["units"] == file["time"].attrs["units"]
    expected = flow.load().rollout(flow.permeability, 4)[:, :, 0]
    np.testing.assert_array_equal(vorticity, expected)


@pytest.mark.parametrize("steps", [2, 9])
def test_as_many_steps_as_asked_for_with_times_that_go_on(flow, tmp_path, steps):
    predict(flow.run, flow.data, tmp_path / "o.nc", "test", steps=steps)
    predicted = opened(tmp_path / "o.nc")
    # records lie 1 apart from 1 on, the first predicted one is the second
    np.testing.assert_allclose(predicted["time"], 2.0 + np.arange(steps))
    expected = flow.load().rollout(flow.permeability, steps)[:, :, 0]
    np.testing.assert_array_equal(predicted["vorticity"], expected)


@pytest.mark.parametrize("history", [1, 3])
def test_static_fields_and_any_history(tmp_path, make_trajectories, history):
    data = make_trajectories(static=True)
    settings = ("mode=autoregressive", f"history={history}", *SMALL)
    run = train(data, tmp_path / "run", operator="fno", overrides=settings).run
    card = (run / "bundle" / "card.md").read_text()
    assert "static fields, given once: speed" in card
    assert "static: speed" in repr(opkit.load(run))
    predict(run, data, tmp_path / "out.nc", "test")
    written = opened(tmp_path / "out.nc")["wave"]
    source = opened(data).isel(sample=slice(34, 40))
    assert written.dims == ("sample", "time", "x")
    np.testing.assert_array_equal(written["time"], np.arange(history, 6))
    expected = opkit.load(run).rollout(
        source["wave"].values[:, :history, None],
        6 - history,
        static=source["speed"].values[:, None],
    )
    np.testing.assert_array_equal(written, expected[:, :, 0])


def test_space_time_is_written_with_its_times(tmp_path, make_trajectories):
    data = make_trajectories()
    settings = ("mode=space-time", *SMALL[1:], "model.n_modes=[3, 4]")
    run = train(data, tmp_path / "run", operator="fno", overrides=settings).run
    predict(run, data, tmp_path / "out.nc", "test")
    wave = opened(tmp_path / "out.nc")["wave"]
    assert wave.dims == ("sample", "time", "x")
    np.testing.assert_array_equal(wave["time"], np.arange(6.0))
    first = opened(data)["initial_wave"].values[34:]
    expected = opkit.load(run)(np.repeat(first[:, None], 6, 1))
    np.testing.assert_array_equal(wave, expected)
    with pytest.raises(OpkitInputError, match="mode=autoregressive"):
        predict(run, data, tmp_path / "no.nc", steps=2)


def test_a_map_in_time_says_when_its_output_is(tmp_path, make_trajectories):
    data = make_trajectories()
    run = train(data, tmp_path / "run", operator="fno", overrides=SMALL).run
    predict(run, data, tmp_path / "out.nc", "test")
    output = opened(tmp_path / "out.nc")
    assert output["wave"].dims == ("sample", "x")
    assert float(output["time"]) == 5.0  # the last of records at 0 to 5


def test_inputs_alone_from_netcdf_and_npz(flow, tmp_path):
    frames = flow.permeability[:, :, 0]  # (sample, history, y, x)
    x = np.arange(32) / 32
    plain = xr.Dataset(
        {"vorticity": (("member", "time", "y", "x"), frames, {"units": "1"})},
        {"time": [0.0, 1.0], "y": x, "x": x},
    )
    plain.to_netcdf(tmp_path / "in.nc", engine="h5netcdf")
    predict(flow.run, tmp_path / "in.nc", tmp_path / "out.nc", steps=3)
    vorticity = opened(tmp_path / "out.nc")["vorticity"]
    assert vorticity.dims == ("member", "time", "y", "x")
    np.testing.assert_allclose(vorticity["time"], [2.0, 3.0, 4.0])
    assert "units" in vorticity.attrs
    expected = flow.load().rollout(flow.permeability, 3)[:, :, 0]
    np.testing.assert_array_equal(vorticity, expected)
    np.savez(tmp_path / "in.npz", vorticity=frames)
    predict(flow.run, tmp_path / "in.npz", tmp_path / "out.npz", steps=3)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npz")["vorticity"], expected)
    predict(flow.run, tmp_path / "in.npz", tmp_path / "named.nc", steps=3)
    named = opened(tmp_path / "named.nc")["vorticity"]
    assert named.dims == ("sample", "time", "y", "x")
    np.save(tmp_path / "in.npy", flow.permeability)
    predict(flow.run, tmp_path / "in.npy", tmp_path / "array.nc")
    array = opened(tmp_path / "array.nc")["vorticity"]
    assert array.dims == ("sample", "y", "x")
    np.testing.assert_array_equal(array, expected[:, 0])
    wrong = plain.assign(vorticity=plain["vorticity"].assign_attrs(units="km"))
    wrong.to_netcdf(tmp_path / "km.nc", engine="h5netcdf")
    with pytest.raises(OpkitInputError, match="vorticity is in 'km'"):
        predict(flow.run, tmp_path / "km.nc", tmp_path / "no.nc")
    with pytest.raises(OpkitInputError, match="lacks vorticity"):
        plain.rename(vorticity="w").to_netcdf(tmp_path / "w.nc", engine="h5netcdf")
        predict(flow.run, tmp_path / "w.nc", tmp_path / "no.nc")
    assert not (tmp_path / "no.nc").exists()


def bounded(path: Path, n: int) -> Path:
    """u = 2 a on [0, 1] with both ends, n points along y and x."""
    a = np.random.default_rng(0).normal(size=(24, n, n)).astype(np.float32)
    header = Header(
        case={},
        variables=(
            VariableSpec("a", "input", ("y", "x"), (n, n)),
            VariableSpec("u", "output", ("y", "x"), (n, n)),
        ),
        coordinates={d: Axis(np.linspace(0, 1, n)) for d in "yx"},
        splits=splits(12, 6, 6),
    )
    return write_file(path, header, {"a": a, "u": 2 * a})


PLANE = (SMALL[1], SMALL[2], SMALL[3], "model.n_modes=[4, 4]")


def test_a_stride_that_misses_an_end_is_refused_with_those_that_do_not(
    tmp_path, make_data
):
    data = bounded(tmp_path / "a.h5", 64)
    with pytest.raises(DataError, match=r"axis y \(64 points\).*=1, 3, 7, 9, 21$"):
        train(data, tmp_path / "r", operator="fno", overrides=("subsample=2", *PLANE))
    assert not (tmp_path / "r").exists()
    torus = make_data(n=32)  # 32 points around
    with pytest.raises(DataError, match=r"periodic axis y \(32 .*=1, 2, 4, 8, 16$"):
        train(torus, tmp_path / "r", operator="fno", overrides=["subsample=3"])


def test_a_run_takes_its_own_file_at_its_own_stride(tmp_path):
    data = bounded(tmp_path / "a.h5", 64)
    run = train(
        data, tmp_path / "r", operator="fno", overrides=("subsample=3", *PLANE)
    ).run
    predict(run, data, tmp_path / "out.nc", "test")
    output = opened(tmp_path / "out.nc")
    assert output["u"].shape == (6, 22, 22)
    np.testing.assert_allclose(output["x"], np.linspace(0, 1, 22))
    a = opened(data)["a"].values[18:]
    np.testing.assert_array_equal(output["u"], opkit.load(run)(a[:, ::3, ::3]))
    with pytest.warns(UserWarning, match="trained at"):
        predict(run, data, tmp_path / "fine.nc", "test", subsample=1)
    assert opened(tmp_path / "fine.nc")["u"].shape == (6, 64, 64)


def test_a_bundle_from_before_takes_its_own_file(tmp_path):
    # as it was allowed: every second of 64 points, 0 to 62/63
    thin = bounded(tmp_path / "thin.h5", 32)
    run = train(thin, tmp_path / "r", operator="fno", overrides=PLANE).run
    config, weights = bundle.read(run)
    record = config.model_dump()
    record["recipe"]["subsample"] = 2
    record["shape"]["extent"] = (62 / 63, 62 / 63)
    old = type(config).model_validate(record)
    bundle.write(tmp_path / "old", old, weights, "card")
    data = bounded(tmp_path / "a.h5", 64)
    predict(tmp_path / "old", data, tmp_path / "out.nc", "test")
    output = opened(tmp_path / "out.nc")
    np.testing.assert_allclose(output["x"], np.linspace(0, 1, 64)[::2])
    a = opened(data)["a"].values[18:, ::2, ::2]
    np.testing.assert_array_equal(output["u"], opkit.load(run)(a))
    # a file on which the stride leaves yet another domain is refused
    other = bounded(tmp_path / "b.h5", 16)
    with pytest.raises(OpkitInputError, match="another domain"):
        predict(tmp_path / "old", other, tmp_path / "no.nc")
