"""Rollouts keep the means that the equation keeps, and only those."""

from pathlib import Path

import numpy as np
import pytest
import torch

import opkit
from opkit.case import load_case
from opkit.errors import OpkitInputError
from opkit.operators.inputs import Inputs
from opkit.operators.interface import build_operator
from opkit.operators.shapes import DataShape
from opkit.solvers.interface import KeepsMeans, KeepsSquares
from opkit.surrogate.bundle import forward
from opkit.surrogate.bundle.normalise import Normaliser, PhysicalModel

ROUND_OFF = 1e-13
"""Some roundings of numbers up to 4 for each of five frames, in float64."""


def drifting(keep_means: bool, keep_energy: bool = False) -> PhysicalModel:
    """An untrained operator on frames of two channels, whose means drift."""
    torch.manual_seed(0)
    shape = DataShape(4, 2, (8, 8), (True, True), (1.0, 1.0))
    options = {"n_modes": [4, 4], "hidden_channels": 4, "n_layers": 1}
    model = PhysicalModel(
        build_operator("fno", shape, options),
        Normaliser(2),
        Normaliser(2),
        history=2,
        keep_means=keep_means,
        keep_energy=keep_energy,
    )
    return model.eval().double()


def frames_before() -> torch.Tensor:
    """Return two frames (sample, frame, channel, y, x)."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, 2, 2, 8, 8, generator=generator, dtype=torch.float64)


def test_means_of_a_rollout_stand_still_frame_by_frame_and_at_once() -> None:
    fields = frames_before()
    kept, free = drifting(True), drifting(False)
    with torch.no_grad():
        rolled = kept(fields, 5)
        single = forward.predict(kept, Inputs(fields), 5)
        drifted = free(fields, 5)
    means = fields[:, -1].mean((-2, -1))[:, None]
    torch.testing.assert_close(
        rolled.mean((-2, -1)), means.expand(3, 5, 2), rtol=0, atol=ROUND_OFF
    )
    torch.testing.assert_close(rolled, single, rtol=0, atol=ROUND_OFF)
    assert (drifted.mean((-2, -1)) - means).abs().max() > 1e-3
    # only the mean is another: the first frames differ by constants
    apart = rolled[:, 0] - drifted[:, 0]
    assert (apart - apart.mean((-2, -1), keepdim=True)).abs().max() < ROUND_OFF


def test_squares_of_a_rollout_stand_still_with_their_means() -> None:
    fields = frames_before()
    both, energy = drifting(True, True), drifting(False, True)
    with torch.no_grad():
        rolled = both(fields, 5)
        single = forward.predict(both, Inputs(fields), 5)
        free = energy(fields, 5)
    last = fields[:, -1:]
    for frames in (rolled, free):
        torch.testing.assert_close(
            frames.square().mean((-2, -1)),
            last.square().mean((-2, -1)).expand(3, 5, 2),
            rtol=ROUND_OFF,
            atol=0,
        )
    means = last.mean((-2, -1)).expand(3, 5, 2)
    torch.testing.assert_close(rolled.mean((-2, -1)), means, rtol=0, atol=ROUND_OFF)
    torch.testing.assert_close(rolled, single, rtol=0, atol=ROUND_OFF)


def test_squares_that_equations_keep() -> None:
    kdv = load_case("korteweg-de-vries", ("solver.parameters.records=1",))
    for name, kept in (("kuramoto-sivashinsky", ()), ("korteweg-de-vries", ("state",))):
        solver = load_case(name).build_solver()
        assert isinstance(solver, KeepsSquares) and solver.kept_squares() == kept
    solver = kdv.build_solver()
    x = np.linspace(0, 2 * np.pi, kdv.shape[0], endpoint=False)
    start = np.sin(x)[None] + 0.5 * np.cos(2 * x)
    after = solver.solve({"initial_state": start}).outputs["state"][:, 0]
    # rtol 1e-6 of the case
    np.testing.assert_allclose((after**2).mean(), (start**2).mean(), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "changes", "kept"),
    [
        ("burgers", ("resolution=32",), True),
        (
            "kuramoto-sivashinsky",
            ("resolution=64", "solver.parameters.spin_up=0"),
            True,
        ),
        ("fisher", (), False),
    ],
)
def test_solvers_keep_the_means_that_they_say(
    name: str, changes: tuple[str, ...], kept: bool
) -> None:
    case = load_case(name, (*changes, "solver.parameters.records=1"))
    solver = case.build_solver()
    assert isinstance(solver, KeepsMeans)
    assert bool(solver.kept_means()) == kept
    drawn = solver.sample(np.random.default_rng(0))
    moved = {key: field[None] + 0.1 for key, field in drawn.items()}
    (before,), (after,) = moved.values(), solver.solve(moved).outputs.values()
    assert (abs(after.mean() - before.mean()) < 1e-12) == kept


@pytest.mark.slow
def test_a_run_keeps_means_and_another_case_refuses(tmp_path: Path) -> None:
    sizes = ("samples.train=4", "samples.validation=2", "samples.test=2")
    small = ("training.epochs=1", "model.n_modes=[4]", "model.hidden_channels=4")
    case = load_case("advection-diffusion", (*sizes, "resolution=32"))
    data = opkit.generate(case, tmp_path / "a.h5")
    made = opkit.train(
        data, tmp_path / "run", overrides=(*small, "keep_means=true"), device="cpu"
    )
    surrogate = opkit.load(made.run)
    start = np.random.default_rng(0).random((2, 1, 1, 32)).astype(np.float32)
    frames = surrogate.rollout(start, 20)
    np.testing.assert_allclose(
        frames.mean(-1), np.repeat(start.mean(-1), 20, 1), rtol=0, atol=1e-5
    )
    other = opkit.generate(load_case("fisher", sizes), tmp_path / "f.h5")
    with pytest.raises(OpkitInputError, match="does not keep the mean of state"):
        opkit.train(other, tmp_path / "no", overrides=(*small, "keep_means=true"))
    with pytest.raises(OpkitInputError, match="not keep the mean square of state"):
        opkit.train(data, tmp_path / "no", overrides=(*small, "keep_energy=true"))
    with pytest.raises(OpkitInputError, match="mode autoregressive"):
        words = (*small, "keep_means=true", "mode=space-time", "model.n_modes=[4, 4]")
        opkit.train(data, tmp_path / "no", overrides=words)
