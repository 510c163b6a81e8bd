"""Bundles of released versions keep loading and keep predicting the same."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import opkit
from opkit.errors import BundleError
from opkit.surrogate.bundle import files as bundle
from opkit.surrogate.bundle.record import FORMAT

FOLDER = Path(__file__).parents[1] / "data" / "bundles"
VERSIONS = sorted(path.parent.name for path in FOLDER.glob("*/config.json"))


def test_the_present_version_and_format_have_one():
    assert f"{opkit.__version__}-format{FORMAT}" in VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_golden_bundle(version):
    surrogate = opkit.load(FOLDER / version)
    assert surrogate.config.opkit_version == version.partition("-")[0]
    assert surrogate.config.format_version == FORMAT
    with np.load(FOLDER / version / "prediction.npz") as stored:
        outputs = surrogate(stored["inputs"])
        # fp32 on other processors and library versions
        np.testing.assert_allclose(outputs, stored["outputs"], rtol=1e-3, atol=1e-4)
        if "error_bound" not in stored:
            with pytest.raises(BundleError, match="no calibration"):
                surrogate(stored["inputs"], check=True)
            return
        checked = surrogate(stored["inputs"], check=True, coverage=0.5)
        np.testing.assert_allclose(
            checked.error_bound, stored["error_bound"], rtol=1e-3
        )


def test_format_2_becomes_checks_by_name():
    surrogate = opkit.load(FOLDER / "0.1.0-format2")
    calibration = surrogate.calibration
    record = calibration.record
    assert record.powers == {"novelty": 0.0, "range": 0.0}
    assert record.unavailable.keys() == {"residual"}
    raw = load_file(FOLDER / "0.1.0-format2" / "model.safetensors")
    novelty = calibration.checks["novelty"].tensors()
    for name in ("mean", "whiten"):
        assert torch.equal(novelty[name], raw[f"calibration.{name}"])
    np.testing.assert_array_equal(
        calibration.scores["novelty"], raw["calibration.novelty"]
    )
    # as format 2 did: any value out of range is stranger than all of calibration
    assert (calibration.scores["range"] == np.zeros(record.samples)).all()


@pytest.mark.parametrize("calibration", [3, "x", [], {}, {"samples": "many"}])
def test_a_malformed_record_of_format_2_is_refused_in_one_line(tmp_path, calibration):
    folder = tmp_path / "b"
    shutil.copytree(FOLDER / "0.1.0-format2", folder)
    record = json.loads((folder / "config.json").read_text())
    del record["sha256"]
    (folder / "config.json").write_bytes(
        bundle._seal({**record, "calibration": calibration})
    )
    with pytest.raises(BundleError, match="calibration") as caught:
        opkit.load(folder)
    assert "\n" not in str(caught.value)
