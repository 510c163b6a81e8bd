"""Series and numbers, as inputs and outputs, through the doors of three formats."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from opkit.datasets.field_dataset import FieldDataset
from opkit.datasets.importers.convert import FieldMap, import_data
from opkit.datasets.read import DataFile
from opkit.errors import DataError

N, TIMES = 6, np.linspace(0, 2, 5)
DRAWN = np.random.default_rng(0)
FORCING = DRAWN.normal(size=(N, 5))
LOAD = DRAWN.normal(size=N)
FLUX, HEAT = FORCING.cumsum(1), FORCING.mean(1)
NUMBERS = np.stack([HEAT, HEAT**2], 1)


def hdf5(path: Path) -> tuple[Path, list[str]]:
    with h5py.File(path / "a.hdf5", "w") as file:
        arrays = {"g": FORCING, "a": LOAD, "flux": FLUX, "heat": HEAT, "two": NUMBERS}
        for name, values in arrays.items():
            file[name] = values
    maps = ["g=g:sample,time", "a=a:sample", "flux=flux:sample,time"]
    return path / "a.hdf5", [*maps, "heat=heat:sample", "two=two:sample,component"]


def netcdf(path: Path) -> tuple[Path, list[str]]:
    data = xr.Dataset(
        {
            "g": (("sample", "time"), FORCING, {"units": "K"}),
            "a": ("sample", LOAD),
            "flux": (("sample", "time"), FLUX),
            "heat": ("sample", HEAT, {"units": "J"}),
        },
        {"time": ("time", TIMES, {"units": "s"})},
    )
    data.to_netcdf(path / "a.nc", engine="h5netcdf")
    return path / "a.nc", ["g=g", "a=a", "flux=flux", "heat=heat"]


def csv(path: Path) -> tuple[Path, list[str]]:
    """A row for each sample and time; numbers stand in all rows of their sample."""
    sample, time = np.divmod(np.arange(N * 5), 5)
    columns = [sample, TIMES[time], FORCING.ravel(), FLUX.ravel()]
    columns += [LOAD[sample], HEAT[sample]]
    header = "sample,time [s],g [K],flux,a,heat [J]"
    rows = np.stack(columns, 1)
    np.savetxt(path / "a.csv", rows, delimiter=",", header=header, comments="")
    return path / "a.csv", ["g=g", "a=a@0", "flux=flux", "heat=heat@0"]


@pytest.mark.parametrize("door", [hdf5, netcdf, csv])
def test_series_and_numbers_come_through(door: object, tmp_path: Path) -> None:
    assert callable(door)
    source, texts = door(tmp_path)
    fields = [FieldMap.parse(t, "input" if t[0] in "ga" else "output") for t in texts]
    ends = {"time": (0.0, 2.0)} if door is hdf5 else {}
    target = import_data(source, tmp_path / "d.h5", fields, coordinates=ends)
    with DataFile(target) as file:
        kinds = {v.name: (v.is_series, v.is_number) for v in file.header.variables}
        np.testing.assert_allclose(file.header.coordinates["time"].values, TIMES)
        np.testing.assert_allclose(file.read("flux", slice(None)), FLUX, rtol=1e-6)
        if door is not hdf5:
            assert file.header.variable("heat").units == "J"
            assert file.header.coordinates["time"].units == "s"
    assert kinds["g"] == kinds["flux"] == (True, False)
    assert kinds["a"] == kinds["heat"] == (False, True)
    item = FieldDataset(target, "train")[3]
    np.testing.assert_allclose(item["series"][0], FORCING[3], rtol=1e-6)
    np.testing.assert_allclose(item["parameters"], LOAD[[3]], rtol=1e-6)
    # readouts in the order of the maps, each value after the other
    readouts = [FLUX[3], HEAT[[3]], *([NUMBERS[3]] if door is hdf5 else [])]
    np.testing.assert_allclose(item["outputs"][0], np.concatenate(readouts), rtol=1e-6)


def test_series_of_two_lengths_are_one_line(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["g"], file["flux"] = FORCING, FLUX[:, :3]
    fields = [
        FieldMap.parse("g=g:sample,time", "input"),
        FieldMap.parse("flux=flux:sample,time", "output"),
    ]
    with pytest.raises(DataError, match="dimension time has length 5 in g and 3"):
        import_data(tmp_path / "a.hdf5", tmp_path / "d.h5", fields)
    assert not (tmp_path / "d.h5").exists()
