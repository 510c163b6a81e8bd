"""The PDE's residual as a part of the loss."""

import pytest
import torch

from opkit.case import load_case
from opkit.datasets.field_dataset import FieldDataset
from opkit.errors import OpkitInputError
from opkit.generate import generate
from opkit.surrogate.surrogate import load
from opkit.train import train

SMALL = [
    "model.n_modes=[8,8]", "model.hidden_channels=12", "model.n_layers=2",
    "subsample=1",
    "training.epochs=30", "training.batch_size=8", "training.learning_rate=5e-3",
    "training.optimiser=adamw", "training.schedule=onecycle",
]  # fmt: skip


@pytest.fixture(scope="module")
def darcy(tmp_path_factory):
    data = tmp_path_factory.mktemp("physics") / "darcy.h5"
    case = load_case("darcy", ("resolution=17",))
    generate(case, data, samples=40)
    return case, data


def residual(case, data, run) -> float:
    """Mean relative residual of predictions on the test split, by the case's solver."""
    surrogate, test = load(run), FieldDataset(data, "test")
    a = torch.stack([test[i]["inputs"] for i in range(len(test))])
    p = surrogate(a)[:, 0]
    solver = case.build_solver()
    fields = {"permeability": a[:, 0].numpy()}, {"pressure": p.numpy()}
    return float(solver.residual(*fields).mean())


def test_physics_lowers_the_residual_of_unseen_samples(tmp_path, darcy):
    case, data = darcy
    residuals = {}
    for weight in (0, 1):
        run = tmp_path / f"run-{weight}"
        settings = [*SMALL, f"training.physics={weight}"]
        train(data, run, operator="fno", overrides=settings)
        residuals[weight] = residual(case, data, run)
    # the residual is in the norm of the error's slopes, which the loss alone neglects
    assert residuals[1] < 0.8 * residuals[0]


def test_physics_needs_a_residual_with_gradients(tmp_path, make_trajectories):
    run = tmp_path / "run"
    settings = ["mode=space-time", "training.physics=1", "model.n_modes=[4,4]"]
    with pytest.raises(OpkitInputError, match=r"training\.physics"):
        train(make_trajectories(), run, operator="fno", overrides=settings)
    assert not run.exists()
