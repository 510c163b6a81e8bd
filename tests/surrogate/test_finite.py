"""No infinity goes in or comes out of a surrogate without a word."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import opkit
from opkit.errors import NonFiniteError, OpkitInputError

KINDS: dict[str, Callable[[np.ndarray], Any]] = {
    "numpy": lambda a: a,
    "torch": torch.from_numpy,
    "xarray": lambda a: xr.DataArray(a, dims=("sample", "y", "x")),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [1e39, -1e308, np.inf, np.nan])
def test_beyond_float32_is_refused_by_sample_and_place(
    darcy: Any, kind: str, value: float
) -> None:
    """1e39 is finite in float64 and infinite in float32, where the model computes."""
    a = np.array(darcy.permeability[:3], np.float64)
    a[2, 5, 7] = value
    with pytest.raises(
        OpkitInputError, match=r"^permeability holds .* in sample 2 at \[5, 7\]"
    ):
        darcy.load()(KINDS[kind](a))


@pytest.mark.parametrize("kind", KINDS)
def test_a_prediction_that_is_not_finite_is_an_error(darcy: Any, kind: str) -> None:
    """The largest float32 is a finite input; the network cannot square it."""
    surrogate = darcy.load()
    with torch.no_grad():
        for weight in surrogate.model.parameters():
            weight.mul_(1e30)
    a = np.array(darcy.permeability[:2], np.float64)
    with pytest.raises(NonFiniteError, match=r"sample 0 at \["):
        surrogate(KINDS[kind](a))


GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "bundles"
FRAMES = np.random.default_rng(0).random((2, 1, 1, 16, 16))


def test_frames_of_a_rollout_that_are_not_finite_are_an_error() -> None:
    surrogate = opkit.load(GOLDEN / "fno-rolling")
    with torch.no_grad():
        for weight in surrogate.model.parameters():
            weight.mul_(1e30)
    for asked in (lambda: surrogate.rollout(FRAMES, 2), lambda: frames(surrogate, 2)):
        with pytest.raises(NonFiniteError, match="sample 0"):
            asked()


def frames(surrogate: opkit.Surrogate, steps: Any) -> list[Any]:
    return list(surrogate.frames(FRAMES, steps))


@pytest.mark.parametrize("steps", [0, -1, 1.5, np.nan, "two", True])
def test_steps_that_are_none_are_refused(steps: Any) -> None:
    surrogate = opkit.load(GOLDEN / "fno-rolling")
    batch = torch.from_numpy(FRAMES)
    for asked in (
        lambda: surrogate.rollout(FRAMES, steps),
        lambda: surrogate.predict(batch, steps),
        lambda: surrogate.solve(FRAMES, 0.1, steps=steps),
        lambda: frames(surrogate, steps),
    ):
        with pytest.raises(OpkitInputError, match=r"steps .*whole number from 1 on"):
            asked()


@pytest.mark.parametrize("number", [np.nan, np.inf, -0.1, 1, "half", None])
def test_numbers_of_a_solve_that_mean_nothing_are_refused(number: Any) -> None:
    """NaN among them, which is neither larger nor smaller than a bound."""
    surrogate = opkit.load(GOLDEN / "fno")
    field = 1 + np.eye(9)
    for named in ("significance", "coverage"):
        with pytest.raises(OpkitInputError, match=named):
            surrogate.solve(field, 0.1, **{named: number})
