"""Import of other people's files: what they say is taken, contradictions refused."""

import math
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from numpy.typing import NDArray

import opkit
from opkit.datasets.conformity import leaks
from opkit.datasets.header import Axis
from opkit.datasets.importers import table
from opkit.datasets.importers.convert import import_data
from opkit.datasets.importers.fieldmap import FieldMap
from opkit.datasets.read import DataFile
from opkit.errors import DataError, MissingExtraError

meshio = pytest.importorskip("meshio")

Array = NDArray[Any]
N = 5
AXIS = np.linspace(0.0, 1.0, N)
SAMPLE = np.arange(6.0)[:, None, None]
A = 300 + SAMPLE + 5 * AXIS[:, None] + 0.1 * AXIS
U = 1e5 + 100 * SAMPLE + 50 * AXIS[:, None] + AXIS
PLAIN = ("t=a", "p=u")


def maps(a: str = "t=a", u: str = "p=u") -> list[FieldMap]:
    return [FieldMap.parse(a, "input"), FieldMap.parse(u, "output")]


def dataset(a: Array = A, u: Array = U, **axes: Any) -> xr.Dataset:
    coordinates = {"y": ("y", AXIS, {"units": "m"}), "x": ("x", AXIS, {"units": "m"})}
    return xr.Dataset(
        {
            "a": (("sample", "y", "x"), a.copy(), {"units": "K"}),
            "u": (("sample", "y", "x"), u.copy(), {"units": "Pa"}),
        },
        coords={**coordinates, **axes},
    )


def imported(path: Any, folder: Path, fields: Any = None, **options: Any) -> DataFile:
    out = folder / "out.h5"
    out.unlink(missing_ok=True)
    return DataFile(import_data(path, out, fields or maps(), **options), trusted=True)


def refused(path: Any, folder: Path, says: str, *fields: str, **options: Any) -> None:
    out = folder / "refused.h5"
    with pytest.raises(DataError, match=says) as caught:
        import_data(path, out, maps(*(fields or PLAIN)), **options)
    assert "\n" not in str(caught.value)
    assert not list(folder.glob("*refused.h5*"))


