"""Bundles of released versions keep loading and keep predicting the same."""

from pathlib import Path

import numpy as np
import pytest

import opkit

FOLDER = Path(__file__).parents[1] / "data" / "bundles"
VERSIONS = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())


def test_the_present_version_has_one():
    assert opkit.__version__ in VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_golden_bundle(version):
    surrogate = opkit.load(FOLDER / version)
    assert surrogate.config.opkit_version == version
    with np.load(FOLDER / version / "prediction.npz") as stored:
        found = surrogate(stored["inputs"])
        # fp32 on other processors and library versions
        np.testing.assert_allclose(found, stored["outputs"], rtol=1e-3, atol=1e-4)
