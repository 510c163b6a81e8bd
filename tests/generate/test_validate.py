"""Validation by the case's own solver: wrong files are caught, right ones are not."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import opkit
from opkit.case import load_case
from opkit.case.record import Case
from opkit.cli.data import validate as verb
from opkit.datasets.card import card
from opkit.datasets.header import Header, canonical
from opkit.datasets.read import DataFile
from opkit.datasets.write import LIBVER, Writer
from opkit.errors import DataError
from opkit.generate import generate
from opkit.generate.validate import validate

Heat = Callable[..., Case]


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Make a file with every checksum right, and its content changed on purpose."""
    with DataFile(path, trusted=True) as file:
        header = file.header
        data: dict[str, Any] = {
            v.name: file.read(v.name, slice(None)) for v in header.variables
        }
        data["case"], data["header"] = dict(header.case), {}
        numbers, measure, index = file.diagnostics(), file.measure, file.index
    change(data)
    other = {"case": data.pop("case"), **data.pop("header")}
    header = Header(**{**vars(header), **other})
    out = path.with_name("doctored.h5")
    with h5py.File(out, "w", libver=LIBVER) as raw:
        names = sorted(numbers, key=lambda name: (name != "error", name))
        writer = Writer(raw, header, names, measure)
        writer.put(slice(0, len(index)), index, data, numbers)
        writer.finish()
    return out


def failed(path: Path, samples: int | None = None) -> set[str]:
    return {check.name for check in validate(path, samples) if check.passed is False}


@pytest.fixture
def good(heat: Heat, tmp_path: Path) -> Path:
    return generate(heat(16), tmp_path / "good.h5", seed=4)


def test_a_sound_file_passes(good: Path) -> None:
    checks = validate(good, samples=None)
    assert [c.name for c in checks if c.passed] == [
        "layout", "checksums", "finite values", "values", "duplicates", "case",
        "inputs", "residual",
    ]  # fmt: skip


def test_sound_darcy_passes_and_a_wrong_forcing_does_not(tmp_path: Path) -> None:
    case = load_case("darcy", ("resolution=21",))
    path = generate(case, tmp_path / "darcy.h5", samples=6)
    assert failed(path) == set()

    def stronger(data: dict[str, Any]) -> None:
        solver = data["case"]["solver"]
        parameters = {**solver["parameters"], "forcing": 1.001}
        data["case"]["solver"] = {**solver, "parameters": parameters}

    assert failed(rewrite(path, stronger)) == {"residual"}


def test_a_doctored_sample_is_caught(good: Path) -> None:
    def one_value(data: dict[str, Any]) -> None:
        data["temperature"][7, 2, 3, 3] *= 1.01

    assert failed(rewrite(good, one_value)) == {"residual"}


def test_a_wrong_viscosity_in_the_attributes_is_caught(good: Path) -> None:
    def other(data: dict[str, Any]) -> None:
        data["case"]["solver"]["parameters"]["viscosity"] = 0.101

    assert failed(rewrite(good, other), samples=2) == {"residual"}


def test_exchanged_inputs_are_caught(good: Path) -> None:
    def exchange(data: dict[str, Any]) -> None:
        for name in ("initial_temperature", "temperature"):
            data[name][[0, 1]] = data[name][[1, 0]]

    assert failed(rewrite(good, exchange)) == {"inputs"}


def test_a_sample_in_two_splits_is_caught(good: Path) -> None:
    def copy(data: dict[str, Any]) -> None:
        for name in ("initial_temperature", "temperature"):
            data[name][11] = data[name][0]

    assert "duplicates" in failed(rewrite(good, copy), samples=1)


def test_a_coordinate_of_another_case_is_caught(good: Path) -> None:
    def longer(data: dict[str, Any]) -> None:
        data["case"]["solver"]["parameters"]["times"] = 5

    assert failed(rewrite(good, longer), samples=2) >= {"case"}


def test_a_case_that_is_no_case_is_caught(good: Path) -> None:
    def other_solver(data: dict[str, Any]) -> None:
        data["case"]["solver"]["target"] = "os:system"

    assert failed(rewrite(good, other_solver)) == {"case"}


def test_nan_with_right_checksums_is_caught(good: Path) -> None:
    def nan(data: dict[str, Any]) -> None:
        data["temperature"][3, 0, 0, 0] = np.nan

    assert failed(rewrite(good, nan)) >= {"finite values", "residual"}


def test_other_netcdf_attributes_are_caught(good: Path) -> None:
    with h5py.File(good, "r+") as file:
        file["temperature"].attrs["units"] = np.bytes_(b"degC")
    assert failed(good, 1) == {"layout"}


def test_a_damaged_digest_is_caught(good: Path) -> None:
    with h5py.File(good, "r+") as file:
        file["sha256"][3, 0] ^= 1
    assert failed(good, 1) == {"checksums"}