KINDS = {
    "netCDF-4": {"engine": "h5netcdf"},
    "netCDF-3": {"format": "NETCDF3_64BIT", "engine": "scipy"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_packed_numbers_units_and_axes(tmp_path: Path, kind: str) -> None:
    """Values are scale * raw + offset; units and axes are the file's."""
    path = tmp_path / "packed.nc"
    packing = {"dtype": "i2", "scale_factor": 0.01, "add_offset": 300.0}
    packing |= {"_FillValue": np.int16(-9999)}
    dataset().to_netcdf(path, encoding={"a": packing}, **KINDS[kind])  # type: ignore[call-overload]
    file = imported(path, tmp_path)
    # half a step of the packing
    np.testing.assert_allclose(file.read("t", slice(None)), A, atol=0.0051)
    units = {v.name: v.units for v in file.header.variables}
    assert units == {"t": "K", "p": "Pa"}
    assert {d: a.units for d, a in file.header.coordinates.items()} == {
        "y": "m",
        "x": "m",
    }
    with xr.open_dataset(path, engine=KINDS[kind]["engine"]) as theirs:  # type: ignore[arg-type]
        np.testing.assert_array_equal(
            file.read("t", slice(None)), theirs.a.values.astype("f4")
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["fill", "NaN", "valid range", "never written"])
def test_missing_values_are_counted(tmp_path: Path, kind: str, how: str) -> None:
    data, encoding = dataset(), {}
    if how == "fill":
        data.u[2, 3, 1] = data.u[4, 0, 0] = np.nan
        encoding = {"u": {"dtype": "f8", "_FillValue": -9999.0}}
    elif how == "NaN":
        data.u[2, 3, 1] = data.u[4, 0, 0] = np.nan
        encoding = {"u": {"_FillValue": None}}
    elif how == "valid range":
        data.u.attrs["valid_min"], data.u.attrs["valid_max"] = 0.0, 2e5
        data.u[2, 3, 1], data.u[4, 0, 0] = -1.0, 3e5
    else:
        data.u[2, 3, 1] = data.u[4, 0, 0] = 9.969209968386869e36
        encoding = {"u": {"_FillValue": None}}
    path = tmp_path / "holes.nc"
    data.to_netcdf(path, encoding=encoding, **KINDS[kind])  # type: ignore[call-overload]
    says = "sample 2: p is missing .* at y 0.75, x 0.25; 2 such values .* in 2 of 6"
    refused(path, tmp_path, f"holes.nc: {says}")


def test_chunks_never_written(tmp_path: Path) -> None:
    path = tmp_path / "torn.h5"
    with h5py.File(path, "w") as file:
        file["a"] = A
        dataset = file.create_dataset("u", A.shape, "f4", chunks=(1, N, N))
        dataset[:3] = U[:3]
    for kind in ("hdf5", None):
        refused(
            path,
            tmp_path,
            "3 of 6 chunks .* never written, the first at index",
            "t=a:sample,y,x",
            "p=u:sample,y,x",
            format=kind,
        )
    matlab = tmp_path / "torn.mat"
    matlab.write_bytes(path.read_bytes())
    refused(matlab, tmp_path, "never written", "t=a:x,y,sample", "p=u:x,y,sample")


@pytest.mark.parametrize("suffix", ["npz", "mat", "h5", "pt", "save"])
@pytest.mark.parametrize("kind", ["complex", "structured", "object", "text"])
def test_other_numbers_are_refused(tmp_path: Path, suffix: str, kind: str) -> None:
    """One line at every door, and only where the array is asked for."""
    odd: Any = {
        "complex": A + 1j * U,
        "structured": np.zeros(A.shape, [("re", "f8"), ("im", "f8")]),
        "object": np.full(A.shape, None, object),
        "text": np.full(A.shape, "a"),
    }[kind]
    path = tmp_path / f"odd.{suffix}"
    sound = {"a": A, "u": U}
    if suffix == "npz":
        np.savez(path, odd=odd, **sound)
    elif suffix == "mat":
        scipy_io = pytest.importorskip("scipy.io")
        scipy_io.savemat(path, {**sound, "odd": {"s": 1} if kind != "complex" else odd})
    elif suffix == "h5":
        with h5py.File(path, "w") as file:
            file["a"], file["u"] = A, U
            if kind in ("object", "text"):
                file.create_dataset("odd", A.shape, h5py.string_dtype())
            else:
                file["odd"] = odd
    elif suffix == "pt":
        bad = torch.from_numpy(odd) if kind == "complex" else torch.eye(3).to_sparse()
        torch.save(
            {"a": torch.from_numpy(A), "u": torch.from_numpy(U), "odd": bad}, path
        )
    else:
        dims = ("sample", "y", "x")
        with pytest.raises(DataError, match="odd"):
            opkit.save(
                {"a": (dims, A), "odd": (dims, odd)}, tmp_path / "x.h5", ["a"], ["odd"]
            )
        return
    refused(path, tmp_path, "odd ", "t=a:sample,y,x", "p=odd:sample,y,x")
    file = imported(path, tmp_path, maps("t=a:sample,y,x", "p=u:sample,y,x"))
    np.testing.assert_array_equal(file.read("p", slice(None)), U.astype("f4"))


def test_masked_arrays_from_python(tmp_path: Path) -> None:
    dims = ("sample", "y", "x")
    hidden = np.ma.masked_less(A, 301)
    with pytest.raises(DataError, match="a is a masked array"):
        opkit.save(
            {"a": (dims, hidden), "u": (dims, U)}, tmp_path / "m.h5", ["a"], ["u"]
        )
    open_ = np.ma.masked_less(A, -1)  # nothing is masked: an array as any other
    opkit.save({"a": (dims, open_), "u": (dims, U)}, tmp_path / "m.h5", ["a"], ["u"])


def test_decreasing_axes_are_turned_with_their_data(tmp_path: Path) -> None:
    """lat from 1 to 0, named y: p(y = 0) is the file's u(lat = 0)."""
    path = tmp_path / "lat.nc"
    down = dataset(A[:, ::-1], U[:, ::-1], y=("y", AXIS[::-1], {"units": "m"}))
    down.rename(y="lat", x="lon").to_netcdf(path)
    file = imported(path, tmp_path, maps("t=a:sample,y,x", "p=u:sample,y,x"))
    np.testing.assert_array_equal(file.read("p", slice(None)), U.astype("f4"))
    np.testing.assert_array_equal(file.header.coordinates["y"].values, AXIS)
    assert file.header.coordinates["y"].units == "m"
    assert file.header.provenance["turned"] == ["y"]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (AXIS[[0, 2, 1, 3, 4]], "not sorted at its value 2"),
        (AXIS[[0, 1, 1, 3, 4]], "not sorted"),
        (np.array([0, 1, np.nan, 3, 4]), "not finite"),
    ],
)
def test_axes_that_are_no_axes(tmp_path: Path, values: Array, says: str) -> None:
    path = tmp_path / "a.nc"
    dataset(y=("y", values)).to_netcdf(path)
    refused(path, tmp_path, says)


