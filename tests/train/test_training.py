"""Operators in the training loop: prepared, refused, stored and loaded again."""

from pathlib import Path

import numpy as np
import pytest

import opkit
from opkit.case import load_case
from opkit.errors import OpkitInputError
from opkit.generate import generate
from opkit.train import plan, train

pytest.importorskip("lightning_fabric")

SAMPLES = ("samples.train=12", "samples.validation=2", "samples.test=2")
SMALL = ("training.epochs=1", "subsample=1", "training.batch_size=6")


@pytest.fixture(scope="module")
def darcy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "darcy.h5"
    generate(load_case("darcy", ("resolution=17", *SAMPLES)), path)
    return path


@pytest.fixture(scope="module")
def vorticity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "vorticity.h5"
    overrides = (
        "resolution=32",
        "solver.parameters.records=4",
        "solver.parameters.record_interval=0.1",
    )
    generate(load_case("navier-stokes", (*overrides, *SAMPLES)), path)
    return path


def test_pod_deeponet_is_prepared_from_training_outputs_alone(darcy, tmp_path):
    options = ("model.n_basis=4", "model.branch_widths=[16]")
    result = train(
        darcy, tmp_path / "run", operator="pod-deeponet", overrides=(*options, *SMALL)
    )
    surrogate = opkit.load(result.run)
    operator = surrogate.model.operator
    assert 0 < operator.energy < 1
    with opkit.datasets.read.DataFile(darcy) as file:
        rows = file.indices("train")
        pressure = file.read("pressure", rows)
    mean, std = pressure.mean(0), pressure.std()
    # normalised mean of the training outputs, in fp32
    expected = (mean - pressure.mean()) / std
    np.testing.assert_allclose(operator.mean[0].numpy(), expected, atol=1e-5)


def test_pod_deeponet_takes_every_frame_as_an_output(vorticity, tmp_path):
    # 12 trajectories, 3 records after the first: 36 outputs hold 30 modes
    options = ("model.n_basis=30", "model.branch_widths=[16]", "history=1")
    rollout = ("mode=autoregressive", *options, *SMALL)
    result = train(
        vorticity, tmp_path / "run", operator="pod-deeponet", overrides=rollout
    )
    assert np.isfinite(result.best_validation)
    with pytest.raises(OpkitInputError, match="n_basis=35"):
        plan(
            vorticity,
            operator="pod-deeponet",
            overrides=(*rollout, "model.n_basis=40"),
        )


def test_geometry_is_refused_before_training(darcy, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(OpkitInputError, match=r"not grid with 2: use fno or .*lsm"):
        train(darcy, run, operator="lsm-points", overrides=SMALL)
    assert not run.exists()


@pytest.mark.parametrize(
    ("operator", "options"),
    [
        ("lsm", ("model.hidden_channels=8", "model.n_scales=3")),
        ("mgno", ("model.hidden_channels=4", "model.iterations=[[1,0],[1,1]]")),
        ("unet", ("model.hidden_channels=4", "model.n_scales=2")),
        ("deeponet", ("model.sensors=[9,9]", "model.branch_widths=[8]")),
    ],
)
def test_trains_and_answers_in_physical_units(darcy, tmp_path, operator, options):
    result = train(
        darcy, tmp_path / "run", operator=operator, overrides=(*options, *SMALL)
    )
    permeability = np.full((2, 17, 17), 5.0, np.float32)
    pressure = opkit.load(result.run)(permeability)
    assert pressure.shape == (2, 17, 17)
    assert np.isfinite(pressure).all()
