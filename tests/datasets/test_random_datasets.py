"""Any Dataset that xarray writes is imported with the values xarray reads."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from opkit.datasets.importers.convert import import_data
from opkit.datasets.importers.fieldmap import FieldMap
from opkit.datasets.read import DataFile

pytestmark = pytest.mark.slow  # a child process an example
SIZES = {"sample": 3, "time": 4, "y": 5, "x": 2}
PACKING: dict[str, dict[str, Any]] = {
    "plain": {},
    "packed i2": {
        "dtype": "i2", "scale_factor": 0.01, "add_offset": 5.0, "_FillValue": -9999,
    },
    "packed i4": {"dtype": "i4", "scale_factor": 1e-6, "_FillValue": -1},
    "fill": {"_FillValue": -1e30},
    "no fill": {"_FillValue": None},
    "integer": {"dtype": "i4", "_FillValue": -2147483648},
}  # fmt: skip
KINDS: list[dict[str, Any]] = [
    {"engine": "h5netcdf"},
    {"engine": "scipy", "format": "NETCDF3_64BIT"},
    {"engine": "scipy", "format": "NETCDF3_CLASSIC"},
]


@settings(
    max_examples=25, deadline=None, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    order=st.permutations(list(SIZES)),
    packing=st.sampled_from(list(PACKING)),
    dtype=st.sampled_from(["f4", "f8"]),
    down=st.booleans(),
    calendar=st.sampled_from(["standard", "noleap", "360_day", None]),
    units=st.sampled_from(["K", "m s-1", "", "kg m-2"]),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 10**6),
)
def test_values_are_those_of_xarray(
    tmp_path: Path,
    order: list[str],
    packing: str,
    dtype: str,
    down: bool,
    calendar: str | None,
    units: str,
    scale: float,
    kind: dict[str, Any],
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    y = np.cumsum(rng.uniform(0.1, 1, SIZES["y"]))
    times: Any = np.arange(4.0)
    if calendar:
        times = xr.date_range(
            "2003-02-26", periods=4, calendar=calendar, use_cftime=True
        )
    factor = 1.0 if "packed" in packing or packing == "integer" else scale
    shape = tuple(SIZES[d] for d in order)
    fields = {}
    for name in ("a", "u"):
        values = (factor * rng.uniform(1, 100, shape)).astype(dtype)
        fields[name] = (tuple(order), values, {"units": units} if units else {})
    data = xr.Dataset(
        fields,
        {
            "y": ("y", y[::-1] if down else y, {"units": "m"}),
            "x": ("x", [0.5, 2.5], {"units": "km"}),
            "time": ("time", times),
        },
    )
    path, out = tmp_path / "a.nc", tmp_path / "o.h5"
    path.unlink(missing_ok=True)
    out.unlink(missing_ok=True)
    encoding = {name: PACKING[packing] for name in fields if PACKING[packing]}
    data.to_netcdf(path, encoding=encoding, **kind)
    fields_asked = [FieldMap.parse("a=a", "input"), FieldMap.parse("u=u", "output")]
    import_data(path, out, fields_asked, dtype="float64")
    with (
        DataFile(out, trusted=True) as file,
        xr.open_dataset(path, engine=kind["engine"]) as theirs,
    ):
        expected = theirs.sortby("y").transpose("sample", "time", "y", "x")
        for name in ("a", "u"):
            np.testing.assert_array_equal(
                file.read(name, slice(None)), expected[name].values.astype("f8")
            )
            assert file.header.variable(name).units == (units or "1")
        axes = file.header.coordinates
        np.testing.assert_array_equal(axes["y"].values, expected.y.values)
        assert (axes["y"].units, axes["x"].units) == ("m", "km")
        expected.load()
    with xr.open_dataset(out, engine="h5netcdf") as ours:
        assert list(ours.time.values) == list(expected.time.values)
