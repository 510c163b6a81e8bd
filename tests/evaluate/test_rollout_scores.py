"""Errors of every step, against trajectories whose errors are known."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import opkit
from opkit.cli import app
from opkit.datasets.field_dataset import FieldDataset
from opkit.errors import OpkitInputError
from opkit.evaluate.rollouts import compare, rollouts
from opkit.figures import animation
from opkit.train import train

POINTS = 32


def waves(amplitude: torch.Tensor, k: int) -> torch.Tensor:
    """Fields A cos(2π k x) of (sample, step), on one periodic axis."""
    x = torch.arange(POINTS) / POINTS
    return amplitude[..., None, None] * torch.cos(2 * torch.pi * k * x)


def test_growing_errors_are_found_with_their_size_and_time():
    times = np.array([0.5, 1.0, 1.5, 2.0])
    target = waves(torch.ones(3, 4), 1)
    growth = torch.tensor([0.1, 0.2, 0.4, 0.8])
    scale = torch.tensor([0.5, 1.0, 4.0])  # of the trajectories
    error = waves(scale[:, None] * growth, 2)
    result = compare(target + error, target, 0 * target[:, 0], times, threshold=0.3)
    # cos(2π k x) have equal norms: the relative error is the ratio of amplitudes
    expected = (scale[:, None] * growth).mean(0)
    np.testing.assert_allclose(result.relative_l2, expected, rtol=1e-5)
    np.testing.assert_allclose(result.persistence, 1, rtol=1e-6)
    # below 0.3: up to the third time, up to the second, never
    np.testing.assert_array_equal(result.horizons, [1.5, 1.0, 0.0])
    assert result.horizon == 1.0
    # orthogonal waves: the squares add
    squares = (scale[:, None] * growth).square().mean(0)
    np.testing.assert_allclose(result.energy_drift, squares, rtol=1e-5)
    np.testing.assert_allclose(result.mean_drift, 0, atol=1e-6)


def test_a_prediction_that_leaves_and_comes_back_counts_as_left():
    target = waves(torch.ones(1, 3), 1)
    factor = torch.tensor([1.0, 2.0, 1.0]).view(1, 3, 1, 1)
    result = compare(factor * target, target, target[:, 0], np.arange(3.0), 0.2)
    assert result.horizons.tolist() == [0.0]
    always = compare(target, target, target[:, 0], np.arange(3.0), 0.2)
    assert always.horizon == np.inf
    # twice the amplitude is four times the energy, 0.602 decades
    assert result.energy_drift[1] == pytest.approx(3)
    assert result.spectral_error[1] == pytest.approx(np.log10(4), rel=1e-5)
    shifted = compare(target + 0.5, target, target[:, 0], np.arange(3.0), 0.2)
    # rms of a cosine is 1/√2
    np.testing.assert_allclose(shifted.mean_drift, 0.5 * np.sqrt(2), rtol=1e-5)


def test_units_of_a_channel_do_not_matter():
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(2, 3, 2, POINTS, generator=generator)
    prediction = target + 0.1 * torch.randn(target.shape, generator=generator)
    plain = compare(prediction, target, target[:, 0], np.arange(3.0), 0.2)
    units = torch.tensor([1e-6, 1e6])[:, None]
    other = compare(
        units * prediction, units * target, units * target[:, 0], plain.times, 0.2
    )
    for name in ("relative_l2", "mean_drift", "energy_drift"):
        value, expected = getattr(other, name), getattr(plain, name)
        np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_steps_of_a_run_on_the_command_line(tmp_path, make_trajectories):
    data = make_trajectories()
    settings = [
        "mode=autoregressive", "model.n_modes=[8]", "model.hidden_channels=8",
        "model.n_layers=1", "training.epochs=2",
    ]  # fmt: skip
    run = train(data, tmp_path / "run", operator="fno", overrides=settings).run
    result = rollouts(opkit.load(run), data)
    steps = len(FieldDataset(data, "test", mode="autoregressive")[0]["outputs"])
    assert len(result.times) == len(result.relative_l2) == steps
    outcome = CliRunner().invoke(app, ["evaluate", str(run), "--rollout", "--json"])
    assert outcome.exit_code == 0, outcome.output
    printed = json.loads(outcome.stdout)["relative_l2"]
    np.testing.assert_allclose(printed, result.relative_l2, rtol=1e-3)
    # the mean over steps is the figure that the bundle stores
    stored = opkit.load(run).config.scores[0].relative_l2
    assert np.mean(result.relative_l2) == pytest.approx(stored, rel=1e-5)
    with Image.open(animation.draw(run)) as film:
        assert film.n_frames == steps
        film.seek(0)
        first = np.asarray(film.convert("L"), float)
        film.seek(steps - 1)
        assert np.abs(np.asarray(film.convert("L"), float) - first).max() > 100
    with pytest.raises(OpkitInputError, match="counted from 0"):
        animation.draw(run, sample=99)


def test_what_does_not_go_on_in_time_is_not_animated(tmp_path, make_data):
    settings = ["model.n_modes=[2, 2]", "model.hidden_channels=2", "training.epochs=1"]
    run = train(make_data(), tmp_path / "run", operator="fno", overrides=settings).run
    with pytest.raises(OpkitInputError, match="mode autoregressive"):
        animation.draw(run)
    assert not (run / "figures" / "rollout.gif").exists()
