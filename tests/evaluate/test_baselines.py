"""Baselines in time: their errors are known, and a surrogate that loses is flagged."""

import json

import numpy as np
import pytest
import torch
from fixtures.training import CASE, splits, write_file
from typer.testing import CliRunner

from opkit.cli import app
from opkit.datasets.header import Axis, Header, VariableSpec
from opkit.datasets.read import DataFile
from opkit.evaluate import baselines
from opkit.evaluate.run import evaluate
from opkit.surrogate.bundle.files import read_config
from opkit.train import train

SMALL = [
    "model.n_modes=[4]", "model.hidden_channels=4", "model.n_layers=1",
    "training.epochs=1", "training.learning_rate=1e-6",
]  # fmt: skip


def relative(values: np.ndarray, true: np.ndarray) -> np.ndarray:
    return np.linalg.norm(values - true, axis=-1) / np.linalg.norm(true, axis=-1)


def heat_file(path, frames=4, n=16):
    """u_t = u_xx on the circle: wavenumber k decays as exp(-k² t)."""
    rng, x = np.random.default_rng(0), np.arange(n) * 2 * np.pi / n
    k, t = np.arange(1, 4)[:, None, None], 0.02 * np.arange(frames + 1)[:, None]
    c = rng.normal(size=(40, 3))
    u = np.tensordot(c, np.exp(-(k**2) * t) * np.cos(k * x), 1).astype(np.float32)
    case = {**CASE, "recipes": {}}
    case["geometry"] = {"kind": "grid", "extent": {"x": [0, 2 * np.pi]}}
    case["boundary"] = {side: {"kind": "periodic"} for side in ("left", "right")}
    case["inputs"] = [{"name": "initial_heat", "dims": ["x"], "units": "1"}]
    case["outputs"] = [{"name": "heat", "dims": ["time", "x"], "units": "1"}]
    header = Header(
        case=case,
        variables=(
            VariableSpec("initial_heat", "input", ("x",), (n,)),
            VariableSpec("heat", "output", ("time", "x"), (frames, n)),
        ),
        coordinates={"x": Axis(x), "time": Axis(0.02 * np.arange(1, frames + 1))},
        splits=splits(28, 6, 6),
    )
    return write_file(path, header, {"initial_heat": u[:, 0], "heat": u[:, 1:]}), u


def rows_of(scores) -> dict[str, float]:
    """Errors by predictor, at the training resolution, which comes first."""
    return {row.predictor: row.relative_l2 for row in reversed(scores)}


def test_waves_are_linear_and_persistence_is_what_it_is_by_hand(
    tmp_path, make_trajectories
):
    data = make_trajectories()
    settings = ["mode=autoregressive", "history=2", *SMALL]
    result = train(data, tmp_path / "run", operator="fno", overrides=settings)
    with DataFile(data) as file:
        wave = file.read("wave", file.indices("test")).astype(float)
    by_hand = relative(wave[:, 1:2], wave[:, 2:]).mean()
    rows = rows_of(result.scores)
    assert rows["persistence"] == pytest.approx(by_hand, rel=1e-5)
    # three wavenumbers are six modes that turn: exactly linear, stored as float32
    assert rows["linear"] < 1e-5


@pytest.fixture
def untrained(tmp_path):
    """A run that has learnt nothing of heat that spreads slowly."""
    data, _ = heat_file(tmp_path / "heat.h5")
    settings = ["mode=autoregressive", *SMALL]
    return train(data, tmp_path / "run", operator="fno", overrides=settings)


def test_a_surrogate_that_loses_is_flagged_everywhere(untrained, tmp_path):
    result = untrained
    rows = rows_of(result.scores)
    assert rows["linear"] < rows["persistence"] < rows["surrogate"]
    words = "not better than persistence"
    assert any(words in flag for flag in result.flags)
    assert any("linear model" in flag for flag in read_config(result.run).flags)
    card = (result.run / "bundle" / "card.md").read_text()
    assert "| persistence | test |" in card
    assert words in card
    listed = CliRunner().invoke(app, ["runs", str(tmp_path), "--json"])
    assert words in " ".join(json.loads(listed.stdout)[0]["flags"])
    evaluation = evaluate(result.run)
    assert evaluation.reproduced
    assert evaluation.flags == result.flags
    printed = CliRunner().invoke(app, ["evaluate", str(result.run)])
    assert f"Warning: {words}" in printed.output
    steps = CliRunner().invoke(app, ["evaluate", str(result.run), "--rollout"])
    assert "not better than persistence in 4 of 4 steps" in steps.output


def test_the_report_says_it_first(untrained, tmp_path):
    pytest.importorskip("matplotlib")
    from opkit.report.page import report

    result = untrained
    page = report(result.run, tmp_path / "page.html", solver=False).read_text()
    body = page[page.index("<body>") :]
    assert body.index("not better than persistence") < body.index("<section")
    assert "error of persistence" in body
    assert "error of a linear model of one step" in body


@pytest.mark.parametrize("mode", ["map", "space-time", "autoregressive"])
def test_the_initial_state_is_what_persists(tmp_path, mode):
    data, u = heat_file(tmp_path / "heat.h5")
    modes = "[2, 4]" if mode == "space-time" else "[4]"
    settings = [*SMALL, f"mode={mode}", f"model.n_modes={modes}"]
    result = train(data, tmp_path / "run", operator="fno", overrides=settings)
    rows = rows_of(result.scores)
    test = u[-6:].astype(float)
    still = np.repeat(test[:, :1], 4, 1)
    by_hand = {
        "map": relative(still[:, -1], test[:, -1]),
        "autoregressive": relative(still, test[:, 1:]),
        "space-time": relative(still.reshape(6, -1), test[:, 1:].reshape(6, -1)),
    }[mode]
    assert rows["persistence"] == pytest.approx(by_hand.mean(), rel=1e-5)
    # heat is linear, stored as float32
    assert rows["linear"] < 1e-4


def test_a_static_problem_has_no_baseline_in_time(tmp_path, make_data):
    settings = ["training.epochs=1"]
    result = train(make_data(), tmp_path / "run", operator="fno", overrides=settings)
    assert {row.predictor for row in result.scores} == {"surrogate", "mean"}


def test_a_linear_system_is_fitted_exactly_in_any_units():
    generator = torch.Generator().manual_seed(0)
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]], dtype=torch.float64)
    states = [torch.randn(30, 2, generator=generator, dtype=torch.float64)]
    for _ in range(5):
        states.append(states[-1] @ turn.T)
    z = torch.stack(states, 1)  # (sample, frame, 2)
    shapes = torch.randn(2, 2, 8, generator=generator, dtype=torch.float64)
    fields = torch.einsum("btk,kcx->btcx", z, shapes)
    fields *= torch.tensor([1e-9, 1e9])[:, None]
    roll = baselines.fit(fields[:20])
    prediction = roll(fields[20:, 0], 5)
    for channel in range(2):
        true = fields[20:, 1:, channel]
        error = (prediction[:, :, channel] - true).norm() / true.norm()
        assert error < 1e-8  # double precision, five steps
