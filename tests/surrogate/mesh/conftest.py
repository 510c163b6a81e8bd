"""A SPON trained for a moment on the L-shape."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from opkit.case import load_case
from opkit.generate import generate
from opkit.train import train


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 samples on 65 nodes and 96 triangles."""
    if find_spec("dolfinx") is None:
        pytest.skip("FEniCSx is not installed")
    case = load_case(
        "darcy-mesh",
        (
            "resolution=4",
            "samples.train=16",
            "samples.validation=4",
            "samples.test=4",
        ),
    )
    path = tmp_path_factory.mktemp("mesh") / "l-shape.h5"
    generate(case, path)
    return path


@pytest.fixture(scope="module")
def run(data: Path) -> Path:
    """A run directory."""
    small = ["training.epochs=2", "model.hidden_channels=8", "model.n_layers=1"]
    return train(data, data.parent / "run", operator="spon", overrides=small).run
