"""A solver outside opkit that is slow by construction: Jacobi sweeps, many of them.

-u'' = f on (0, 1), u = 0 at both ends. Damped by 2/3, a sweep shrinks the slowest mode
by 1 - 2/3 (1 - cos(π / (n + 1))). `SWEEPS` counts sweeps of all samples: the clock of
the tests.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from opkit.errors import NotConvergedError
from opkit.solvers.inputs import checked_field
from opkit.solvers.interface import (
    Coordinate,
    Fields,
    Solution,
    Solver,
    solver_dataclass,
    with_parameters,
)

SWEEPS = [0]
Array = np.ndarray[Any, Any]


@solver_dataclass
class RelaxAlone:
    """Without a ladder of its own, and from nothing alone."""

    resolution: tuple[int, ...]
    rtol: float = 1e-8
    fails: bool = False

    def coordinates(self) -> Mapping[str, Coordinate]:
        (n,) = self.resolution
        return {"x": Coordinate(np.arange(1, n + 1) / (n + 1))}

    def sample(self, rng: np.random.Generator) -> Fields:
        x = self.coordinates()["x"].values
        waves = np.sin(np.pi * np.arange(1, 5)[:, None] * x)
        return {"load": rng.normal(size=4) @ waves}

    def solve(self, inputs: Fields) -> Solution:
        load = checked_field(inputs, "load", self.resolution)
        return self._relax(load, np.zeros_like(load))

    def residual(self, inputs: Fields, outputs: Fields) -> Array:
        load = checked_field(inputs, "load", self.resolution)
        rest = self._rest(load, np.asarray(outputs["sag"], np.float64))
        return np.linalg.norm(rest, axis=1) / np.linalg.norm(load, axis=1)

    def _relax(self, load: Array, sag: Array) -> Solution:
        if self.fails:
            raise NotConvergedError("told to fail")
        step = 1 / (3 * (self.resolution[0] + 1) ** 2)
        counts = np.zeros(len(load))
        for i, f in enumerate(load):
            size = np.linalg.norm(f)
            rest = self._rest(f, sag[i])
            while np.linalg.norm(rest) > self.rtol * size:
                sag[i] += step * rest
                rest = self._rest(f, sag[i])
                counts[i] += 1
        SWEEPS[0] += int(counts.sum())
        error = self.residual({"load": load}, {"sag": sag})
        return Solution({"sag": sag}, error, "residual", {"iterations": counts})

    def _rest(self, load: Array, sag: Array) -> Array:
        """f + u'' on the nodes."""
        wide = np.pad(sag, [(0, 0)] * (sag.ndim - 1) + [(1, 1)])
        second = wide[..., 2:] - 2 * sag + wide[..., :-2]
        return load + second * (self.resolution[0] + 1) ** 2


@solver_dataclass
class Relax(RelaxAlone):
    """With a ladder, and from a guess."""

    ladder: tuple[float, ...] = (1e-2, 0.3)

    def solve_from(self, inputs: Fields, guess: Fields) -> Solution:
        load = checked_field(inputs, "load", self.resolution)
        return self._relax(load, np.array(guess["sag"], np.float64))

    def cheaper(self) -> Sequence[tuple[str, Solver]]:
        return [(f"rtol {r:g}", with_parameters(self, rtol=r)) for r in self.ladder]
