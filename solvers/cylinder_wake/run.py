"""From rest to a periodic vortex street, and records of it over whole periods.

The velocity must return after a cycle of the lift. Records begin where the lift rises
through its mean.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from opkit.base.arrays import Array
from opkit.errors import NonFiniteError, NotConvergedError
from opkit.solvers.cylinder_wake.cycles import Cycle, Forces
from opkit.solvers.cylinder_wake.stepper import State, Stepper

FADED = 2e-3
"""A lift coefficient with a smaller amplitude belongs to a steady flow."""
_WATCH = 10  # steps between two looks at the Courant number
_ROOM = 1.25  # by which it may exceed the one asked for


@dataclass(frozen=True)
class Records:
    """States at equal times over some periods.

    Args:
        velocity: (record, node, 2).
        pressure: (record, vertex).
        cycle: what holds over the periods.
        change: relative change of the velocity from their begin to their end (L2).
    """

    velocity: Array
    pressure: Array
    cycle: Cycle
    change: float


class Run:
    """Advance one flow with a step that keeps the Courant number.

    Args:
        stepper: of the sample.
        scale: drag and lift coefficient of a unit force.
        patience: longest time without a minimum of the lift.
        courant: largest speed, in cells per step.
        label: of the sample, for messages.
    """

    def __init__(
        self,
        stepper: Stepper,
        scale: float,
        patience: float,
        courant: float,
        label: str,
    ) -> None:
        self._stepper, self._scale, self._patience = stepper, scale, patience
        self._courant, self._label = courant, label
        self._states: deque[State] = deque(maxlen=4)
        self._forces = Forces(0.0)
        self.steps = self.cycles = 0

    @property
    def state(self) -> State:
        """The last state."""
        return self._stepper.state

    def start(self, state: State, rest: float) -> None:
        """Begin at a state; cycles count from the time ``rest`` on."""
        self._states.clear()
        self._forces = Forces(rest)
        self._begin(state)

    def until_periodic(self, tolerance: float, most: int) -> Cycle:
        """Advance until the velocity returns after a cycle.

        The distance from the periodic flow is estimated as c / (1 - r), c: relative
        change over the last cycle of the velocity (L2) or of the lift's amplitude,
        whichever is larger; r: factor by which c fell per cycle, over the last three
        cycles, between 0.5 and 0.95.

        Args:
            tolerance: of that distance.
            most: cycles.

        Returns:
            The last cycle.

        Raises:
            NotConvergedError: not periodic after ``most`` cycles, or no shedding.
            NonFiniteError: the flow left the range of numbers.
        """
        before = self._next_minimum()
        changes: list[float] = []
        amplitude = 0.0
        for _ in range(most):
            now = self._next_minimum()
            cycle = self._forces.between(*self._forces.minima[-2:])
            if cycle.amplitude < min(FADED, amplitude):
                raise self._no_shedding()
            drift = abs(cycle.amplitude - amplitude) / cycle.amplitude
            changes.append(max(self._change(before, now), drift))
            fall = 0.95
            if len(changes) > 3:
                fall = min(max((changes[-1] / changes[-4]) ** (1 / 3), 0.5), fall)
            if changes[-1] <= tolerance * (1 - fall):
                return cycle
            before, amplitude = now, cycle.amplitude
        raise NotConvergedError(
            f"{self._label}: not periodic after {most} shedding cycles: velocity or "
            f"lift still change by {changes[-1]:.1e} per cycle (tolerance "
            f"{tolerance:.1e})"
        )

    def record(self, cycle: Cycle, periods: int, records: int) -> Records:
        """Record states from the next rise of the lift on.

        Args:
            cycle: the last one.
            periods: number of cycles that the records span.
            records: number of states; the one at the end is not among them.
        """
        begin = self._next_rise(cycle.lift, cycle.end)
        span = periods * cycle.duration
        times = begin + span * np.arange(records + 1) / records
        states = [self._at(time) for time in times]
        end = self._next_rise(cycle.lift, begin + span - cycle.duration / 2)
        return Records(
            np.stack([s.velocity for s in states[:-1]]),
            np.stack([s.pressure for s in states[:-1]]),
            self._forces.between(begin, end),
            self._change(states[0].velocity, states[-1].velocity),
        )

    def _begin(self, state: State) -> None:
        self._stepper.start(state)
        self._stepper.dt = self._courant / self._stepper.rate()

    def _step(self) -> bool:
        """Advance by one step: was the one before a minimum of the lift."""
        with np.errstate(over="ignore", invalid="ignore"):
            state = self._stepper.step()
            force = self._scale * self._stepper.force()
        self.steps += 1
        if not np.isfinite(force).all():
            raise NonFiniteError(
                f"{self._label}: the flow left the range of numbers at time "
                f"{state.time:.3g}: give a smaller courant or more cells"
            )
        self._states.append(state)
        minimum = self._forces.add(state.time, force)
        self.cycles += minimum
        if (
            self.steps % _WATCH == 0
            and self._stepper.rate() * self._stepper.dt > _ROOM * self._courant
        ):
            self._begin(state)
        return minimum

    def _next_minimum(self) -> Array:
        """The velocity at the next minimum of the lift."""
        latest = max(self.state.time, self._forces.start) + self._patience
        while not self._step():
            if self.state.time > latest:
                raise self._no_shedding()
        return self._between(self._forces.minima[-1]).velocity

    def _next_rise(self, level: float, after: float) -> float:
        latest = max(after, self.state.time) + self._patience
        while True:
            time = self._forces.rise(level, after)
            if time is not None:
                return time
            if self.state.time > latest:
                raise self._no_shedding()
            self._step()

    def _at(self, time: float) -> State:
        while self._states[-2].time < time:
            self._step()
        return self._between(time)

    def _between(self, time: float) -> State:
        """The cubic through the last four states."""
        t = np.array([s.time for s in self._states])
        weights = [
            np.prod([(time - b) / (a - b) for b in t if b != a], initial=1.0) for a in t
        ]
        pairs = list(zip(weights, self._states, strict=True))
        velocity = sum(w * s.velocity for w, s in pairs)
        pressure = sum(w * s.pressure for w, s in pairs)
        return State(time, np.asarray(velocity), np.asarray(pressure))

    def _change(self, before: Array, after: Array) -> float:
        weights = self._stepper.matrices.lumped[:, None]
        squares = [np.sum(weights * v**2) for v in (after - before, after)]
        return float(np.sqrt(squares[0] / squares[1]))

    def _no_shedding(self) -> NotConvergedError:
        return NotConvergedError(
            f"{self._label}: no vortices are shed: the lift fades and the flow becomes "
            "steady: give a larger reynolds"
        )
