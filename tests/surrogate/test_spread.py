"""An operator's own standard deviation: as a reading, a scale of errors, per point."""

from pathlib import Path

import numpy as np
import pytest
import torch

import opkit
from opkit.datasets.read import DataFile
from opkit.generate import generate
from opkit.operators.inputs import Inputs
from opkit.train import train


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Darcy flow set by four numbers, one of them wide: some inputs are harder."""
    made = tmp_path_factory.mktemp("spread")
    sizes = ("samples.train=80", "samples.validation=100", "samples.test=100")
    own = (
        "resolution=9",
        "solver.parameters.terms=4",
        "parameters.coefficients.size=4",
    )
    data = generate(opkit.load_case("darcy-parametric", (*own, *sizes)), made / "d.h5")
    train(data, made / "run", operator="pod-gp", device="cpu")
    return made


@pytest.fixture(scope="module")
def samples(folder: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    with DataFile(folder / "d.h5") as file:
        rows = file.indices("test")
        numbers = file.read("coefficients", rows)
        return {"coefficients": numbers}, file.read("pressure", rows)


def test_the_reading_is_the_norm_of_the_deviation(folder, samples) -> None:
    surrogate = opkit.load(folder / "run")
    numbers, _ = samples
    checked = surrogate(numbers, check=True)
    std, mean = checked.deviation["pressure"], checked.prediction["pressure"]
    assert std.shape == mean.shape and (std >= 0).all()
    norms = [np.linalg.norm(v.reshape(100, -1), axis=1) for v in (std, mean)]
    # float32 fields
    np.testing.assert_allclose(
        checked.readings["spread"], norms[0] / norms[1], rtol=1e-5
    )
    # physical units: the operator's own times the standard deviation of the outputs
    model = surrogate.model
    z = torch.from_numpy(numbers["coefficients"]).float()
    own = model.operator.deviation(model.encode(Inputs(torch.zeros(100, 0, 9, 9), z)))
    np.testing.assert_allclose(std, own[:, 0] * model.outputs.std, rtol=1e-5)


def test_bounds_follow_the_deviation_and_hold(folder, samples) -> None:
    """The scale of errors is made of it, and bounds are sharper than a single one.

    Coverage given 50 calibration samples is Beta(49, 2) distributed: above 0.91 in 95 %
    of such draws, and three binomial deviations of 100 test samples are 6.5 %.
    """
    surrogate = opkit.load(folder / "run")
    numbers, true = samples
    record = surrogate.calibration.record
    assert record.powers["spread"] > 0
    checked = surrogate(numbers, check=True)
    off = (checked.prediction["pressure"] - true).reshape(100, -1)
    error = np.linalg.norm(off, axis=1) / np.linalg.norm(true.reshape(100, -1), axis=1)
    assert np.mean(error <= checked.error_bound) >= 0.91 - 0.065
    assert np.corrcoef(np.log(error), np.log(checked.readings["spread"]))[0, 1] > 0.5
    # 95 % at points; those of a sample go together, so a few per cent are chance
    inside = np.abs(off) <= 1.96 * checked.deviation["pressure"].reshape(100, -1)
    edge = np.zeros((9, 9), bool)
    edge[[0, -1]] = edge[:, [0, -1]] = True  # zero on both sides
    assert np.mean(inside[:, ~edge.ravel()]) == pytest.approx(0.95, abs=0.06)


def test_far_inputs_have_larger_deviations(folder) -> None:
    surrogate = opkit.load(folder / "run")
    steps = np.array([0.0, 4.0, 8.0, 16.0])[:, None] * np.ones(4)
    spread = surrogate({"coefficients": steps}, check=True).readings["spread"]
    assert spread[1:].min() > 5 * spread[0]


def test_operators_without_a_deviation_have_no_such_check(darcy) -> None:
    surrogate = darcy.load()
    reason = surrogate.calibration.record.unavailable["spread"]
    assert reason == "operator fno does not say how uncertain its answers are"
    checked = surrogate(darcy.permeability[:2], check=True)
    assert checked.deviation is None and "spread" not in checked.readings
    assert reason in (darcy.run / "bundle" / "card.md").read_text()
