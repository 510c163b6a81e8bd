"""Heat in a rod whose one end follows a given temperature.

    ∂u/∂t = κ ∂²u/∂x² on (0, L), u(0, t) = g(t), u(L, t) = 0, u(x, 0) = 0,

from the series g, linear between its times, to the temperature at the last of them, the
series of the flux q(t) = -κ ∂u/∂x(L, t) that leaves at the other end, and the heat
∫ q dt that has left. Second-order differences in space, whose sine modes are advanced
exactly in time; grids of doubled numbers of intervals, extrapolated by Richardson's
rule, until the answers stand still. Accuracy: docs/solvers-series.md.

Reference: Carslaw, Jaeger, Conduction of Heat in Solids, Oxford, 2nd ed. 1959, 3.3
(Duhamel's series, which the tests compare with).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from pydantic import Field

from opkit.base.arrays import Array
from opkit.base.records import Record
from opkit.errors import NotConvergedError
from opkit.solvers.inputs import check_counts, checked_field
from opkit.solvers.interface import (
    Coordinate,
    Fields,
    Sides,
    Solution,
    solver_dataclass,
)
from opkit.solvers.per_sample import per_sample

FINEST = 2**14
"""Intervals at most."""


class History(Record):
    """Law of the temperature of the end: a Karhunen-Loève expansion that begins at 0.

        g(t) = √2 σ Σ_{k=1}^{K} ξ_k sin((k - 1/2) π t / T) ((k - 1/2) π)^(-α)

    With ξ_k from N(0, 1); α = 1 and K → ∞ is Brownian motion.

    Args:
        terms: K.
        alpha: smoothness α.
        sigma: amplitude σ.
    """

    terms: int = Field(default=12, ge=1, le=1000)
    alpha: float = Field(default=1.5, gt=0, le=20)
    sigma: float = Field(default=1.0, gt=0)

    def sample(self, rng: np.random.Generator, part: Array) -> Array:
        """Draw g at parts t / T of the duration."""
        waves = (np.arange(1, self.terms + 1) - 0.5) * np.pi
        size = self.sigma * np.sqrt(2) * waves**-self.alpha
        series: Array = np.sin(np.outer(part, waves)) @ (
            size * rng.standard_normal(self.terms)
        )
        return series


LAW = History()


@per_sample("diffusivity")
@solver_dataclass
class HeatRod:
    """Solver from the temperature of one end in time to field, flux and heat.

    Args:
        diffusivity: κ.
        resolution: (N,), points of the rod, its ends among them.
        intervals: between the times of the series; their number is one more.
        duration: T, the last of them.
        length: L.
        distribution: law of the temperature of the end.
        rtol: change on doubling the intervals that is allowed (relative L2).
    """

    diffusivity: float = Field(gt=0)
    resolution: tuple[int]
    intervals: int = Field(default=100, ge=1, le=100_000)
    duration: float = Field(default=1.0, gt=0)
    length: float = Field(default=1.0, gt=0)
    distribution: History = LAW
    rtol: float = Field(default=1e-6, ge=1e-11, le=0.1)

    def coordinates(self) -> Mapping[str, Coordinate]:
        """Times of the series, and points of the rod."""
        (n,) = self.resolution
        times = np.linspace(0.0, self.duration, self.intervals + 1)
        return {
            "time": Coordinate(times, long_name="time"),
            "x": Coordinate(np.linspace(0.0, self.length, n), long_name="x"),
        }

    def sides(self) -> Sides:
        """One end follows the input, the other is kept at 0."""
        return {
            "left": {"kind": "dirichlet", "value": "input"},
            "right": {"kind": "dirichlet", "value": 0.0},
        }

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw ``end_temperature`` (time,)."""
        part = np.linspace(0.0, 1.0, self.intervals + 1)
        return {"end_temperature": self.distribution.sample(rng, part)}

    def solve(self, inputs: Fields) -> Solution:
        """Solve for ``temperature`` (batch, x), ``flux`` (batch, time), ``heat``.

        Raises:
            OpkitInputError: wrong shape, or not finite.
            NotConvergedError: the answers do not stand still on the finest grid.
        """
        g = checked_field(inputs, "end_temperature", (self.intervals + 1,))
        answer, error, count = self._converged(g)
        return Solution(
            {"temperature": answer[0], "flux": answer[1], "heat": answer[2][:, 0]},
            error,
            "change on doubling the intervals in space (relative L2, largest of "
            "temperature, flux and heat)",
            {"intervals": np.full(len(g), float(count))},
        )

    def residual(self, inputs: Fields, outputs: Fields) -> Array:
        """Solve again; largest relative L2 change of temperature, flux and heat.

        Heat is compared relative to the largest that has left at any time, as it may
        be close to 0 in the end.
        """
        (n,) = self.resolution
        g = checked_field(inputs, "end_temperature", (self.intervals + 1,))
        given = [
            checked_field(outputs, "temperature", (n,)),
            checked_field(outputs, "flux", (self.intervals + 1,)),
            checked_field(outputs, "heat", ())[:, None],
        ]
        check_counts(end_temperature=g, temperature=given[0], flux=given[1])
        answers, _, _ = self._converged(g)
        return _change(given, answers, self._size(answers))

    def _converged(self, g: Array) -> tuple[list[Array], Array, int]:
        """Return temperature, flux and heat (batch, 1), their error, and intervals."""
        (n,) = self.resolution
        coarse = self._on(g, n - 1)
        table = [coarse]
        count = n - 1
        error = np.full(len(g), np.inf)
        answer = coarse
        while count <= FINEST // 2:
            count *= 2
            row = [self._on(g, count)]
            for k, before in enumerate(table, 1):
                pairs = zip(row[-1], before, strict=True)
                row.append([a + (a - b) / (4**k - 1) for a, b in pairs])
            error = _change(answer, row[-1], self._size(row[-1]))
            table, answer = row, row[-1]
            if error.max(initial=0.0) <= self.rtol:
                break
        else:
            worst = int(error.argmax())
            raise NotConvergedError(
                f"sample {worst} of the batch: changes by {error[worst]:.2g} on "
                f"{count} intervals, more than rtol={self.rtol:g}: give a looser "
                "one, or a larger diffusivity"
            )
        return answer, error, count

    def _size(self, answer: list[Array]) -> list[Array]:
        """Norms that changes are related to, (batch,) each."""
        step = self.duration / self.intervals
        flux = answer[1]
        left = np.abs(np.cumsum((flux[:, 1:] + flux[:, :-1]) / 2, 1) * step).max(1)
        heat = np.maximum(left, np.abs(answer[2][:, 0]))
        return [*(np.linalg.norm(part, axis=1) for part in answer[:2]), heat]

    def _on(self, g: Array, count: int) -> list[Array]:
        """Temperature at the points, flux, and heat (batch, 1), by ``count`` intervals.

        U = g (1 - x / L) + Σ_k b_k sin(k π x / L), with b_k' = -κ μ_k b_k - g' c_k, μ_k
        and c_k the eigenvalues of the differences and the modes of 1 - x / L.
        """
        (n,) = self.resolution
        h, dt = self.length / count, self.duration / self.intervals
        k = np.arange(1, count)
        half = np.pi * k / (2 * count)
        rate = self.diffusivity * (2 / h * np.sin(half)) ** 2
        c = 1 / (count * np.tan(half))
        decay, gain = np.exp(-rate * dt), -np.expm1(-rate * dt) / rate
        end = np.where(k % 2 == 1, 1.0, -1.0) * np.sin(2 * half)
        b = -g[:, :1] * c
        start = b
        flux = np.empty_like(g)
        flux[:, 0] = b @ end
        for m in range(1, g.shape[1]):
            slope = (g[:, m] - g[:, m - 1]) / dt
            b = b * decay - slope[:, None] * (c * gain)
            flux[:, m] = b @ end
        flux = self.diffusivity / h * (flux + g / count)
        area = dt * (g[:, 1:] + g[:, :-1]).sum(1) / 2
        integral = -(c * (g[:, -1:] - g[:, :1]) + b - start) / rate
        heat = self.diffusivity / h * (area / count + integral @ end)
        places = np.arange(n) / (n - 1)
        # sin at the points alone: every (count / (n - 1))-th of the grid
        sines = np.sin(np.pi * np.outer(k, places))
        field = g[:, -1:] * (1 - places) + b @ sines
        field[:, -1] = 0.0
        field[:, 0] = g[:, -1]
        return [field, flux, heat[:, None]]


def _change(before: list[Array], after: list[Array], size: list[Array]) -> Array:
    """Largest relative L2 change of several answers, (batch,)."""
    changes = [
        np.linalg.norm(a - b, axis=1) / np.where(s > 0, s, 1.0)
        for a, b, s in zip(after, before, size, strict=True)
    ]
    largest: Array = np.max(changes, axis=0)
    return largest
