"""Training on trajectories: autoregressive and space-time."""

import numpy as np
import pytest
import torch
import xarray as xr

import opkit
from opkit.base.seeds import generator
from opkit.datasets.field_dataset import FieldDataset
from opkit.errors import OpkitInputError
from opkit.evaluate.run import evaluate
from opkit.figures import run as figures
from opkit.surrogate.bundle.run_directory import RunDirectory
from opkit.train import train
from opkit.train.fields.model import build_physical_model, fit_normalisers
from opkit.train.fields.setup import prepare
from opkit.train.fields.task import FieldTask
from opkit.train.loop.recipes import resolve_recipe

SMALL = [
    "model.n_modes=[8]", "model.hidden_channels=16", "model.n_layers=2",
    "training.batch_size=7", "training.learning_rate=1e-2",
]  # fmt: skip
AUTOREGRESSIVE = [*SMALL, "mode=autoregressive"]


def trained(data, run, *more: str):
    return train(data, run, operator="fno", overrides=[*AUTOREGRESSIVE, *more])


@pytest.mark.parametrize(
    "more",
    [
        ["history=1"],
        ["history=2", "training.unroll=2", "training.pushforward=true"],
        ["history=1", "training.unroll=1", "training.noise=0.02"],
    ],
    ids=["unrolled", "pushforward", "noise"],
)
def test_learns_to_step_and_rolls_out_in_physical_units(
    tmp_path, make_trajectories, more
):
    data = make_trajectories()
    result = trained(data, tmp_path / "run", "training.epochs=40", *more)
    by_name = {row.predictor: row.relative_l2 for row in result.scores}
    assert by_name["surrogate"] < 0.3 * by_name["mean"]
    s = opkit.load(result.run)
    history = s.model.history
    test = FieldDataset(data, "test", mode="autoregressive", history=history)
    x = torch.stack([test[i]["inputs"] for i in range(len(test))])
    u = torch.stack([test[i]["outputs"] for i in range(len(test))])
    rolled = s.rollout(x, u.shape[1])
    assert rolled.shape == u.shape
    # one step from the history is the first step of the rollout
    torch.testing.assert_close(s(x), rolled[:, 0], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(s.rollout(x.numpy(), 2), rolled[:, :2], atol=1e-3)
    assert evaluate(result.run).reproduced is True


def test_static_fields_reach_the_operator(tmp_path, make_trajectories):
    data = make_trajectories(static=True)
    result = trained(data, tmp_path / "run", "training.epochs=1")
    s = opkit.load(result.run)
    assert s.config.static_channels == 1 and s.config.shape.in_channels == 2
    item = FieldDataset(data, "test", mode="autoregressive")[0]
    x, static = item["inputs"][None], item["static"][None]
    first, second = (s.rollout(x, 3, factor * static) for factor in (1, -1))
    assert not torch.allclose(first, second)
    with pytest.raises(OpkitInputError, match="lack speed"):
        s.rollout(x, 3)
    with pytest.raises(OpkitInputError, match="lack speed"):
        s.rollout(x, 3, static={"sped": static})
    with pytest.raises(OpkitInputError, match="speed on"):
        s.rollout(x, 3, static=static[..., ::2])
    # by name, for one sample and for all, as arrays and in xarray
    named = s.rollout(x, 3, static={"speed": static[0, 0]})
    assert torch.equal(named, first)
    apart = s.rollout({"wave": x[:, :, 0]}, 3, static=static)["wave"]
    assert torch.equal(apart, first[:, :, 0])
    together = s.rollout({"wave": x[:, :, 0], "speed": static[:, 0]}, 3)["wave"]
    assert torch.equal(together, first[:, :, 0])
    once = s(x, static=static)
    assert torch.equal(once, first[:, 0])
    wave = xr.DataArray(x[:, :, 0].numpy(), dims=("sample", "time", "x"))
    speed = xr.DataArray(static[:, 0].numpy(), dims=("sample", "x"))
    both = xr.Dataset({"wave": wave, "speed": speed})
    np.testing.assert_array_equal(s.rollout(both, 3)["wave"], first[:, :, 0])
    np.testing.assert_array_equal(s.rollout(wave, 3, static=speed), first[:, :, 0])
    with pytest.raises(OpkitInputError, match="lack speed"):
        s.rollout(wave, 3)
    checked = s.rollout(both, 3, check=True, coverage=0.5)
    assert set(checked.in_range) == {"wave", "speed"}


def test_windows_are_pieces_of_the_trajectory(make_trajectories):
    data = make_trajectories()
    overrides = [*AUTOREGRESSIVE, "history=2", "training.unroll=2"]
    problem = prepare(data, resolve_recipe({}, "fno", overrides), 0)
    model = build_physical_model(problem, 0)
    fit_normalisers(model, problem)
    task = FieldTask(model, problem)
    batch = {k: t[:3] for k, t in problem.train.fields.items()}
    whole = torch.cat([batch["inputs"], batch["outputs"]], 1)
    random, starts = generator(0, 1, 1), set()
    for _ in range(40):
        piece = task._window(batch, random)
        frames = torch.cat([piece["inputs"], piece["outputs"]], 1)
        assert frames.shape[1] == 4
        matches = [k for k in range(3) if torch.equal(frames, whole[:, k : k + 4])]
        assert len(matches) == 1
        starts.update(matches)
    assert starts == {0, 1, 2}


def test_space_time_maps_the_start_to_the_whole_trajectory(tmp_path, make_trajectories):
    data = make_trajectories()
    overrides = [
        "mode=space-time", "model.n_modes=[4, 8]", "model.hidden_channels=16",
        "model.n_layers=2", "training.epochs=25", "training.batch_size=7",
        "training.learning_rate=1e-2",
    ]  # fmt: skip
    result = train(data, tmp_path / "run", operator="fno", overrides=overrides)
    config = opkit.load(result.run).config
    assert config.axes == ("time", "x")
    assert config.shape.periodic == (False, True)
    assert result.scores[0].relative_l2 < 0.6 * result.scores[1].relative_l2
    assert evaluate(result.run).reproduced is True


def test_resumed_rollout_training_equals_uninterrupted(tmp_path, make_trajectories):
    data = make_trajectories()
    more = ["training.noise=0.1", "training.unroll=2", "training.schedule=constant"]
    trained(data, tmp_path / "a", *more, "training.epochs=4")
    trained(data, tmp_path / "b", *more, "training.epochs=2")
    overrides = [*AUTOREGRESSIVE, *more, "training.epochs=4"]
    train(data, tmp_path / "b", operator="fno", overrides=overrides, resume=True)
    rows = [RunDirectory(tmp_path / name).metrics() for name in "ab"]
    assert [r["validation"] for r in rows[0]] == [r["validation"] for r in rows[1]]


def test_figures_of_a_rollout(tmp_path, make_trajectories):
    pytest.importorskip("matplotlib")
    result = trained(make_trajectories(), tmp_path / "run", "training.epochs=1")
    assert "rollout.png" in {path.name for path in figures.draw(result.run)}
