"""How far records of a flow lie from the discrete flow through the record before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opkit.base.arrays import Array
from opkit.solvers.cylinder_wake.cylinder import Cylinder
from opkit.solvers.records import largest_change

if TYPE_CHECKING:
    from opkit.solvers.cylinder_wake.flow import WakeFlow

_AGAIN = 4  # records that are advanced, evenly spaced


class Path:
    """Advances records of one sample.

    Args:
        flow: grid and channel of the records.
        cylinder: the sample.
        courant: largest speed in cells per step.
        longest: time in which the next record must be passed.
    """

    def __init__(
        self, flow: WakeFlow, cylinder: Cylinder, courant: float, longest: float
    ) -> None:
        self._flow, self._cylinder = flow, cylinder
        self._courant, self._longest = courant, longest
        matrices = flow.matrices(cylinder)
        self._stepper = flow.stepper(cylinder, matrices)
        self._weights = np.sqrt(matrices.lumped)[:, None]

    def largest_distance(self, u: Array, p: Array) -> float:
        """max_k min_t |S_t u_k - u_{k+1}| / |u_{k+1}| (L2), S_t: the flow after t.

        Args:
            u: velocity (record, node, 2).
            p: pressure (record, node).
        """
        which = np.unique(np.linspace(1, len(u) - 1, _AGAIN).astype(int))

        def change(before: int, after: int) -> Array:
            return np.array([self._distance(u[before], p[before], u[after])])

        return float(largest_change(lambda k: k, change, which)[0])

    def _distance(self, u: Array, p: Array, target: Array) -> float:
        aim = self._weights * target
        size = float(np.linalg.norm(aim))
        self._stepper.start(self._flow.state(self._cylinder, u, p))
        dt = min(self._courant / self._stepper.rate(), self._longest / 4)
        self._stepper.dt = dt
        old = self._weights * self._stepper.state.velocity - aim
        least = float(np.linalg.norm(old))
        for _ in range(int(np.ceil(self._longest / dt))):
            new = self._weights * self._stepper.step().velocity - aim
            least = min(least, _from_segment(old, new))
            old = new
        return least / size if np.isfinite(least) and size > 0 else np.inf


def _from_segment(a: Array, b: Array) -> float:
    """Distance of the origin from the segment between two points."""
    step = b - a
    square = float(np.vdot(step, step))
    s = -float(np.vdot(a, step)) / square if square > 0 else 0.0
    return float(np.linalg.norm(a + min(max(s, 0.0), 1.0) * step))
