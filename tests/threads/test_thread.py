"""The whole thread on the command line: case, data, operator, bundle, prediction."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import opkit
import opkit.cli

SETTINGS = ["training.epochs=2", "model.n_modes=[4, 4]", "subsample=1"]


@dataclass
class Result:
    stdout: str
    stderr: str


def run(*words: str | Path, code: int = 0) -> Result:
    """Run the command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    exit_code: object = 0
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["opkit", *map(str, words)])
        patch.setattr(warnings, "showwarning", warnings.showwarning)
        try:
            opkit.cli.main()
        except SystemExit as end:
            exit_code = end.code or 0
    assert exit_code == code, err.getvalue()
    if code == 2:
        assert len(err.getvalue().strip().splitlines()) == 1, err.getvalue()
    return Result(out.getvalue(), err.getvalue())


def settings(*texts: str) -> list[str]:
    return [word for text in texts for word in ("--set", text)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("thread")
    size = ["--resolution", "17", "--samples", "26"]
    run("generate", "case", "darcy", "--out", path / "darcy.h5", *size)
    run("train", path / "darcy.h5", "--out", path / "run", *settings(*SETTINGS))
    return path


def test_generate_with_and_without_the_word_case(folder: Path, tmp_path: Path) -> None:
    size = ["--resolution", "17", "--samples", "26"]
    run("generate", "darcy", "--out", tmp_path / "again.h5", *size, "-w", "2")
    first = json.loads(run("inspect", folder / "darcy.h5", "--json").stdout)
    second = json.loads(run("inspect", tmp_path / "again.h5", "--json").stdout)
    assert first["origin"]["content_hash"] == second["origin"]["content_hash"]
    assert first["splits"] == {"train": 20, "validation": 2, "test": 4}


def test_dry_runs_make_nothing(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "big.h5"
    text = run("generate", "darcy", "--out", out, "--dry-run", "--json").stdout
    planned = json.loads(text)
    assert planned["resolution"] == [421, 421]
    fields = 1300 * 2 * 421**2 * 4  # samples of two float32 fields
    assert fields < planned["file_bytes"] < 1.01 * fields
    words = ["--out", tmp_path / "run", "--dry-run", "--json", *settings(*SETTINGS)]
    text = run("train", folder / "darcy.h5", *words).stdout
    planned = json.loads(text)
    assert planned["steps"] == 2 and planned["train_samples"] == 20
    assert list(tmp_path.iterdir()) == []


def test_inspect_and_validate(folder: Path, tmp_path: Path) -> None:
    shown = run("inspect", folder / "darcy.h5", "--plot", tmp_path / "a.png").stdout
    assert "∇" in shown and "follows the specification" in shown
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    rows = json.loads(run("validate", folder / "darcy.h5", "--json").stdout)
    assert all(row["passed"] for row in rows)


def test_evaluate_reproduces_the_bundle(folder: Path) -> None:
    result = run("evaluate", folder / "run", "--solver")
    assert "reproduced exactly" in result.stdout
    assert "coarse solve 1/2" in result.stdout


def test_predict_and_load_agree_for_every_kind_of_array(
    folder: Path, tmp_path: Path
) -> None:
    data, out = folder / "darcy.h5", tmp_path / "out.nc"
    run("predict", folder / "run", data, "--split", "test", "-o", out)
    surrogate = opkit.load(folder / "run")
    with xr.open_dataset(data, engine="h5netcdf") as file:
        permeability = file["permeability"][-4:].load()
    with xr.open_dataset(out, engine="h5netcdf") as file:
        written = file["pressure"].values
    labelled = surrogate(permeability)
    assert labelled.dims == ("sample", "y", "x")
    np.testing.assert_array_equal(labelled.values, written)
    np.testing.assert_array_equal(surrogate(permeability.values), written)
    tensor = torch.from_numpy(permeability.values)
    np.testing.assert_array_equal(surrogate(tensor).numpy(), written)


def test_plot_runs_and_cases(folder: Path) -> None:
    for path in run("plot", folder / "run").stdout.split():
        assert Path(path).read_bytes()[:4] == b"\x89PNG"
    rows = json.loads(run("runs", folder, "--json").stdout)
    assert [Path(row["path"]).name for row in rows] == ["run"]


BAD = {
    "too many modes": (
        [
            *("train", "darcy.h5", "--out", "new", "--set", "subsample=1"),
            *("--set", "model.n_modes=[40, 40]"),
        ],
        "mode",
    ),
    "unknown operator": (
        ["train", "darcy.h5", "--out", "new", "--operator", "fnoo"],
        "fno",
    ),
    "unknown setting": (
        ["train", "darcy.h5", "--out", "new", "--set", "training.epoch=3"],
        "Did you mean 'epochs'?",
    ),
    "run exists": (
        ["train", "darcy.h5", "--out", "run", *settings(*SETTINGS)],
        "run: .*exists|run exists|--resume",
    ),
    "data exist": (["generate", "darcy", "--out", "darcy.h5"], "exists already"),
    "another case": (["evaluate", "run", "--data", "lognormal.h5"], "another|of case"),
    "damaged": (["inspect", "damaged.h5"], "damaged.h5"),
    "truncated": (["train", "truncated.h5", "--out", "new"], "truncated.h5"),
    "not a run": (["predict", "darcy.h5", "darcy.h5", "-o", "out.nc"], "bundle|run"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_names_the_remedy_and_leaves_nothing(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    if name == "another case" and not Path("lognormal.h5").exists():
        size = ["--resolution", "17", "--samples", "4"]
        run("generate", "darcy-lognormal", "--out", "lognormal.h5", *size)
    content = bytearray(Path("darcy.h5").read_bytes())
    Path("truncated.h5").write_bytes(content[: len(content) // 2])
    for place in range(len(content) // 2, len(content), 997):
        content[place] ^= 0xFF
    Path("damaged.h5").write_bytes(content)
    before = sorted(os.listdir())
    words, message = BAD[name]
    result = run(*words, code=2)
    assert re.search(message, result.stderr), result.stderr
    assert sorted(os.listdir()) == before


def test_missing_extra_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from opkit.errors import MissingExtraError, require\n"
        "try: require('matplotlib', 'plots')\n"
        "except MissingExtraError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'pip install "opkit[plots]"' in done.stdout