def test_a_changed_header_is_refused(good: Path) -> None:
    with h5py.File(good, "r+") as file:
        text = file.attrs["opkit_header"].decode().replace("0.2", "0.3")
        file.attrs["opkit_header"] = np.bytes_(text.encode())
    with pytest.raises(DataError, match="header is damaged"):
        validate(good)


def _boundary(data: dict[str, Any]) -> None:
    data["case"]["boundary"]["left"]["kind"] = "neumann"


def _extent(data: dict[str, Any]) -> None:
    data["case"]["geometry"]["extent"]["y"] = [0.0, 2.0]


def _units(data: dict[str, Any]) -> None:
    with DataFile(data["path"], trusted=True) as file:
        first, *others = file.header.variables
    data["header"]["variables"] = (replace(first, units="mD"), *others)


def _axis(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        with DataFile(data["path"], trusted=True) as file:
            axes = dict(file.header.coordinates)
        if "stretch" in changes:
            axes["y"] = replace(axes["y"], values=axes["y"].values ** 2)
        else:
            axes["y"] = replace(axes["y"], **changes)
        data["header"]["coordinates"] = axes

    return change


def _put(name: str, where: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        data[name][where] = value(data[name][where]) if callable(value) else value

    return change


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], None], str, str]] = {
    "boundary that is not solved": (_boundary, "case", "neumann"),
    "extent that is not solved": (_extent, "case", "extent of y"),
    "units that are not the case's": (_units, "case", "variables are not those"),
    "axis in other units": (_axis(units="km"), "case", "y is in 'km'"),
    "axis of other points": (_axis(stretch=True), "case", "y is not the solver's"),
    "output mirrored": (
        _put("pressure", ..., lambda p: p[:, ::-1].copy()), "residual", ""
    ),
    "output transposed": (
        _put("pressure", ..., lambda p: p.transpose(0, 2, 1).copy()), "residual", ""
    ),
    "input scaled as if packed": (
        _put("permeability", ..., lambda a: 10 * a), "residual", ""
    ),
    "missing values as numbers": (
        _put("permeability", (2, 3, 4), -9999.0), "values", "holds -9999 1 times"
    ),
    "netCDF's own fill value": (
        _put("pressure", (2, 3, slice(4)), 9.969209968386869e36), "values", "4 times"
    ),
    "samples never written": (
        _put("pressure", slice(3), 0.0), "values", "zero throughout in 3 of 6"
    ),
    "signal lost in rounding": (_put("pressure", ..., 1e5), "values", "is 100000 at"),
    "NaN": (_put("pressure", (5, 1, 1), np.nan), "finite values", "NaN"),
    "sample in two splits": (
        lambda data: _put("permeability", 5, data["permeability"][0])(data),
        "duplicates", "1 across splits",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def darcy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    case = load_case("darcy", ("resolution=11",))
    return generate(case, tmp_path_factory.mktemp("darcy") / "d.h5", samples=6)


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_that_a_file_can_hold(
    darcy: Path, tmp_path: Path, fault: str
) -> None:
    """What other versions, importers or hands may have stored, with right checksums."""
    change, check, says = FAULTS[fault]
    path = tmp_path / "d.h5"
    path.write_bytes(darcy.read_bytes())

    def changed(data: dict[str, Any]) -> None:
        data["path"] = path
        change(data)
        del data["path"]

    out = rewrite(path, changed)
    findings = {f.name: f for f in validate(out, samples=None)}
    assert findings[check].passed is False and says in findings[check].detail
    with pytest.raises(DataError) as end:  # which ends the verb with code 2
        verb(out, every=True)
    assert "\n" not in str(end.value)


def test_values_that_only_look_like_fill_values(heat: Heat, tmp_path: Path) -> None:
    """-999 among values from -5000 to 5000 is one of them; constant inputs are."""
    values = np.linspace(-5000, 5000, 4 * 9).reshape(4, 9)
    values[1, 2] = -999.0
    data = {"a": (("sample", "x"), values), "u": (("sample", "x"), -values)}
    data["flat"] = (("sample", "x"), np.ones((4, 9)))
    opkit.save(data, tmp_path / "a.h5", ["a", "flat"], ["u"])
    assert failed(tmp_path / "a.h5") == set()


def test_card_of_a_file(good: Path) -> None:
    about = card(good)
    assert about["problem"]["case"] == "toy-heat-v1"
    assert about["splits"] == {"train": 8, "validation": 2, "test": 2}
    assert [v["name"] for v in about["variables"]] == [
        "initial_temperature",
        "temperature",
    ]
    assert about["variables"][1]["shape"] == "12 x 4 x 16 x 16"
    assert about["origin"]["seed"] == 4
    assert len(about["origin"]["content_hash"]) == 64
    assert about["solver_error"]["largest"] == 1e-15
    described = canonical({**about})  # nothing but JSON types
    assert hashlib.sha256(described.encode()).digest()
