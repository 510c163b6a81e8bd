"""Heat in a rod whose one end follows a given temperature.

    ∂u/∂t = κ ∂²u/∂x² on (0, L), u(0, t) = g(t), u(L, t) = 0, u(x, 0) = 0,

from the series g, linear between its times, to the temperature at the last of them, the
series of the flux q(t) = -κ ∂u/∂x(L, t) that leaves at the other end, and the heat
∫ q dt that has left. Second-order differences in space, whose sine modes are advanced
exactly in time; grids of doubled numbers of intervals, extrapolated by Richardson's
rule, until the answers stand still. `DrivenRod` advances a given state, record by
record. Accuracy: docs/solvers-series.md.

Reference: Carslaw, Jaeger, Conduction of Heat in Solids, Oxford, 2nd ed. 1959, 3.3
(Duhamel's series, which the tests compare with).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from pydantic import Field
from scipy.fft import dst, idst

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
from opkit.solvers.records import largest_change, relative_change

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
                f"changes by {error[worst]:.2g} on {count} intervals, more than "
                f"rtol={self.rtol:g}: give a looser one, or a larger diffusivity",
                sample=worst,
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


class Driving(Record):
    """Laws of the temperature of the end, and of the initial temperature.

        u(x, 0) = √2 σ Σ_{k=1}^{K} ξ_k sin(k π x / L) (k π)^(-α)

    With ξ_k from N(0, 1): 0 at both ends, as `History` is at the beginning.

    Args:
        end: of the temperature of the end.
        terms: K.
        alpha: smoothness α.
        sigma: amplitude σ.
    """

    end: History = LAW
    terms: int = Field(default=8, ge=1, le=1000)
    alpha: float = Field(default=1.5, gt=0, le=20)
    sigma: float = Field(default=1.0, gt=0)

    def initial(self, rng: np.random.Generator, places: Array) -> Array:
        """Draw the initial temperature at places x / L."""
        waves = np.arange(1, self.terms + 1) * np.pi
        size = self.sigma * np.sqrt(2) * waves**-self.alpha
        state: Array = np.sin(np.outer(places, waves)) @ (
            size * rng.standard_normal(self.terms)
        )
        state[[0, -1]] = 0.0
        return state


DRIVING = Driving()


@per_sample("diffusivity")
@solver_dataclass
class DrivenRod:
    """Solver that advances the temperature of a rod by that of one end.

        ∂u/∂t = κ ∂²u/∂x² on (0, L), u(0, t) = g(t), u(L, t) = 0, u(x, 0) given,

    over records between which g is linear (`opkit.solvers.interface.Driven`). One step
    is linear in the state and in g at both of its ends: with ξ = x / L and the slope s
    of g, what g (1 - ξ) + s L² φ(ξ) / κ, φ = ξ²/2 - ξ³/6 - ξ/3, leaves of the state is
    a sum of sines through the nodes, each of which decays exactly. A step from nodes
    takes the sines that they do not tell apart for the longest of them: that is the
    whole error, and doubling the nodes measures it.

    Args:
        diffusivity: κ.
        resolution: (N,), points of the rod, its ends among them.
        records: steps; there is one time more.
        record_interval: time of a step.
        length: L.
        distribution: laws of the temperature of the end and of the initial one.
        rtol: change on doubling the intervals that is allowed (relative L2).
    """

    diffusivity: float = Field(gt=0)
    resolution: tuple[Annotated[int, Field(ge=3)]]
    records: int = Field(default=20, ge=1, le=100_000)
    record_interval: float = Field(default=0.05, gt=0)
    length: float = Field(default=1.0, gt=0)
    distribution: Driving = DRIVING
    rtol: float = Field(default=1e-4, ge=1e-11, le=0.1)

    def coordinates(self) -> Mapping[str, Coordinate]:
        """Times from 0 on, and points of the rod."""
        (n,) = self.resolution
        times = self.record_interval * np.arange(self.records + 1, dtype=np.float64)
        return {
            "time": Coordinate(times, long_name="time"),
            "x": Coordinate(np.linspace(0.0, self.length, n), long_name="x"),
        }

    def driven_by(self) -> tuple[str, ...]:
        """The temperature of the end."""
        return ("end_temperature",)

    def sides(self) -> Sides:
        """One end follows the input, the other is kept at 0."""
        return {
            "left": {"kind": "dirichlet", "value": "input"},
            "right": {"kind": "dirichlet", "value": 0.0},
        }

    def sample(self, rng: np.random.Generator) -> Fields:
        """Draw ``end_temperature`` (time,) and ``initial_temperature`` (x,)."""
        (n,) = self.resolution
        part = np.linspace(0.0, 1.0, self.records + 1)
        return {
            "end_temperature": self.distribution.end.sample(rng, part),
            "initial_temperature": self.distribution.initial(
                rng, np.linspace(0.0, 1.0, n)
            ),
        }

    def solve(self, inputs: Fields) -> Solution:
        """Solve for ``temperature`` (batch, time, x), its initial state first.

        Raises:
            OpkitInputError: wrong shape, or not finite.
            NotConvergedError: another number of nodes gives another answer.
        """
        g, state = self._given(inputs)
        records = self._records(state, g)
        finer = self._records(_doubled(state, g[:, :1]), g)[..., ::2]
        flat = (part.reshape(len(g), -1) for part in (records, finer))
        error = relative_change(*flat)
        if error.max(initial=0.0) > self.rtol:
            worst = int(error.argmax())
            raise NotConvergedError(
                f"changes by {error[worst]:.2g} on twice the intervals, more than "
                f"rtol={self.rtol:g}: give a looser one, or more points",
                sample=worst,
            )
        measure = "change on doubling the intervals in space (relative L2)"
        return Solution({"temperature": records}, error, measure)

    def residual(self, inputs: Fields, outputs: Fields) -> Array:
        """Advance each record again; largest relative L2 change of a record."""
        g, state = self._given(inputs)
        shape = (self.records + 1, *self.resolution)
        given = checked_field(outputs, "temperature", shape)
        check_counts(end_temperature=g, temperature=given)

        def change(before: int, after: int) -> Array:
            step = self._step(given[:, before], g[:, before : after + 1])
            return relative_change(given[:, after], step)

        worst = relative_change(given[:, 0], state)
        which = range(1, self.records + 1)
        return np.maximum(worst, largest_change(lambda k: k, change, which))

    def _given(self, inputs: Fields) -> tuple[Array, Array]:
        g = checked_field(inputs, "end_temperature", (self.records + 1,))
        state = checked_field(inputs, "initial_temperature", self.resolution)
        check_counts(end_temperature=g, initial_temperature=state)
        return g, state

    def _records(self, state: Array, g: Array) -> Array:
        """States (batch, time, x) from the first one on."""
        states = [state]
        for k in range(self.records):
            states.append(self._step(states[-1], g[:, k : k + 2]))
        return np.stack(states, 1)

    def _step(self, state: Array, ends: Array) -> Array:
        """State (batch, x) one interval later; g at both ends (batch, 2)."""
        places = np.linspace(0.0, 1.0, state.shape[1])
        decay = np.exp(
            -self.diffusivity
            * (np.pi * np.arange(1, len(places) - 1) / self.length) ** 2
            * self.record_interval
        )
        slope = np.diff(ends) / self.record_interval
        bend = places**2 / 2 - places**3 / 6 - places / 3
        steady = slope * self.length**2 / self.diffusivity * bend
        rest = (state - ends[:, :1] * (1 - places) - steady)[:, 1:-1]
        after = ends[:, 1:] * (1 - places) + steady
        after[:, 1:-1] += idst(decay * dst(rest, 1, axis=1), 1, axis=1)
        return after


def _doubled(state: Array, end: Array) -> Array:
    """State (batch, x) on twice the intervals, by the sines through its nodes."""
    count = state.shape[1] - 1
    line = 1 - np.linspace(0.0, 1.0, count + 1)
    sines = dst((state - end * line)[:, 1:-1], 1, axis=1) / count
    finer = np.zeros((len(state), 2 * count + 1))
    wide = np.pad(sines, ((0, 0), (0, count)))
    finer[:, 1:-1] = dst(wide, 1, axis=1) / 2
    return finer + end * (1 - np.linspace(0.0, 1.0, 2 * count + 1))
