"""A system under forces as an environment of Gymnasium."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from opkit.assimilate.observations import Observation, at_points
from opkit.assimilate.steps import state_of
from opkit.base.arrays import Array
from opkit.case.record import Case
from opkit.control.system import System, system_of
from opkit.errors import OpkitInputError, SolverError

Draw = Callable[[np.random.Generator], Array]


class FieldControl(gymnasium.Env[NDArray[Any], NDArray[Any]]):
    """Sensors see a field with noise, actions are the amplitudes of its forces.

    The reward of an action is minus its cost, `System.cost` of the state that it is
    taken in; the observation returned is of the state after it. ``info["state"]``
    holds the field. An episode is truncated after ``horizon`` actions. It is terminated
    where the field is no longer finite or the solver gives up; the reward of that
    action is that of the state before, times the actions that are left.

    Args:
        system: field and forces.
        initial: draws an initial state (*space).
        sensors: what is seen of a state.
        noise: standard deviation of what sensors add.
        horizon: actions of an episode.
        limit: largest amplitude.

    Raises:
        OpkitInputError: numbers that cannot be.
    """

    def __init__(
        self,
        system: System,
        initial: Draw,
        sensors: Observation,
        noise: float = 0.5,
        horizon: int = 100,
        limit: float = 10.0,
    ) -> None:
        if horizon < 1:
            raise OpkitInputError(f"horizon {horizon}: give 1 action or more")
        if not 0 <= noise < np.inf or not 0 < limit < np.inf:
            raise OpkitInputError(
                f"noise {noise:g}, limit {limit:g}: give a finite deviation and a "
                "limit above 0"
            )
        self.system, self.initial, self.sensors = system, initial, sensors
        self.noise, self.horizon = noise, horizon
        count = len(system.forces)
        seen = sensors(np.zeros((1, *system.grid.shape))).shape[1]
        self.action_space = spaces.Box(-limit, limit, (count,), np.float32)
        self.observation_space = spaces.Box(-np.inf, np.inf, (seen,), np.float32)
        self._state: Array | None = None
        self._taken = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Draw an initial state, or take ``options["state"]``.

        Raises:
            OpkitInputError: that state has another shape, or is not finite.
        """
        super().reset(seed=seed)
        first = (options or {}).get("state")
        first = self.initial(self.np_random) if first is None else first
        state = np.asarray(first, np.float64)
        shape = self.system.grid.shape
        if state.shape != shape or not np.isfinite(state).all():
            raise OpkitInputError(
                f"an initial state of shape {state.shape}: give finite values of shape "
                f"{shape}"
            )
        self._state, self._taken = state, 0
        return self._seen(state), {"state": state.copy()}

    def step(
        self, action: NDArray[Any]
    ) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """Hold the amplitudes for one interval.

        Raises:
            OpkitInputError: amplitudes of another shape or not finite, or no `reset`
                before.
        """
        if self._state is None:
            raise OpkitInputError("no initial state yet: call reset() first")
        raw = np.asarray(action, np.float64)
        box = self.action_space
        assert isinstance(box, spaces.Box)
        if raw.shape != box.shape or not np.isfinite(raw).all():
            raise OpkitInputError(
                f"an action of shape {raw.shape}: give {box.shape[0]} finite amplitudes"
            )
        amplitudes = np.clip(raw, box.low, box.high)[None]
        cost = float(self.system.cost(self._state[None], amplitudes)[0])
        failed = ""
        try:
            state = self.system.advance(self._state[None], amplitudes)[0]
            if not np.isfinite(state).all():
                failed = "the field is no longer finite"
        except SolverError as error:
            failed = str(error)
        if failed:
            left = self.horizon - self._taken
            last, self._state = self._state, None
            note = {"state": last, "failure": failed}
            return self._seen(last), -cost * left, True, False, note
        self._state, self._taken = state, self._taken + 1
        over = self._taken >= self.horizon
        return self._seen(state), -cost, False, over, {"state": state.copy()}

    def _seen(self, state: Array) -> NDArray[np.float32]:
        values = self.sensors(state[None])[0]
        off = self.noise * self.np_random.standard_normal(len(values))
        return np.asarray(values + off, np.float32)


def environment(
    case: Case,
    sensors: int = 10,
    noise: float = 0.5,
    horizon: int = 100,
    limit: float = 10.0,
    **system: Any,
) -> FieldControl:
    """Return the environment of a case on one axis.

    Args:
        case: whose output evolves from its own initial field, which its law draws.
        sensors: their number, equally spaced.
        noise: standard deviation of what they add.
        horizon: actions of an episode.
        limit: largest amplitude.
        **system: as for `system_of`.

    Raises:
        OpkitInputError: the case has more axes, or numbers that cannot be.
    """
    name, solver = state_of(case), case.build_solver()
    field = system_of(case, **system)
    if len(field.grid.shape) != 1:
        raise OpkitInputError(
            f"case {case.name} has {len(field.grid.shape)} axes: build FieldControl "
            "with sensors and forces of your own"
        )
    axis, period = field.grid.axes[0], field.grid.periods[0]
    length = float(np.ptp(axis)) if period is None else period
    if sensors < 1:
        raise OpkitInputError(f"sensors {sensors}: give 1 or more")
    places = axis[0] + length * np.arange(sensors) / sensors

    def draw(rng: np.random.Generator) -> Array:
        return np.asarray(solver.sample(rng)[f"initial_{name}"], np.float64)

    seen = at_points(places, field.grid)
    return FieldControl(field, draw, seen, noise, horizon, limit)
