"""Modes of linear systems are exact and verified; those of chaos are not."""

import json
from pathlib import Path

import numpy as np
import pytest
from fixtures.command_line import Shown
from fixtures.command_line import run as opkit_says

import opkit
from opkit.case import load_case
from opkit.errors import OpkitInputError
from opkit.evaluate.koopman import modes
from opkit.solvers.semilinear import Semilinear


def rollouts(solver: Semilinear, samples: int, frames: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    starts = [solver.sample(rng)["initial_state"] for _ in range(samples)]
    march, states = solver.forecast(8), [np.stack(starts)]
    for _ in range(frames - 1):
        states.append(march(states[-1]))
    return np.stack(states, 1)


def test_advection_and_diffusion_are_linear_and_verified() -> None:
    speed, viscosity, interval = 1.0, 0.02, 0.1
    linear = Semilinear(
        resolution=(32,),
        velocity=speed,
        diffusion=viscosity,
        record_interval=interval,
        distribution={"kind": "sines", "waves": (1, 3)},
    )
    found = modes(rollouts(linear, 12, 8), interval)
    k = 2 * np.pi * np.array([-3, -2, -1, 1, 2, 3])
    exact = np.append(np.exp((-viscosity * k**2 - 1j * speed * k) * interval), 1)
    apart = abs(found.eigenvalues[:, None] - exact[None])
    assert len(found.eigenvalues) == 7  # and the constant
    assert (apart.min(0) < 1e-8).all() and (apart.min(1) < 1e-8).all()
    assert (found.residuals < 1e-8).all() and found.verified.all()
    assert found.growth.min() == pytest.approx(-viscosity * k[0] ** 2, rel=1e-7)
    assert found.frequency.max() == pytest.approx(3 * speed, rel=1e-7)


def test_products_find_what_is_quadratic() -> None:
    """x' = a x, y' = b y + x²: linear in (x, y, x²), eigenvalues e^a, e^b, e^2a."""
    rng, a, b = np.random.default_rng(1), 0.9, 0.5
    u = [rng.standard_normal((20, 2))]
    for _ in range(5):
        x, y = u[-1].T
        u.append(np.stack([a * x, b * y + (a * a - b) * x**2], 1))
    series = np.stack(u, 1)
    plain, lifted = modes(series, 1.0), modes(series, 1.0, quadratic=True)
    assert not plain.verified.all()
    for value in (a, b, a * a):
        where = abs(lifted.eigenvalues - value).argmin()
        assert lifted.eigenvalues[where] == pytest.approx(value, abs=1e-8)
        assert lifted.residuals[where] < 1e-8


def test_most_modes_of_chaos_are_flagged() -> None:
    ks = Semilinear(
        resolution=(64,),
        length=32.0,
        convection=1,
        diffusion=-1,
        hyperdiffusion=1,
        record_interval=2.0,
        distribution={"kind": "sines", "amplitude": 0.5, "waves": (1, 4)},
    )
    series = rollouts(ks, 8, 60)[:, 30:]
    found = modes(series, 2.0)
    assert found.verified.sum() < 0.25 * len(found.residuals)
    with pytest.raises(OpkitInputError, match="two samples"):
        modes(series[:1], 2.0)
    with pytest.raises(OpkitInputError, match="not finite"):
        modes(np.full((2, 2, 4), np.nan), 1.0)


@pytest.mark.slow
def test_the_command(tmp_path: Path, capsys: Shown) -> None:
    sizes = ("samples.train=12", "samples.validation=2", "samples.test=2")
    case = load_case("advection-diffusion", sizes)
    data = opkit.generate(case, tmp_path / "a.h5")
    said = json.loads(opkit_says(capsys, "modes", data, "--most", 8, "--json"))
    assert said["features"] == 9  # four waves, twice, and the constant
    assert all(mode["verified"] == "yes" for mode in said["modes"])
    still = opkit.generate(
        load_case("darcy", (*sizes, "resolution=9")), tmp_path / "d.h5"
    )
    assert "time" in opkit_says(capsys, "modes", still, code=2)
