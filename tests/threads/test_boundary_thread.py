"""A case with boundary data from generation to a surrogate that answers."""

import numpy as np
import pytest

import opkit
from opkit.case import load_case
from opkit.errors import OpkitInputError
from opkit.generate import generate
from opkit.train import train


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("boundary")
    case = load_case(
        "elliptic-boundary", ("resolution=8", "distribution.condition=mixed")
    )
    generate(case, folder / "data.h5", samples=20)
    return folder


@pytest.mark.parametrize("recipe", ["beno", "fno"])
def test_from_case_to_surrogate(folder, recipe):
    sets = ["training.epochs=2"]
    if recipe == "beno":
        sets += ["model.hidden_channels=8", "model.n_layers=1", "model.levels=3"]
    else:
        sets += ["model.model.n_modes=[4,4]", "model.model.hidden_channels=8"]
    train(folder / "data.h5", folder / recipe, operator=recipe, overrides=sets)
    surrogate = opkit.load(folder / recipe)
    solver = load_case(
        "elliptic-boundary", ("resolution=8", "distribution.corners=1")
    ).build_solver()
    sample = solver.sample(np.random.default_rng(0))
    inputs = {name: np.float32(field) for name, field in sample.items()}
    potential = surrogate(inputs)["potential"]
    assert potential.shape == (8, 8)
    assert np.isfinite(potential).all()
    assert (potential[sample["inside"] == 0] == 0).all()
    inputs["boundary_x"] = inputs["boundary_x"][::-1].copy()
    with pytest.raises(OpkitInputError, match="boundary face"):
        surrogate(inputs)
