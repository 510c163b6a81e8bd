"""Bundles of released versions keep loading and keep predicting the same."""

from pathlib import Path

import numpy as np
import pytest

import opkit
from opkit.errors import BundleError
from opkit.surrogate.bundle.record import FORMAT

FOLDER = Path(__file__).parents[1] / "data" / "bundles"
VERSIONS = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())


def test_the_present_version_and_format_have_one():
    assert f"{opkit.__version__}-format{FORMAT}" in VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_golden_bundle(version):
    surrogate = opkit.load(FOLDER / version)
    assert surrogate.config.opkit_version == version.partition("-")[0]
    assert surrogate.config.format_version == FORMAT
    with np.load(FOLDER / version / "prediction.npz") as stored:
        found = surrogate(stored["inputs"])
        # fp32 on other processors and library versions
        np.testing.assert_allclose(found, stored["outputs"], rtol=1e-3, atol=1e-4)
        if "error_bound" not in stored:
            with pytest.raises(BundleError, match="no calibration"):
                surrogate(stored["inputs"], check=True)
            return
        checked = surrogate(stored["inputs"], check=True, coverage=0.5)
        np.testing.assert_allclose(
            checked.error_bound, stored["error_bound"], rtol=1e-3
        )
