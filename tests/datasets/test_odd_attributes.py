"""Attributes that do not tell values, grids without axes, names that disagree."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
from scipy.io import netcdf_file

from opkit.datasets.importers.arrays import save
from opkit.datasets.importers.convert import import_data
from opkit.datasets.importers.fieldmap import FieldMap
from opkit.datasets.read import DataFile
from opkit.errors import DataError

N = 4
RAW = np.arange(3 * N * N, dtype="i2").reshape(3, N, N)


def fields(a: str = "t=a", u: str = "p=u") -> list[FieldMap]:
    return [FieldMap.parse(a, "input"), FieldMap.parse(u, "output")]


def classic(path: Path, on_a: dict[str, Any], on_y: dict[str, Any]) -> Path:
    """A netCDF-3 file with a = 0, 1, ..., u = 2 a, y = 0 to 3, all 16-bit."""
    with netcdf_file(path, "w") as file:
        for dim, length in (("sample", 3), ("y", N), ("x", N)):
            file.createDimension(dim, length)
        for name, dims, values, attributes in (
            ("a", ("sample", "y", "x"), RAW, on_a),
            ("u", ("sample", "y", "x"), 2 * RAW, {}),
            ("y", ("y",), np.arange(N, dtype="i2"), on_y),
        ):
            variable = file.createVariable(name, "i2", dims)
            variable[:] = values
            for key, value in attributes.items():
                setattr(variable, key, value)
    return path


def refused(path: Any, folder: Path, says: str, **options: Any) -> None:
    out = folder / "refused.h5"
    with pytest.raises(DataError, match=says) as caught:
        import_data(path, out, options.pop("fields", fields()), **options)
    assert "\n" not in str(caught.value)
    assert not list(folder.glob("*refused.h5*"))


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ({"scale_factor": 0.0}, "scale_factor of zero"),
        ({"scale_factor": np.array([0.1, 0.2])}, "scale_factor of 2 numbers, not 1"),
        ({"scale_factor": "0.1"}, "scale_factor that is no number"),
        ({"add_offset": np.nan}, "add_offset that is not finite"),
        ({"valid_min": "low"}, "valid_min that is no number"),
        ({"valid_range": np.arange(3.0)}, "valid_range of 3 numbers, not 2"),
        ({"valid_range": np.array([np.nan, 1])}, "valid_range that is not finite"),
        ({"units": np.array([1.0, 2.0])}, "units that are no text"),
    ],
)
def test_attributes_that_do_not_tell_values(
    tmp_path: Path, attributes: dict[str, Any], says: str
) -> None:
    path = classic(tmp_path / "a.nc", attributes, {})
    refused(path, tmp_path, f"a.nc: a has .*{says}")
    other = import_data(path, tmp_path / "o.h5", fields("t=u"))  # u is sound
    with DataFile(other, trusted=True) as file:
        np.testing.assert_array_equal(file.read("t", slice(None)), 2 * RAW)
    if "units" not in attributes:
        path = classic(tmp_path / "y.nc", {}, attributes)
        refused(path, tmp_path, f"axis y has .*{says}")
        with h5py.File(tmp_path / "b.h5", "w") as file:  # PDEBench's layout
            file["u"], file["x-coordinate"] = RAW[:, 0], np.arange(4.0)
            item = file.create_dataset("a", data=RAW[:, 0])
            for name, value in attributes.items():
                item.attrs[name] = value
        refused(tmp_path / "b.h5", tmp_path, f"a has .*{says}")


def test_limits_and_units_that_do_tell(tmp_path: Path) -> None:
    """Ends at infinity, units as the number 1 and as an array of one text."""
    limits = {"valid_range": np.array([-np.inf, 50.0]), "units": 1.0}
    path = classic(tmp_path / "a.nc", limits, {"scale_factor": 0.5, "units": "km"})
    out = import_data(path, tmp_path / "o.h5", fields())
    with DataFile(out, trusted=True) as file:
        np.testing.assert_array_equal(file.read("t", slice(None)), RAW)
        axis = file.header.coordinates["y"]
        assert (axis.units, axis.values.tolist()) == ("km", [0, 0.5, 1, 1.5])
        assert file.header.variable("t").units == "1"
    with h5py.File(tmp_path / "b.h5", "w") as file:
        for name, units in (("a", np.array([b"K"])), ("u", ["Pa"])):
            file[name] = RAW
            file[name].attrs["units"] = units
    named = fields("t=a:sample,y,x", "p=u:sample,y,x")
    out = import_data(tmp_path / "b.h5", tmp_path / "p.h5", named)
    with DataFile(out, trusted=True) as file:
        assert [v.units for v in file.header.variables] == ["K", "Pa"]


@pytest.mark.parametrize(
    ("units", "calendar"),
    [
        ("months since 2000-01-01", "standard"),
        ("days since yesterday", "noleap"),
        ("days since 2000-01-01", "martian"),
        ("days since 0000-01-01", "standard"),
    ],
)
def test_times_that_give_no_dates(tmp_path: Path, units: str, calendar: str) -> None:
    """xarray could not open the file that they would be stored in."""
    time = ("time", np.arange(3.0), {"units": units, "calendar": calendar})
    xr.Dataset(
        {"a": (("sample", "time"), RAW[0, :2, :3]), "u": ("time", RAW[0, 0, :3])},
        {"time": time},
    ).to_netcdf(tmp_path / "t.nc", engine="h5netcdf")
    refused(tmp_path / "t.nc", tmp_path, f"axis time counts '{units}'.* no dates")


def curvilinear() -> xr.Dataset:
    dims = ("sample", "j", "i")
    places = {
        "lat": (("j", "i"), RAW[0] / 2.0, {"units": "degrees_north"}),
        "lon": (("j", "i"), RAW[0].T / 2.0),
    }
    return xr.Dataset({"a": (dims, RAW), "u": (dims, 2 * RAW)}, places)


def test_curvilinear_grids_are_no_axes(tmp_path: Path) -> None:
    curvilinear().to_netcdf(tmp_path / "c.nc", engine="h5netcdf")
    named = fields("t=a:sample,y,x", "p=u:sample,y,x")
    says = r"axis y .*but lat \(j, i\) and lon \(j, i\), a curvilinear grid"
    refused(tmp_path / "c.nc", tmp_path, says, fields=named)
    with pytest.raises(DataError, match=says):
        save(curvilinear(), tmp_path / "s.h5", ["t=a:sample,y,x"], ["p=u:sample,y,x"])
    counted = import_data(
        tmp_path / "c.nc", tmp_path / "o.h5", named,
        coordinates={"y": (0, 3), "x": (0, 3)},
    )  # fmt: skip
    with DataFile(counted, trusted=True) as file:
        np.testing.assert_array_equal(file.read("p", slice(None)), 2 * RAW)
        assert file.header.coordinates["y"].values.tolist() == [0, 1, 2, 3]


def test_one_dimension_has_one_name(tmp_path: Path) -> None:
    """On a square grid, a field of another order would be taken transposed."""
    xr.Dataset(
        {"a": (("e", "i", "j"), RAW), "u": (("e", "j", "i"), 2 * RAW)}
    ).to_netcdf(tmp_path / "d.nc", engine="h5netcdf")
    named = fields("t=a:sample,y,x", "p=u:sample,y,x")
    says = "dimension j is called x in a and y in u"
    refused(tmp_path / "d.nc", tmp_path, says, fields=named)
    named = fields("t=a:sample,y,x", "p=u:sample,x,y")
    out = import_data(tmp_path / "d.nc", tmp_path / "o.h5", named)
    with DataFile(out, trusted=True) as file:
        turned = file.read("p", slice(None)).transpose(0, 2, 1)
        np.testing.assert_array_equal(turned, 2 * RAW)


def test_a_file_is_named_once(tmp_path: Path) -> None:
    path = classic(tmp_path / "a1.nc", {}, {})
    says = "a1.nc: is named twice for train: name it once"
    refused([tmp_path / "a*.nc", path], tmp_path, says)
    (tmp_path / "b.nc").symlink_to(path)
    refused([path, tmp_path / "b.nc"], tmp_path, says.replace("a1", "b"))


@pytest.mark.parametrize("kind", ["int64", "uint64"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_whole_numbers_beyond_floats(tmp_path: Path, kind: str, dtype: Any) -> None:
    """2⁶² + k is one number in float64, whose steps are 512 there."""
    named = fields("t=a:sample,y,x", "p=u:sample,y,x")
    near = np.array(2**62 + RAW.astype(object), kind)
    np.savez(tmp_path / "a.npz", a=near, u=RAW)
    says = f"t holds whole numbers from {2**62} to {2**62 + 47}, whose differences"
    refused(tmp_path / "a.npz", tmp_path, says, fields=named, dtype=dtype)
    np.savez(tmp_path / "b.npz", a=near // 48 * RAW, u=RAW)  # spread over the range
    out = import_data(tmp_path / "b.npz", tmp_path / "o.h5", named, dtype=dtype)
    with DataFile(out, trusted=True) as file:
        expected = (near // 48 * RAW).astype(dtype)
        np.testing.assert_array_equal(file.read("t", slice(None)), expected)


def test_axes_without_points(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=RAW[:, :0], u=RAW[:, :0])
    named = fields("t=a:sample,y,x", "p=u:sample,y,x")
    refused(tmp_path / "a.npz", tmp_path, "a has no points along y", fields=named)


def well(path: Path, rng: np.random.Generator, closed: bool) -> dict[str, Any]:
    """A file of The Well: a scalar constant along y, a vector, a tensor."""
    values = {
        "k": rng.random((3, 4)),
        "v": rng.random((3, 2, 4, 5, 2)),
        "D": rng.random((3, 2, 4, 5, 2, 2)),
    }
    with h5py.File(path, "w") as file:
        axes = file.create_group("dimensions")
        axes.attrs["spatial_dims"] = ["x", "y"]
        for name, n in (("time", 2), ("x", 4), ("y", 5)):
            axes[name] = np.arange(n) / n
        for k, (name, array) in enumerate(values.items()):
            item = file.create_dataset(f"t{k}_fields/{name}", data=array)
            item.attrs["dim_varying"] = [True, name != "k"]
            item.attrs["sample_varying"] = True
            item.attrs["time_varying"] = name != "k"
        for dim in "xy":
            side = file.create_group(f"boundary_conditions/{dim}")
            side.attrs["bc_type"] = "PERIODIC" if closed and dim == "x" else "WALL"
            side.attrs["associated_dims"] = [dim]
    return values


def test_the_well_repeats_names_tensors_and_closes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = well(tmp_path / "a.h5", rng, closed=True)
    named = fields("t=k", "p=D_xy@1")
    out = import_data(tmp_path / "a.h5", tmp_path / "o.h5", named, dtype="float64")
    with DataFile(out, trusted=True) as file:
        assert file.header.variable("t").dims == ("y", "x")
        repeated = np.repeat(values["k"][:, None], 5, axis=1)
        np.testing.assert_array_equal(file.read("t", slice(None)), repeated)
        expected = values["D"][:, 1, :, :, 0, 1].transpose(0, 2, 1)
        np.testing.assert_array_equal(file.read("p", slice(None)), expected)
        axes = file.header.coordinates
        assert (axes["x"].periodic, axes["y"].periodic) == (True, False)
    out = import_data(tmp_path / "a.h5", tmp_path / "v.h5", fields("t=v_x@0", "p=v_y"))
    with DataFile(out, trusted=True) as file:
        expected = values["v"][..., 1].transpose(0, 1, 3, 2).astype("f4")
        np.testing.assert_array_equal(file.read("p", slice(None)), expected)
    well(tmp_path / "b.h5", rng, closed=False)
    both = [tmp_path / "a.h5", tmp_path / "b.h5"]
    says = "b.h5: k: axis x is not periodic there"
    refused(both, tmp_path, says, fields=named)
