"""The C++ example is built, runs an AOTInductor package, and agrees with Python."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

import opkit
from opkit.export import export
from opkit.export.compare import real_inputs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not shutil.which("cmake") or not (shutil.which("c++") or shutil.which("g++")),
        reason="no C++ compiler, or no cmake",
    ),
]
SOURCE = Path(__file__).parents[2] / "examples" / "cpp"
OPTIONS = dict(n_modes=(5, 6), hidden_channels=8, n_layers=2)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    build = tmp_path_factory.mktemp("cpp")
    place = f"TORCH={Path(torch.__file__).parent}"
    subprocess.run(["cmake", "-S", SOURCE, "-B", build, "-D", place], check=True)
    subprocess.run(["cmake", "--build", build], check=True)
    return build / "predict"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, bundles, data) -> Path:
    run = bundles(tmp_path_factory.mktemp("fno") / "bundle", "fno", OPTIONS)
    export(run, "aoti", data=data)
    return run


def predict(program: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *words], capture_output=True, text=True)


@pytest.mark.parametrize("count", [1, 3])
def test_same_outputs_as_in_python(program, package, data, tmp_path, count):
    surrogate = opkit.load(package)
    x = real_inputs(package, surrogate.config, data).fields[:count].contiguous()
    x.numpy().tofile(tmp_path / "x.f32")
    model = package / "model-aoti.pt2"
    done = predict(program, model, tmp_path / "x.f32", tmp_path / "y.f32")
    assert done.returncode == 0, done.stderr
    outputs = np.fromfile(tmp_path / "y.f32", np.float32).reshape(x.shape)
    expected = surrogate.predict(x).numpy()
    # float32 arithmetic in another order
    assert np.linalg.norm(outputs - expected) < 1e-6 * np.linalg.norm(expected)


@pytest.mark.parametrize(
    ("model", "values", "message"),
    [
        ("model-aoti.pt2", 18 * 18 + 1, "not a multiple of 324"),
        ("model-aoti.pt2", None, "cannot be read"),
        ("absent.pt2", 18 * 18, "absent.pt2: missing"),
    ],
)
def test_bad_input_is_one_line(program, package, tmp_path, model, values, message):
    if values is not None:
        np.zeros(values, np.float32).tofile(tmp_path / "x.f32")
    done = predict(program, package / model, tmp_path / "x.f32", tmp_path / "y.f32")
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "y.f32").exists()
