"""Climates of rollouts: of a solver in place of a network, and on the command line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures.command_line import Shown
from fixtures.command_line import run as opkit_says

import opkit
from opkit.case import load_case
from opkit.errors import OpkitInputError
from opkit.evaluate.chaos import chaos
from opkit.generate import generate
from opkit.train import train

SMALL = (
    "resolution=32", "solver.parameters.length=22", "geometry.extent.x=[0, 22]",
    "solver.parameters.records=8", "solver.parameters.spin_up=15", "lyapunov_time=5",
    "samples.train=3", "samples.validation=2", "samples.test=4",
)  # fmt: skip
TINY = (
    "model.n_modes=[8]", "model.hidden_channels=4", "model.n_layers=1",
    "training.epochs=1",
)  # fmt: skip


def rolled(
    step: Callable[[np.ndarray], np.ndarray], fields: torch.Tensor, steps: int
) -> torch.Tensor:
    state, frames = fields[:, -1].double().numpy(), []
    for _ in range(steps):
        state = step(state)
        frames.append(state)
    return torch.as_tensor(np.stack(frames, 1), dtype=fields.dtype)


@pytest.mark.slow
def test_a_run_of_a_chaotic_case_is_held_against_its_climate(
    tmp_path: Path, capsys: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = load_case("kuramoto-sivashinsky-32pi", SMALL)
    data = tmp_path / "ks.h5"
    generate(case, data)
    run = train(data, tmp_path / "run", operator="fno", overrides=TINY).run
    surrogate = opkit.load(run)
    solver = case.build_solver()
    step = solver.forecast(2)

    found = chaos(surrogate, data)
    assert (found.lyapunov_time, found.steps) == (5, 80)
    assert found.climate.values > 2 * found.sampling.values  # one epoch of training

    monkeypatch.setattr(
        surrogate, "predict", lambda inputs, steps=1: rolled(step, inputs.fields, steps)
    )
    exact = chaos(surrogate, data)
    # the solver: on the attractor, of which four trajectories know little
    assert exact.climate.values < 0.2 and exact.climate.spectrum < 0.5
    assert exact.bounded and 0.8 < exact.climate.variance < 1.25
    assert exact.growth is not None
    assert exact.growth.exponents[0] == pytest.approx(1 / 21, abs=0.05)

    with pytest.raises(OpkitInputError, match="8 steps: the data have 8"):
        chaos(surrogate, data, steps=8)
    assert "Lyapunov exponent" in opkit_says(capsys, "evaluate", run, "--rollout")


def test_other_cases_name_no_lyapunov_time(
    make_trajectories: Callable[[], Path], tmp_path: Path
) -> None:
    data = make_trajectories()
    settings = ("mode=autoregressive", *TINY)
    run = train(data, tmp_path / "run", operator="fno", overrides=settings).run
    with pytest.raises(OpkitInputError, match="names no Lyapunov time: set"):
        chaos(opkit.load(run), data)
