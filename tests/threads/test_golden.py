"""Files of opkit 0.1.0, from before its modules were moved, are read as they were.

Data files hold what they held and are valid, which asks the solver of the case they
name; bundles load and predict the same, with the same bounds. ``data/golden/make.py``
says how they were made.
"""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import opkit
import opkit.cli
from opkit.datasets.read import DataFile
from opkit.errors import DataError
from opkit.solvers import TARGETS

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
NEED_FEM = ("darcy-mesh", "hypino-poisson-l-shape", "spon", "spon-message-passing")
"""Their solvers need FEniCSx; that of the cantilever needs none."""
MAY_CHANGE = ("sha256", "format_version", "calibration")
"""Of a bundle's record, when it is migrated to a newer format."""


def marked(paths):
    names = sorted(path.stem for path in paths)
    fem = {name: [pytest.mark.fem] if name in NEED_FEM else [] for name in names}
    return [pytest.param(name, marks=marks) for name, marks in fem.items()]


DATA = marked((GOLDEN / "data").glob("*.h5"))
BUNDLES = marked((GOLDEN / "bundles").iterdir())


@pytest.fixture(scope="module")
def answers() -> ModuleType:
    """The questions that make.py asked."""
    spec = importlib.util.spec_from_file_location("answers", GOLDEN / "answers.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def command(capsys, *words: str | Path):
    """What a command line prints as JSON; it must not fail."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["opkit", *map(str, words)])
        opkit.cli.app(args=sys.argv[1:], standalone_mode=False)
    return json.loads(capsys.readouterr().out)


def test_every_solver_of_0_1_0_has_a_file_and_its_name():
    stored = [json.loads(p.read_text()) for p in (GOLDEN / "data").glob("*.json")]
    targets = {data["solver"] for data in stored} - {None}
    assert len(targets) == 9  # later solvers need no file
    assert targets <= TARGETS


@pytest.mark.parametrize("name", DATA)
def test_data_file(name, answers, capsys):
    path = GOLDEN / "data" / f"{name}.h5"
    with DataFile(path) as file:
        description = json.loads(json.dumps(answers.describe(file)))
    assert description == json.loads(path.with_suffix(".json").read_text())
    checks = command(capsys, "validate", path, "--all", "--json")
    passed = {check["name"]: check["passed"] for check in checks}
    if description["case"] is None:
        assert passed.pop("case") is None  # imported: no solver is known
    else:
        assert {"case", "inputs", "residual"} <= passed.keys()
    assert set(passed.values()) == {True}, checks


def test_a_changed_file_is_refused(tmp_path):
    raw = bytearray((GOLDEN / "data" / "darcy.h5").read_bytes())
    field = raw.find(np.full(8, 12, "<f4").tobytes())  # permeability
    raw[field] ^= 1
    (tmp_path / "darcy.h5").write_bytes(raw)
    with DataFile(tmp_path / "darcy.h5") as file, pytest.raises(DataError):
        list(file.verify())


@pytest.mark.parametrize("name", BUNDLES)
def test_bundle(name, answers):
    folder = GOLDEN / "bundles" / name
    surrogate = opkit.load(folder)
    record = json.loads((folder / "config.json").read_text())
    assert_calibrated_as(surrogate.config.calibration, record["calibration"])
    for key in MAY_CHANGE:
        del record[key]
    assert_holds(surrogate.config.model_dump(mode="json"), record)
    with np.load(folder / "prediction.npz") as file:
        stored = dict(file)
    arrays = answers.ask(surrogate, stored)
    for field in [key for key in stored if key.startswith("outputs/")]:
        variable = field.partition("/")[2]
        alike(arrays.pop(f"checked/{variable}"), stored[field])
        if f"once/{variable}" in arrays:
            alike(arrays.pop(f"once/{variable}"), stored[field][:, 0])
    keys = {key for key in stored if key == "static" or key.startswith("inputs/")}
    assert arrays.keys() == stored.keys() - keys
    for key, value in arrays.items():
        alike(value, stored[key])


def assert_calibrated_as(record, stored) -> None:
    """The record of format 2 spelled out its two checks; today they have names."""
    for key in ("samples", "selection", "source", "solver_error"):
        assert getattr(record, key) == stored[key]
    assert record.powers["novelty"] == stored["novelty_power"]
    assert record.powers.get("residual", 0.0) == stored["residual_power"]
    assert record.unavailable.get("residual", "") == stored["no_residual"]
    assert ("residual" in record.checks) == bool(stored["residual"])
    assert stored["residual"] in record.checks.get("residual", "")


def assert_holds(record, stored, where: str = "record") -> None:
    """All that was stored is still there; newer versions may have more keys."""
    if isinstance(stored, dict):
        for key, value in stored.items():
            assert_holds(record[key], value, f"{where}.{key}")
    elif isinstance(stored, list):
        assert len(record) == len(stored), where
        for k, (new, old) in enumerate(zip(record, stored, strict=True)):
            assert_holds(new, old, f"{where}[{k}]")
    else:
        assert record == stored, where


def alike(values: np.ndarray, stored: np.ndarray) -> None:
    """Compare as closely as fp32 on other processors and library versions allows."""
    assert values.shape == stored.shape
    if stored.dtype == bool:
        np.testing.assert_array_equal(values, stored)
        return
    size = np.abs(stored[np.isfinite(stored)]).max(initial=0.0)
    np.testing.assert_allclose(values, stored, rtol=1e-3, atol=1e-4 * size)


def test_the_hypernetwork_that_is_shipped(answers, capsys):
    printed = command(capsys, *answers.SOLVE)
    stored = json.loads((GOLDEN / "solution.json").read_text())
    for key in ("residual", "history"):
        np.testing.assert_allclose(printed[key], stored[key], rtol=1e-3)
    assert len(stored["values"]) == len(printed["values"]) == 2
    for new, old in zip(printed["values"], stored["values"], strict=True):
        common = {key: new[key] for key in old}  # files of before know no error
        assert common == pytest.approx(old, rel=1e-3, abs=1e-4)
