"""Shedding cycles in the record of forces.

A cycle runs from one minimum of the lift to the next; minima are those of parabolas
through three steps. Forces are drag and lift coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from opkit.base.arrays import Array


@dataclass(frozen=True)
class Cycle:
    """What holds between two times.

    Args:
        begin: first time.
        end: last time.
        drag: mean of the drag coefficient.
        lift: mean of the lift coefficient.
        amplitude: half the difference of the largest and the smallest lift.
        largest_drag: largest drag coefficient.
        largest_lift: largest lift coefficient.
    """

    begin: float
    end: float
    drag: float
    lift: float
    amplitude: float
    largest_drag: float
    largest_lift: float

    @property
    def duration(self) -> float:
        """Time from begin to end."""
        return self.end - self.begin


class Forces:
    """Drag and lift at each step, and where the lift has minima.

    Args:
        start: time from which minima count.
    """

    def __init__(self, start: float) -> None:
        self.start = start
        self.minima: list[float] = []
        self._times: list[float] = []
        self._values: list[Array] = []

    def add(self, time: float, force: Array) -> bool:
        """Take one step's force (2,), drag and lift: was the step before a minimum."""
        self._times.append(time)
        self._values.append(force)
        if len(self._times) < 3 or self._times[-3] < self.start:
            return False
        before, middle, after = (f[1] for f in self._values[-3:])
        if not before > middle <= after:
            return False
        s, t = self._times[-3:-1]
        shift = 0.5 * (before - after) / (before - 2 * middle + after)
        self.minima.append(t + (t - s) * float(shift))
        return True

    def between(self, begin: float, end: float) -> Cycle:
        """Means and ranges between two times."""
        first = max(int(np.searchsorted(self._times, begin)) - 1, 0)
        times, values = np.array(self._times[first:]), np.array(self._values[first:])
        inside = times[(times > begin) & (times < end)]
        at = np.concatenate([[begin], inside, [end]])
        drag, lift = (np.interp(at, times, v) for v in values.T)
        mean_drag, mean_lift = (
            float(np.trapezoid(v, at)) / (end - begin) for v in (drag, lift)
        )
        low, high = float(lift.min()), float(lift.max())
        return Cycle(
            begin=begin,
            end=end,
            drag=mean_drag,
            lift=mean_lift,
            amplitude=(high - low) / 2,
            largest_drag=float(drag.max()),
            largest_lift=high,
        )

    def rise(self, level: float, after: float) -> float | None:
        """First time after another at which the lift rose through a level, if any."""
        first = max(int(np.searchsorted(self._times, after)) - 1, 0)
        lift = np.array([force[1] for force in self._values[first:]]) - level
        up = np.flatnonzero((lift[:-1] < 0) & (lift[1:] >= 0))
        for k in up:
            s, t = self._times[first + k : first + k + 2]
            time = s - (t - s) * float(lift[k] / (lift[k + 1] - lift[k]))
            if time > after:
                return time
        return None
