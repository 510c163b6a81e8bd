"""A learned correction: better than no correction, in a cycle, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import torch

import opkit
from opkit.assimilate import (
    Grid,
    Observation,
    assimilate,
    every,
    learn_correction,
    observe_with,
)
from opkit.errors import OpkitInputError
from opkit.surrogate import Surrogate

BUNDLE = Path(__file__).parents[1] / "data/golden/bundles/fno-rolling-burgers"


def problem() -> tuple[Surrogate, np.ndarray, Observation]:
    """Waves that travel by a grid point each step; every fourth point is seen."""
    surrogate = opkit.load(BUNDLE)
    (n,) = surrogate.config.shape.shape
    x = np.arange(n) / n
    waves = np.stack([np.sin(2 * np.pi * x), np.cos(2 * np.pi * x)])
    state = np.random.default_rng(0).standard_normal((48, 2)) @ waves
    states = np.stack([np.roll(state, k, -1) for k in range(9)], 1)
    return surrogate, states, every(4, Grid((x,), (1.0,)))


def travel(fields: torch.Tensor, steps: int = 1) -> torch.Tensor:
    assert steps == 1
    return torch.roll(fields, 1, -1)


@pytest.mark.slow
def test_it_learns_to_correct_and_runs_as_a_filter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    surrogate, states, seen = problem()
    monkeypatch.setattr(surrogate, "predict", travel)
    trainable = [p.requires_grad for p in surrogate.model.parameters()]
    assert seen.places is not None
    noise = 0.02 * float(states.std())
    learned = learn_correction(
        surrogate, states[:40], seen, noise,
        passes=40, batch=20, width=8, learning_rate=1e-2,
    )  # fmt: skip
    assert learned.losses[-1] < 0.3 * learned.losses[0]
    truth = states[44, 1:]
    rng = np.random.default_rng(1)
    values = seen(truth) + noise * rng.standard_normal((len(truth), len(seen.places)))
    begin = states[45:46, 0]  # another wave, which without corrections stays another

    def step(u: np.ndarray) -> np.ndarray:
        return np.roll(u, 1, -1)

    run = assimilate(step, learned, begin, values, seen, noise**2)
    error = ((run.states["mean"].values - truth)[-1] ** 2).mean()
    assert error < 0.05 * ((states[45] - states[44]) ** 2).mean()
    one, two = (
        learn_correction(surrogate, states[:4], seen, noise, passes=1) for _ in "ab"
    )
    assert one.losses == two.losses
    assert [p.requires_grad for p in surrogate.model.parameters()] == trainable
    # without observations it still answers; with other ones it refuses
    nothing = np.full((1, values.shape[1]), np.nan)
    assimilate(step, learned, begin, nothing, seen, noise**2)
    with pytest.raises(OpkitInputError, match="a correction trained for"):
        assimilate(
            step, learned, begin, np.zeros((1, len(begin[0]))), every(1, seen.grid), 1.0
        )


def test_what_cannot_be_learned() -> None:
    surrogate, states, seen = problem()
    bent = observe_with(lambda u: u**2, seen.grid)
    for message, observation, noise, window, given in (
        ("is not linear", bent, 0.1, 2, states),
        ("above 0", seen, 0.0, 2, states),
        ("window 9 of 9 times", seen, 0.1, 9, states),
        ("give \\(trajectory, time", seen, 0.1, 2, states[0]),
        ("not finite", seen, 0.1, 2, states * np.nan),
    ):
        with pytest.raises(OpkitInputError, match=message):
            learn_correction(surrogate, given, observation, noise, window=window)
