from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("gymnasium")

from gymnasium.utils.env_checker import check_env

from opkit.assimilate import every
from opkit.case.catalogue import load_case
from opkit.control import (
    FieldControl,
    System,
    boxes,
    environment,
    regulator,
)
from opkit.errors import NotConvergedError, OpkitInputError


@pytest.fixture
def env() -> FieldControl:
    case = load_case("advection-diffusion", ("solver.parameters.growth=0.1",))
    return environment(case, steps=1, horizon=5, noise=0.5)


def test_gymnasium_finds_nothing_wrong(env: FieldControl) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*(infinity|render|spec|normalize).*")
        check_env(env, skip_render_check=True)


def test_an_episode_pays_what_its_states_and_actions_cost(env: FieldControl) -> None:
    first, info = env.reset(seed=3)
    best = regulator(env.system)
    for k in range(5):
        state = info["state"]
        action = best(state[None])[0]
        seen, reward, terminated, truncated, info = env.step(action)
        assert reward == pytest.approx(-env.system.cost(state[None], action[None])[0])
        assert info["state"] == pytest.approx(
            env.system.advance(state[None], action[None])[0]
        )
        assert (terminated, truncated) == (False, k == 4)
    again, _ = env.reset(seed=3)
    assert np.array_equal(first, again)
    assert not np.array_equal(seen, again)


def test_sensors_see_the_field_with_noise(env: FieldControl) -> None:
    state = np.sin(2 * np.pi * env.system.grid.axes[0])
    exact = env.sensors(state[None])[0]
    assert exact == pytest.approx(np.sin(2 * np.pi * np.arange(10) / 10), abs=5e-3)
    off = [env.reset(seed=k, options={"state": state})[0] - exact for k in range(300)]
    # 3000 draws: the deviation is known to 1.3 %, five of which are 6.5 %
    assert np.std(off) == pytest.approx(0.5, rel=0.065)


def test_a_field_that_is_lost_ends_the_episode() -> None:
    def gives_up(states: np.ndarray) -> np.ndarray:
        if np.abs(states).max() > 3:
            raise NotConvergedError("too steep")
        return 2 * states

    case = load_case("advection-diffusion")
    grid = environment(case, steps=1).system.grid
    for step, failure in ((gives_up, "too steep"), (lambda u: u / 0.0, "finite")):
        system = System(step, 0.1, grid, boxes(grid, 2))
        env = FieldControl(
            system, lambda rng: np.ones(64), every(8, grid), noise=0.0, horizon=10
        )
        env.reset(seed=0)
        paid, over, taken = 0.0, False, 0
        with np.errstate(all="ignore"):
            while not over:
                _, reward, over, _, info = env.step(np.zeros(2))
                paid, taken = paid + reward, taken + 1
        assert failure in info["failure"]
        # giving up is no way out: the rest is paid as the last state was
        state = info["state"][None]
        last = -(11 - taken) * system.cost(state, np.zeros((1, 2)))[0]
        assert reward == pytest.approx(last)
        with pytest.raises(OpkitInputError, match="reset"):
            env.step(np.zeros(2))


def test_bad_input(env: FieldControl) -> None:
    with pytest.raises(OpkitInputError, match="reset"):
        env.step(np.zeros(8))
    env.reset(seed=0)
    for action in (np.zeros(7), np.full(8, np.nan)):
        with pytest.raises(OpkitInputError, match="8 finite amplitudes"):
            env.step(action)
    for state in (np.zeros(63), np.full(64, np.inf)):
        with pytest.raises(OpkitInputError, match="initial state"):
            env.reset(options={"state": state})
    case = load_case("advection-diffusion")
    for more in ({"horizon": 0}, {"noise": -1.0}, {"limit": 0.0}, {"sensors": 0}):
        with pytest.raises(OpkitInputError):
            environment(case, **more)
    with pytest.raises(OpkitInputError, match="2 axes"):
        environment(load_case("navier-stokes", ("resolution=16",)))
