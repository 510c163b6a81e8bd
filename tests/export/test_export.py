"""Exported files give the surrogate's outputs without opkit, or are not kept."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import opkit
from opkit.errors import ExportError
from opkit.export import TARGETS, export, main
from opkit.export.compare import real_inputs

SLOW = pytest.mark.slow
OPTIONS = {
    "fno": dict(n_modes=(5, 6), hidden_channels=8, n_layers=2),
    "mgno": dict(hidden_channels=8, n_layers=2, iterations=((1, 0), (1, 1), (2, 0))),
    "unet": dict(hidden_channels=8, n_scales=3),
    "deeponet": dict(
        n_basis=16,
        branch="cnn",
        branch_widths=(32,),
        trunk_widths=(32, 32),
        sensors=(9, 9),  # resamples
    ),
    "pod-deeponet": dict(n_basis=13, branch_widths=(32,)),
    "elliptic-fno": dict(n_modes=(5, 6), hidden_channels=8, n_layers=2),
    "lsm": dict(hidden_channels=8, n_scales=3),
}
QUICK = {("unet", "pt2"), ("pod-deeponet", "pt2")}  # and fno, in another process
PAIRS = [
    pytest.param(name, to, marks=() if (name, to) in QUICK else SLOW)
    for name in OPTIONS
    for to in TARGETS
    if (name, to) != ("elliptic-fno", "onnx")
]
ALONE = """
import json, sys
sys.modules["opkit"] = None  # an import of it fails
import numpy as np
import torch
x = np.load("x.npy")
y = torch.export.load("model.pt2").module()(torch.from_numpy(x)).numpy()
np.save("pt2.npy", y)
import onnxruntime
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
about = json.loads(session.get_modelmeta().custom_metadata_map["opkit"])
np.save("onnx.npy", session.run(["outputs"], {about["inputs"][0]["name"]: x})[0])
"""


@pytest.fixture(scope="module")
def fno(tmp_path_factory: pytest.TempPathFactory, bundles) -> Path:
    return bundles(tmp_path_factory.mktemp("fno") / "bundle", "fno", OPTIONS["fno"])


@pytest.mark.parametrize(("name", "to"), PAIRS)
def test_every_operator_and_target(name, to, bundles, data, tmp_path):
    """The file was compared by the exporter; look at it from outside, at batch 5."""
    run = bundles(tmp_path / "bundle", name, OPTIONS[name])
    report = export(run, to, data=data)
    path = run / TARGETS[to].default
    surrogate = opkit.load(run)
    samples = real_inputs(run, surrogate.config, data).fields
    x = torch.cat([samples, samples[:2] + 100])
    with torch.no_grad():
        outputs, expected = (
            TARGETS[to].open(path, "model")((x,))[0],
            surrogate.predict(x),
        )
    gap = (outputs - expected).norm() / expected.norm()
    # other inputs, same arithmetic: the same bound with some room
    assert gap < 3 * report.difference.tolerance < 1e-4
    # and the samples differ from one another by far more
    bound = 20 * 3 * report.difference.tolerance * outputs[0].norm()
    assert (outputs[0] - outputs[1]).norm() > bound
    assert report.difference.relative_l2 <= report.difference.tolerance
    assert report.bytes == path.stat().st_size


ATTENTION = {
    "lsm": dict(hidden_channels=8, n_scales=2, n_basis=2),
    "transolver": dict(hidden_channels=8, n_layers=1, n_heads=2, n_slices=4),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTENTION)
def test_derivatives_of_operators_with_attention(name, bundles, data, tmp_path):
    run = bundles(tmp_path / "bundle", name, ATTENTION[name])
    report = export(run, "pt2", data=data, derivatives=True)
    assert report.programs[-2:] == ("jvp", "vjp")
    surrogate = opkit.load(run)
    x = real_inputs(run, surrogate.config, data).fields[:1]
    v = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    (found,) = TARGETS["pt2"].open(run / "model.pt2", "jvp")((x, v))
    expected = torch.func.jvp(surrogate.predict, (x,), (v,))[1]
    # float32 sums in another order
    assert (found - expected).norm() < 1e-4 * expected.norm()


def test_files_run_in_a_process_without_opkit(fno, data, tmp_path):
    for to in ("pt2", "onnx"):
        export(fno, to, tmp_path / f"model.{to}", data=data)
    surrogate = opkit.load(fno)
    x = real_inputs(fno, surrogate.config, data).fields
    np.save(tmp_path / "x.npy", x.numpy())
    subprocess.run([sys.executable, "-c", ALONE], cwd=tmp_path, check=True)
    expected = surrogate.predict(x).numpy()
    for to in ("pt2", "onnx"):
        report = json.loads((tmp_path / f"model.{to}.json").read_text())
        gap = np.linalg.norm(np.load(tmp_path / f"{to}.npy") - expected)
        # the same computation as the exporter's, in batches of another size
        assert gap < 3 * report["difference"]["tolerance"] * np.linalg.norm(expected)


def test_report_says_what_goes_in_and_out(fno, data, tmp_path):
    result = export(fno, "pt2", tmp_path / "a.pt2", data=data, batch=2)
    report = json.loads((tmp_path / "a.pt2.json").read_text())
    assert report == result.model_dump(mode="json")
    (field,), (out,) = report["inputs"], report["outputs"]
    assert field["shape"] == [2, 1, 18, 18] and out["shape"] == [2, 1, 18, 18]
    assert field["axes"] == ["batch", "channel", "y", "x"]
    assert field["variables"] == [
        {"name": "permeability", "units": "m2", "channels": 1}
    ]
    assert out["variables"][0]["units"] == "Pa"
    assert report["bundle_sha256"] == opkit.load(fno).config.weights_sha256
    assert report["versions"]["torch"] == torch.__version__
    assert report["difference"]["max_abs"].keys() == {"pressure"}
    files = {"opkit": "", "inputs.shape": ""}
    torch.export.load(tmp_path / "a.pt2", extra_files=files)
    assert files["inputs.shape"] == "2 1 18 18"


@pytest.mark.parametrize("static", [0, 1])
def test_autoregressive_surrogates_give_one_step(bundles, write, tmp_path, static):
    data = write(tmp_path / "waves.h5", static=bool(static), timed=True)
    run = bundles(tmp_path / "b", "fno", OPTIONS["fno"], history=2, static=static)
    report = export(run, "pt2", data=data)
    assert report.inputs[0].shape == ("batch", 2, 1, 18, 18)
    assert [field.name for field in report.inputs] == ["inputs", "static"][: 1 + static]
    surrogate = opkit.load(run)
    samples = tuple(real_inputs(run, surrogate.config, data).by_role.values())
    step = TARGETS["pt2"].open(run / "model.pt2", "model")
    (first,) = step(samples)
    window = torch.stack([samples[0][:, 1], first], 1)
    (second,) = step((window, *samples[1:]))
    expected = surrogate.predict(real_inputs(run, surrogate.config, data), 2)
    frames_out = torch.stack([first, second], 1)
    # two steps of float32 arithmetic in another order
    assert (frames_out - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.parametrize("fault", ["wrong", "nan"])
def test_a_file_whose_outputs_differ_is_not_kept(
    fno, data, tmp_path, fault, monkeypatch
):
    right = main.target("pt2")

    def opened(path: Path, program: str) -> Callable[..., tuple[torch.Tensor]]:
        run = right.open(path, program)
        bad = 1 + 1e-5 if fault == "wrong" else float("nan")
        return lambda inputs: (run(inputs)[0] * bad,)

    wrong = type(right)(right.suffix, right.default, right.write, opened, right.require)
    monkeypatch.setattr(main, "target", lambda name: wrong)
    with pytest.raises(ExportError, match="outputs differ"):
        export(fno, "pt2", tmp_path / "a.pt2", data=data)
    assert list(tmp_path.iterdir()) == []


def test_the_surrogate_stays_as_it_was(fno, data, tmp_path):
    surrogate = opkit.load(fno)
    x = real_inputs(fno, surrogate.config, data).fields
    before = surrogate.predict(x)
    export(fno, "pt2", tmp_path / "a.pt2", data=data)
    assert torch.equal(surrogate.predict(x), before)
    assert torch.equal(opkit.load(fno).predict(x), before)
