"""What Python refuses is refused at every door: units, domain, spacing, order, steps.

A surrogate of t in K on the unit square in m meets files that differ in one respect.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import opkit
from opkit.datasets.agreement import Span, Stated, refuse_other, span_of
from opkit.datasets.importers.convert import import_data
from opkit.datasets.importers.fieldmap import FieldMap
from opkit.errors import DataError, OpkitInputError
from opkit.evaluate.run import evaluate
from opkit.surrogate.predict_file import predict
from opkit.train import train

N = 8
AXIS = np.linspace(0, 1, N)
SETTINGS = ("training.epochs=1", "model.n_modes=[4,4]", "model.hidden_channels=4")


def write(path: Path, units: str = "K", y: Any = AXIS, axis_units: str = "m") -> Path:
    """Write a data file of 12 samples, of which 3 are for validation."""
    rng = np.random.default_rng(0)
    t = 300 + rng.random((12, N, N))
    places = {"y": ("y", y, {"units": axis_units}), "x": ("x", AXIS, {"units": "m"})}
    dims = ("sample", "y", "x")
    arrays = {"t": (dims, t, {"units": units}), "p": (dims, 2 * t, {"units": "Pa"})}
    source = path.with_suffix(".nc")
    xr.Dataset(arrays, places).to_netcdf(source, engine="h5netcdf")
    fields = [FieldMap.parse("t=t", "input"), FieldMap.parse("p=p", "output")]
    return import_data(source, path, fields, held_out={"validation": 3})


@pytest.fixture(scope="module")
def kelvin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kelvin")
    train(write(folder / "k.h5"), folder / "run", overrides=SETTINGS)
    return folder


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "units": ({"units": "degC"}, r"t is in 'degC', .* 'K': convert"),
    "axis units": ({"axis_units": "km"}, r"axis y is in 'km', .* 'm'"),
    "extent": ({"y": 2 * AXIS}, r"axis y spans 2, .* 1:"),
    "spacing": ({"y": AXIS**2}, r"axis y is not evenly spaced"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_every_door(kelvin: Path, tmp_path: Path, what: str) -> None:
    changed, says = OTHERS[what]
    run, other = kelvin / "run", write(tmp_path / "other.h5", **changed)
    plain = other.with_suffix(".nc")
    surrogate = opkit.load(run)
    with xr.open_dataset(plain, engine="h5netcdf") as opened:
        fields = opened.t.load()
    doors = {
        "call": lambda: surrogate(fields),
        "checked call": lambda: surrogate(fields, check=True),
        "predict, data file": lambda: predict(run, other, tmp_path / "p.nc"),
        "predict, plain": lambda: predict(run, plain, tmp_path / "p.nc"),
        "evaluate": lambda: evaluate(run, other),
        "continue": lambda: train(other, tmp_path / "c", start=run),
        "more data": lambda: train(
            kelvin / "k.h5", tmp_path / "c", start=run, more=[other]
        ),
        "export": lambda: opkit.export(run, "pt2", tmp_path / "e.pt2", data=other),
    }
    for door, use in doors.items():
        with pytest.raises(OpkitInputError, match=says) as caught:
            use()
        assert "\n" not in str(caught.value), door
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other.h5", "other.nc"]


def test_the_same_data_pass_every_door(kelvin: Path, tmp_path: Path) -> None:
    run, same = kelvin / "run", write(tmp_path / "same.h5")
    predict(run, same, tmp_path / "p.nc")
    predict(run, same.with_suffix(".nc"), tmp_path / "q.nc")
    with (
        xr.open_dataset(tmp_path / "p.nc") as p,
        xr.open_dataset(tmp_path / "q.nc") as q,
    ):
        np.testing.assert_array_equal(p.p, q.p)
    assert evaluate(run, same).rows
    train(same, tmp_path / "c", start=run, overrides=["training.epochs=1"])


def test_training_refuses_a_grid_that_is_not_even(tmp_path: Path) -> None:
    """No operator on grids is for it; the prediction on its own data was refused."""
    with pytest.raises(DataError, match=r"axis y is not evenly spaced"):
        train(write(tmp_path / "s.h5", y=AXIS**2), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_channels_are_not_taken_by_their_place(tmp_path: Path) -> None:
    """Inputs in another order were read by position, without a word."""
    rng = np.random.default_rng(1)
    files = []
    for names in (("a", "b"), ("b", "a")):
        path = tmp_path / f"{names[0]}.npz"
        np.savez(path, **{n: rng.random((12, N, N)) for n in (*names, "u")})
        fields = [FieldMap.parse(f"{n}={n}:sample,y,x", "input") for n in names]
        fields.append(FieldMap.parse("u=u:sample,y,x", "output"))
        out = path.with_suffix(".h5")
        files.append(import_data(path, out, fields, held_out={"validation": 3}))
    train(files[0], tmp_path / "run", overrides=SETTINGS)
    evaluate(tmp_path / "run", files[0])
    with pytest.raises(DataError, match=r"inputs are b, a, .* trained on a, b"):
        evaluate(tmp_path / "run", files[1])


STEPS = np.arange(5.0)


def trajectories(path: Path, times: Any = STEPS, units: str = "day") -> Path:
    rng = np.random.default_rng(2)
    w = rng.random((12, len(times), N, N))
    dims = ("sample", "time", "y", "x")
    places: dict[str, Any] = {"time": ("time", times, {"units": units})}
    places |= {"y": AXIS, "x": AXIS}
    source = path.with_suffix(".nc")
    arrays = {"w": (dims, w), "f": (("sample", "y", "x"), w[:, 0])}
    xr.Dataset(arrays, places).to_netcdf(source, engine="h5netcdf")
    fields = [FieldMap.parse("f=f", "input"), FieldMap.parse("w=w", "output")]
    return import_data(source, path, fields, held_out={"validation": 3})


@pytest.fixture(scope="module")
def stepper(tmp_path_factory: pytest.TempPathFactory) -> opkit.Surrogate:
    folder = tmp_path_factory.mktemp("steps")
    data = trajectories(folder / "d.h5")
    arranged = ("mode=autoregressive", "history=2", *SETTINGS)
    train(data, folder / "run", overrides=arranged)
    return opkit.load(folder / "run")


def state(times: Any, **attrs: str) -> xr.Dataset:
    w = np.random.default_rng(3).random((len(times), N, N)).astype("f4")
    places = {"time": ("time", times, attrs), "y": AXIS, "x": AXIS}
    return xr.Dataset({"w": (("time", "y", "x"), w), "f": (("y", "x"), w[0])}, places)


@pytest.mark.parametrize(
    ("times", "attrs", "says"),
    [
        ([1.0, 0.0], {}, "axis time decreases"),
        ([0.0, 10.0], {}, r"steps of 10, .* trained on 1"),
        ([0.0, 1.0], {"units": "h"}, r"axis time is in 'h', .* 'day'"),
        (np.array(["2000-01-01", "2000-01-11"], "M8[ns]"), {}, "steps of 10"),
    ],
)
def test_times_of_a_rollout(
    stepper: opkit.Surrogate, times: Any, attrs: dict[str, str], says: str
) -> None:
    with pytest.raises(OpkitInputError, match=says):
        stepper.rollout(state(times, **attrs), 2)


def test_dates_go_on_in_steps_of_the_training(
    stepper: opkit.Surrogate, tmp_path: Path
) -> None:
    two = state(np.array(["2000-02-27", "2000-02-28"], "M8[ns]"))
    days = stepper.rollout(two, 2).time.values.astype("M8[D]")
    assert days.tolist() == np.array(["2000-02-29", "2000-03-01"], "M8[D]").tolist()
    data = trajectories(tmp_path / "d.h5")
    arranged = ("mode=autoregressive", "history=1", *SETTINGS)
    train(data, tmp_path / "run", overrides=arranged)
    single = opkit.load(tmp_path / "run")
    one = single.rollout(state(np.array(["2000-02-28"], "M8[ns]")), 2)
    assert one.time.values.astype("M8[D]").tolist() == days.tolist()
    pytest.importorskip("cftime")
    calendar = xr.date_range(
        "2000-02-28", periods=1, calendar="noleap", use_cftime=True
    )
    first, second = single.rollout(state(calendar), 2).time.values
    assert (first.month, first.day, second.day) == (3, 1, 2)  # no 29 February
    numbers = single.rollout(state([7.0], units="day"), 2)
    assert numbers.time.values.tolist() == [8.0, 9.0]


def test_uneven_records_and_other_steps_in_files(
    stepper: opkit.Surrogate, tmp_path: Path
) -> None:
    arranged = ("mode=autoregressive", "history=2", *SETTINGS)
    uneven = trajectories(tmp_path / "u.h5", STEPS**2)
    with pytest.raises(DataError, match="axis time is not evenly spaced"):
        train(uneven, tmp_path / "run", overrides=arranged)
    assert stepper.source is not None
    slow = trajectories(tmp_path / "s.h5", 3 * STEPS)
    with pytest.raises(DataError, match=r"steps of 3, .* trained on 1"):
        predict(stepper.source, slow, tmp_path / "p.nc")


def test_masked_values_are_refused(kelvin: Path) -> None:
    surrogate = opkit.load(kelvin / "run")
    t = np.full((N, N), 300.0)
    whole = surrogate(t)
    np.testing.assert_array_equal(surrogate(np.ma.masked_less(t, 0)), whole)
    t[:2, :2] = -9999
    for given in (np.ma.masked_less(t, 0), {"t": np.ma.masked_less(t, 0)}):
        with pytest.raises(OpkitInputError, match="4 values are masked"):
            surrogate(given)


def test_what_is_not_said_is_not_compared() -> None:
    own = Stated({}, {"x": Span(1.0, "m"), "time": Span(None, None, 1.0)})
    refuse_other(own, Stated({}, {"x": Span(1.0005, None)}), "own says")
    refuse_other(own, Stated({}, {"time": Span(None, "s", None)}), "own says")
    with pytest.raises(DataError, match=r"axis x spans 1\.01, own says 1:"):
        refuse_other(own, Stated({}, {"x": Span(1.01, "m")}), "own says")


def test_axes_rounded_to_single_precision_are_even() -> None:
    values = np.float32(1e5 + np.linspace(0, 1, 101)).astype(float)  # steps 0.0078
    assert span_of("x", values, "m", False).length == pytest.approx(1.0, abs=0.01)
    turned = np.array([0.0, 2.0, 1.0])
    with pytest.raises(DataError, match="does not increase everywhere: sort it"):
        span_of("x", turned, "m", False)
    ring = span_of("x", np.arange(8) / 8, None, True)
    assert ring.length == 1.0 and ring.step == 0.125