def test_time_that_runs_backwards(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    dataset(y=("y", AXIS[::-1])).rename(y="time").to_netcdf(path)
    refused(path, tmp_path, "time runs from 1 down to 0")


@pytest.mark.parametrize(
    ("dims", "says"),
    [
        ("sample,x,y", "y is not x"),
        ("sample,time,x", "y is not time"),
        ("y,sample,x", "sample is not y"),
    ],
)
def test_names_do_not_overrule_the_file(tmp_path: Path, dims: str, says: str) -> None:
    path = tmp_path / "a.nc"
    square = dataset(A[:N], U[:N])
    square.to_netcdf(path)
    refused(path, tmp_path, says, f"t=a:{dims}", f"p=u:{dims}")


def test_directions_of_cf(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    named = dataset().rename(y="rlat", x="rlon")
    named.rlat.attrs["standard_name"] = "grid_latitude"
    named.rlon.attrs["axis"] = "X"
    named.to_netcdf(path)
    refused(path, tmp_path, "rlat is not x", "t=a:sample,x,y", "p=u:sample,x,y")
    imported(path, tmp_path, maps("t=a:sample,y,x", "p=u:sample,y,x"))


def test_dimensions_without_coordinates_and_with_labels(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    dataset().drop_vars(["x", "y"]).to_netcdf(path)
    file = imported(path, tmp_path)
    np.testing.assert_array_equal(file.header.coordinates["y"].values, AXIS)
    ends = {"x": (0.0, 8.0)}
    assert imported(path, tmp_path, coordinates=ends).header.coordinates["x"].values[
        -1
    ] == pytest.approx(8.0)
    dataset().assign_coords(sample=list("abcdef")).to_netcdf(path)
    imported(path, tmp_path)
    dataset().assign_coords(x=list("abcde")).to_netcdf(path)
    refused(path, tmp_path, "axis x holds labels")


def test_each_group_has_its_axes(tmp_path: Path) -> None:
    path = tmp_path / "groups.nc"
    dataset().to_netcdf(path, group="low")
    wide = dataset().assign_coords(x=5 * AXIS)
    wide.to_netcdf(path, group="high", mode="a")
    file = imported(path, tmp_path, maps("t=high/a", "p=high/u"))
    assert file.header.coordinates["x"].values[-1] == 5.0
    refused(path, tmp_path, "axis x is from 0 to 5", "t=low/a", "p=high/u")


def test_calendars_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    days = xr.date_range("2001-02-27", periods=N, calendar="noleap", use_cftime=True)
    data = dataset().drop_vars("y").rename(y="time").assign_coords(time=days)
    data.to_netcdf(path)
    file = imported(path, tmp_path)
    axis = file.header.coordinates["time"]
    assert (axis.calendar, axis.units.split(" since ")[0]) == ("noleap", "days")
    with xr.open_dataset(file.path, engine="h5netcdf") as ours:
        assert list(ours.time.values) == list(days)
    with xr.open_dataset(path) as theirs, pytest.MonkeyPatch.context():
        again = opkit.save(theirs, tmp_path / "again.h5", ["t=a"], ["p=u"])
    with DataFile(again) as file:
        assert file.header.coordinates["time"].calendar == "noleap"
    other = data.assign_coords(time=xr.date_range("2001-02-27", periods=N))
    other.to_netcdf(tmp_path / "b.nc")
    refused(
        [path, tmp_path / "b.nc"], tmp_path, "calendar standard there and in noleap"
    )


CHANGES = {
    "kelvin": (lambda d: d.assign(a=d.a.assign_attrs(units="degC")), "'degC' there"),
    "silent": (lambda d: d.assign(u=d.u.drop_attrs()), "--units p=UNITS"),
    "extent": (lambda d: d.assign_coords(y=2 * AXIS), "axis y is from 0 to 2"),
    "spacing": (lambda d: d.assign_coords(y=AXIS**2), "spaced otherwise"),
    "axis units": (
        lambda d: d.assign_coords(x=("x", AXIS, {"units": "km"})),
        "axis x is in 'km' there",
    ),
    "shape": (lambda d: d.isel(x=slice(1, None)), "disagree about its shape"),
    "names": (lambda d: d.rename(u="v"), "no array 'u'"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("split", ["train", "test"])
def test_files_that_disagree(tmp_path: Path, change: str, split: str) -> None:
    one, two = tmp_path / "one.nc", tmp_path / "two.nc"
    apply, says = CHANGES[change]
    dataset().to_netcdf(one)
    apply(dataset(A + 10, U + 10)).to_netcdf(two)
    files: Any = [one, two] if split == "train" else {"train": one, "test": two}
    refused(files, tmp_path, says)


def test_all_files_of_a_split_are_read(tmp_path: Path) -> None:
    for k in range(11):
        dataset(A + 10 * k, U + 10 * k).to_netcdf(tmp_path / f"run{k}.nc")
    expected = np.concatenate([U + 10 * k for k in range(11)]).astype("f4")
    for files in (
        str(tmp_path / "run*.nc"),
        [tmp_path / f"run{k}.nc" for k in range(11)],
    ):
        file = imported(files, tmp_path)
        np.testing.assert_array_equal(file.read("p", slice(None)), expected)
    down = dataset(
        A[:, ::-1] + 200, U[:, ::-1] + 200, y=("y", AXIS[::-1], {"units": "m"})
    )
    down.to_netcdf(tmp_path / "down.nc")
    file = imported([tmp_path / "run0.nc", tmp_path / "down.nc"], tmp_path)
    np.testing.assert_array_equal(
        file.read("p", slice(6, None)), (U + 200).astype("f4")
    )


def test_users_do_not_contradict_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    dataset().to_netcdf(path)
    refused(
        path, tmp_path, "from 0 to 1 there and from 0 to 2", coordinates={"x": (0, 2)}
    )
    refused(path, tmp_path, "t is in 'K' there, not in 'degC'", units={"t": "degC"})
    refused(path, tmp_path, "have the axes y, x", coordinates={"z": (0, 1)})
    counted = dataset().assign_coords(x=np.arange(N))
    counted.to_netcdf(path)
    file = imported(path, tmp_path, coordinates={"x": (0, 2)}, units={"x": "m"})
    assert file.header.coordinates["x"].values[-1] == 2.0


def test_ends_of_time_are_those_of_the_array(tmp_path: Path) -> None:
    """101 frames from 0 to 10: the frames from the second on begin at 0.1."""
    path = tmp_path / "a.npz"
    u = np.random.default_rng(0).random((2, 101, 3))
    np.savez(path, u=u)
    fields = maps("i=u:sample,time,x@0", "u=u:sample,time,x@1:")
    file = imported(path, tmp_path, fields, coordinates={"time": (0.0, 10.0)})
    np.testing.assert_allclose(
        file.header.coordinates["time"].values, np.arange(1, 101) / 10, rtol=1e-12
    )
    refused(
        path, tmp_path, "have different times",
        "i=u:sample,time,x@:50", "u=u:sample,time,x@50:100",
    )  # fmt: skip


@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e20])
def test_signals_lost_in_float32(tmp_path: Path, scale: float) -> None:
    """1e5 + 1e-3 sin is lost in float32; small or large numbers alone are not."""
    path = tmp_path / "a.npz"
    fields = ("t=a:sample,y,x", "p=u:sample,y,x")
    faint = (1e5 + 1e-3 * np.sin(U)) * scale
    np.savez(path, a=A * scale, u=faint)
    refused(path, tmp_path, "float32 rounds by .* --float64", *fields)
    file = imported(path, tmp_path, maps(*fields), dtype="float64")
    np.testing.assert_array_equal(file.read("p", slice(None)), faint)
    np.savez(path, a=A * scale, u=U * scale)
    file = imported(path, tmp_path, maps(*fields))
    np.testing.assert_allclose(file.read("p", slice(None)), U * scale, rtol=1e-7)
    np.savez(path, a=A, u=U * 1e35)
    refused(path, tmp_path, "beyond the range of float32", *fields)
    np.savez(path, a=A, u=np.full_like(U, 300.1) * (1 + 1e-16 * A))  # constant
    imported(path, tmp_path, maps(*fields))


def test_equal_inputs_in_two_splits(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    dataset().to_netcdf(path)
    says = (
        r"a.nc: sample 0 \(test\) has the inputs of .*a.nc: sample 0 \(train\); "
        "6 samples"
    )
    refused({"train": path, "test": path}, tmp_path, says)
    assert leaks(imported(path, tmp_path, held_out={"test": 2})) == []


def test_leaks_in_a_stored_file(tmp_path: Path) -> None:
    """The same sample twice, in a file whose writer did not look."""
    from opkit.datasets.header import Header, VariableSpec
    from opkit.datasets.write import LIBVER, Writer

    header = Header(
        {},
        (
            VariableSpec("a", "input", ("x",), (3,)),
            VariableSpec("u", "output", ("x",), (3,)),
        ),
        {"x": Axis(np.arange(3.0))},
        {"train": np.array([0, 1]), "test": np.array([2])},
    )
    values = np.array([[0, 1, 2], [3, 4, 5], [3, 4, 5]], "f4")
    with h5py.File(tmp_path / "l.h5", "w", libver=LIBVER) as file:
        writer = Writer(file, header)
        writer.put(slice(0, 3), np.arange(3), {"a": values, "u": values})
        writer.finish()
    with DataFile(tmp_path / "l.h5") as opened:
        assert leaks(opened) == [("train", 1, "test", 2)]


def test_one_file_is_shared_out(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    values = np.random.default_rng(0).random((50, N, N))
    dataset(values, values).to_netcdf(path)
    shares = {"validation": 0.2, "test": 0.1}
    file = imported(path, tmp_path, fractions=shares, seed=3)
    sizes = {s: len(r) for s, r in file.header.splits.items()}
    assert sizes == {"train": 35, "validation": 10, "test": 5}
    assert file.header.provenance["split"] == {**shares, "seed": 3}
    again = imported(path, tmp_path, fractions=shares, seed=3)
    np.testing.assert_array_equal(
        file.header.splits["test"], again.header.splits["test"]
    )
    other = imported(path, tmp_path, fractions=shares, seed=4)
    assert file.header.splits["test"].tolist() != other.header.splits["test"].tolist()
    refused(path, tmp_path, "add up to 1", fractions={"test": 1.2})
    refused(path, tmp_path, "no sample of 50", fractions={"test": 0.001})
    file = imported({"test": path}, tmp_path)
    assert set(file.header.splits) == {"test"}


def test_folders_of_arrays(tmp_path: Path) -> None:
    """a/1.npy, a_1.npy, run1.npz: a sample each, in the order of their numbers."""
    numbered, deep, zipped = (tmp_path / n for n in ("numbered", "deep", "zipped"))
    for folder in (numbered, deep / "a", deep / "u", zipped):
        folder.mkdir(parents=True)
    for k in range(6):
        np.save(numbered / f"a_{k + 7}.npy", A[k])
        np.save(numbered / f"u_{k + 7}.npy", U[k])
        np.save(deep / "a" / f"{k + 7}.npy", A[k])
        np.save(deep / "u" / f"{k + 7}.npy", U[k])
        np.savez(zipped / f"run{k + 7}.npz", a=A[k], u=U[k])
    for files, dims in (
        (numbered, "sample,y,x"),
        (deep, "sample,y,x"),
        (zipped, "y,x"),
    ):
        file = imported(files, tmp_path, maps(f"t=a:{dims}", f"p=u:{dims}"))
        np.testing.assert_array_equal(file.read("p", slice(None)), U.astype("f4"))
    (numbered / "u_9.npy").unlink()
    refused(numbered, tmp_path, "9 is missing", "t=a:sample,y,x", "p=u:sample,y,x")
    refused(str(zipped / "*.csv"), tmp_path, "no files there")


def test_tables(tmp_path: Path) -> None:
    """Rows in any order; a missing or doubled point, text and gaps are refused."""
    rows = [
        {
            "sample": s, "y [m]": AXIS[j], "x [m]": AXIS[i],
            "a [K]": A[s, j, i], "u": U[s, j, i],
        }
        for s in range(6) for j in range(N) for i in range(N)
    ]  # fmt: skip
    table = pd.DataFrame(rows).sample(frac=1, random_state=0)
    path = tmp_path / "a.csv"
    table.to_csv(path, index=False)
    file = imported(path, tmp_path)
    np.testing.assert_array_equal(file.read("t", slice(None)), A.astype("f4"))
    assert file.header.variable("t").units == "K"
    assert file.header.coordinates["y"].units == "m"
    table[1:].to_csv(path, index=False)
    refused(path, tmp_path, "149 rows for a grid of 6 sample x 5 y x 5 x = 150")
    pd.concat([table[1:], table[1:2]]).to_csv(path, index=False)
    refused(path, tmp_path, "each point needs one row")
    table.assign(u="high").to_csv(path, index=False)
    refused(path, tmp_path, "u holds text")
    hole = table.copy()
    hole.iloc[3, 4] = np.nan
    hole.to_csv(path, index=False)
    refused(path, tmp_path, "sample .*: p is missing .*; 1 such")
    path.write_text("a,a,u\n1,2,3\n")
    refused(path, tmp_path, "column a twice")
    pd.DataFrame({"a": AXIS, "u": AXIS**2}).to_csv(path, index=False)
    numbers = imported(path, tmp_path, maps(*PLAIN))  # one of each per sample
    np.testing.assert_array_equal(numbers.read("t", slice(None)), AXIS)
    np.testing.assert_array_equal(numbers.read("p", slice(None)), AXIS**2)


def test_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match="parquet"):
        table.open_source(path)


def test_an_xarray_dataset(tmp_path: Path) -> None:
    out = opkit.save(
        dataset(), tmp_path / "o.h5", ["a"], ["u"], split={"test": 1 / 3}, seed=1
    )
    with DataFile(out) as file:
        np.testing.assert_array_equal(file.read("a", slice(None)), A.astype("f4"))
        assert file.header.variable("u").units == "Pa"
        assert len(file.indices("test")) == 2
    both = {"train": dataset(), "test": dataset(A + 9, U)}
    with DataFile(opkit.save(both, tmp_path / "b.h5", ["a"], ["u"])) as file:
        np.testing.assert_array_equal(file.read("a", 6), (A[0] + 9).astype("f4"))
    with pytest.raises(DataError, match="named axes"):
        opkit.save({"a": A, "u": U}, tmp_path / "c.h5", ["a"], ["u"])
    with pytest.raises(DataError, match="exists"):
        opkit.save(dataset(), out, ["a"], ["u"])


def test_periodic_axes(tmp_path: Path) -> None:
    """cos 2πx on 8 points: with the end that repeats the first it is refused."""
    x = np.linspace(0, 1, 9)
    wave = np.cos(2 * np.pi * x) * (1 + np.arange(4.0))[:, None]
    open_, closed = tmp_path / "open.npz", tmp_path / "closed.npz"
    np.savez(open_, a=wave[:, :-1], u=2 * wave[:, :-1])
    np.savez(closed, a=wave, u=2 * wave)
    fields = ("t=a:sample,x", "p=u:sample,x")
    options = {"periodic": ["x"], "coordinates": {"x": (0.0, 2 * math.pi)}}
    file = imported(open_, tmp_path, maps(*fields), **options)
    axis = DataFile(file.path).header.coordinates["x"]
    assert axis.periodic
    np.testing.assert_allclose(axis.values, 2 * math.pi * np.arange(8) / 8)
    refused(closed, tmp_path, "last point repeats the first", *fields, **options)
    refused(open_, tmp_path, "have the axes x", *fields, periodic=["y"])


def square_mesh() -> tuple[Array, Array]:
    points = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0.5, 0.5)], float)
    return points, np.array([(0, 1, 4), (1, 2, 4), (2, 3, 4), (3, 0, 4)])


def test_meshes_of_other_codes(tmp_path: Path) -> None:
    """.vtu, a sample a file, and arrays points and cells: values on their nodes."""
    points, cells = square_mesh()
    k = np.arange(1.0, 4)[:, None] * np.arange(1.0, 5)
    p = np.arange(1.0, 4)[:, None] * points[:, 0]
    for s in range(3):
        meshio.Mesh(
            np.column_stack([points, 0 * points[:, 0]]),
            [("triangle", cells), ("line", np.array([[0, 1]]))],
            point_data={"p": p[s], "v": np.column_stack([p[s], 2 * p[s], 0 * p[s]])},
            cell_data={"k": [k[s], np.zeros(1)]},
        ).write(tmp_path / f"s{s}.vtu")
    fields = [*maps("k=k", "p=p"), FieldMap.parse("v=v_y", "output")]
    file = imported(str(tmp_path / "s*.vtu"), tmp_path, fields)
    np.testing.assert_array_equal(file.read("k", slice(None)), k.astype("f4"))
    np.testing.assert_array_equal(file.read("v", slice(None)), (2 * p).astype("f4"))
    assert file.header.mesh is not None
    np.testing.assert_array_equal(file.header.mesh.points, points)
    np.testing.assert_array_equal(file.header.mesh.cells, cells)
    path = tmp_path / "m.npz"
    np.savez(path, points=points, cells=cells, k=k, p=p)
    fields = maps("k=k:sample,cell", "p=p:sample,node")
    file = imported(path, tmp_path, fields)
    np.testing.assert_array_equal(file.read("p", slice(None)), p.astype("f4"))
    np.savez(path, k=k, p=p)
    refused(path, tmp_path, "need a mesh", "k=k:sample,cell", "p=p:sample,node")
    (tmp_path / "m.xdmf").write_text("<Xdmf/>")
    refused(tmp_path / "m.xdmf", tmp_path, "meshio convert")
    moved = meshio.Mesh(points + 1, [("triangle", cells)], {"p": p[0]}, {"k": [k[0]]})
    moved.write(tmp_path / "s3.vtu")
    refused(
        str(tmp_path / "s*.vtu"), tmp_path, "do not lie where", "k=k", "p=p",
        meshes="one",
    )  # fmt: skip
