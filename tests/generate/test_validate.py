"""Validation by the case's own solver: wrong files are caught, right ones are not."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from opkit.case import load_case
from opkit.case.record import Case
from opkit.datasets.card import card
from opkit.datasets.header import Header, canonical
from opkit.datasets.read import DataFile
from opkit.datasets.write import LIBVER, Writer
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
        data["case"] = dict(header.case)
        numbers, measure, index = file.diagnostics(), file.measure, file.index
    change(data)
    header = Header(**{**vars(header), "case": data.pop("case")})
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
        "layout", "checksums", "finite values", "duplicates", "case", "inputs",
        "residual",
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
        text = file.attrs["opkit_header"].decode().replace("0.1", "0.2")
        file.attrs["opkit_header"] = np.bytes_(text.encode())
    from opkit.errors import DataError

    with pytest.raises(DataError, match="header is damaged"):
        validate(good)


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
