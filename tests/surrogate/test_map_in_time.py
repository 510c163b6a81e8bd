"""Surrogates from an initial state to one later time, and to all times at once."""

import numpy as np
import pytest
import torch

import opkit
from opkit.case import load_case
from opkit.datasets.field_dataset import FieldDataset
from opkit.generate import generate
from opkit.operators.inputs import Inputs
from opkit.train import train

SMALL = [
    "history=1", "model.hidden_channels=8", "model.n_layers=2",
    "training.epochs=2", "training.batch_size=5",
]  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "records", "modes"), [("map", 1, "[6,6]"), ("space-time", 3, "[3,6,6]")]
)
def test_predicted_vorticity_may_have_a_mean(tmp_path, mode, records, modes):
    case = load_case(
        "navier-stokes", ("resolution=16", f"solver.parameters.records={records}")
    )
    data = tmp_path / "data.h5"
    generate(case, data, samples=20)
    settings = [*SMALL, f"mode={mode}", f"model.n_modes={modes}"]
    run = train(data, tmp_path / "run", operator="fno", overrides=settings).run
    test = FieldDataset(data, "test", mode=mode)
    x = torch.stack([test[i]["inputs"] for i in range(len(test))])
    u = torch.stack([test[i]["outputs"] for i in range(len(test))])
    surrogate = opkit.load(run)
    checked = surrogate(x, check=True)
    assert checked.residual is not None and np.isfinite(checked.residual).all()
    case_solver = surrogate.checker.context.case_solver
    assert case_solver is not None
    # the data solve the equation, to the solver's tolerance and float32
    exact = case_solver.residual(Inputs(x), u)
    assert exact.max() < 1e-4
    # a mean is an error of its relative size
    rms = u.square().mean((-1, -2), keepdim=True).sqrt()
    shifted = case_solver.residual(Inputs(x), u + 0.3 * rms)
    np.testing.assert_allclose(shifted, 0.3 / np.sqrt(1 + 0.09), rtol=1e-3)
