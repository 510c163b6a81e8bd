"""The check whose reading is a proved bound of the errors of numbers."""

import numpy as np
import pytest
import torch

import opkit
from opkit.datasets.read import DataFile
from opkit.operators.inputs import Inputs
from opkit.surrogate.checks.enclosure import Enclosure
from opkit.surrogate.checks.interface import Context, Pairs
from opkit.train import train


@pytest.fixture(scope="module")
def wells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wells")
    few = ("samples.train=80", "samples.validation=40", "samples.test=20")
    case = opkit.load_case("schroedinger-1d", ("resolution=33", *few))
    opkit.generate(case, folder / "d.h5")
    tiny = "model={n_modes: [4], hidden_channels: 4, n_layers: 1}"
    one = ["training.epochs=1", tiny]  # an enclosure does not need a good prediction
    train(folder / "d.h5", folder / "run", operator="fno", overrides=one)
    return folder


def test_no_error_exceeds_what_was_proved(wells):
    with DataFile(wells / "d.h5") as file:
        index = file.indices("test")
        potential = file.read("potential", index)
        true = file.read("energies", index)
        trained = file.read("energies", file.indices("train"))
    surrogate = opkit.load(wells / "run")
    checked = surrogate({"potential": potential}, check=True, coverage=0.5)
    proved = checked.readings["enclosure"]
    size = np.sqrt(np.square(trained).mean(0))
    off = np.abs(checked.prediction["energies"] - true) / size
    # stored in float64, predicted in float32
    assert (off.max(1) <= proved + 1e-6).all()
    np.testing.assert_array_equal(checked.by_variable["enclosure"]["energies"], proved)
    card = (wells / "run" / "bundle" / "card.md").read_text()
    assert "Check enclosure: proved bound" in card
    # the export and others that ask no solver do without it
    less = surrogate.without_solver(wells / "d.h5")
    readings = less({"potential": potential}, check=True, coverage=0.5).readings
    assert not {"enclosure", "residual"} & readings.keys()


def test_a_prediction_that_is_not_finite_is_not_enclosed(wells):
    surrogate = opkit.load(wells / "run")
    with DataFile(wells / "d.h5") as file:
        potential = file.read("potential", file.indices("test"))[:2]
    check = Enclosure(Context(surrogate.config, surrogate.model))
    inputs = Inputs(torch.from_numpy(potential[:, None]))
    outputs = surrogate.predict(inputs, 1)
    outputs[0, 0, -1] = torch.nan
    reading = check.score(Pairs(inputs, outputs))
    assert np.isinf(reading.values[0]) and np.isfinite(reading.values[1])
