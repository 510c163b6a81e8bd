"""Newton's method with load steps, and a start from a guess that may be bad.

    F(x; t) = 0,   J(x) dx = -F(x; t),   x ← x + s dx,   t from 0 to 1: the load.

A step keeps the last factorisation of J (a chord) for as long as the residual, which
goes on to shrink as it did last, reaches its tolerance within `CHORDS` more of them:
they cost as much as a new factorisation. What the corrections since the last
factorisation say about J changes the next one (Broyden's update of J⁻¹). s = 1 unless
the residual grows: then s is halved. Where rounding keeps
the residual above its tolerance, a correction below 1e-9 of x ends the iteration. The
path from t = 0 extrapolates its last two states; a step of it that fails is halved.

A guess at t = 1 is used only where its residual, perhaps after one correction, is below
that of a plain state which needs no solve; it may be scaled towards that state. Newton
from a guess must shrink the residual in every correction, else the path is taken.

Source of the update from stored corrections: Kelley, Iterative Methods for Linear and
Nonlinear Equations, SIAM 1995, section 7.3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, Protocol

import numpy as np

from opkit.base.arrays import Array
from opkit.errors import NotConvergedError

CHORDS = 12
"""Chords that cost as much as a factorisation of J, and what it takes after it: 115 ms
and 10 ms for flow with 28,000 unknowns, 35 and 4 ms for a solid with 12,000."""
_SMALLEST_STEP = 1 / 64
_ROUNDING = 1e-9

Start = Literal["cold", "guess", "scaled guess", "cold after guess"]


class System(Protocol):
    """Equations of one sample, for any load t in [0, 1]."""

    def residual(self, x: Array, load: float) -> float:
        """|F| over the size of its terms; infinite where x is not admissible."""
        ...

    def correction(self, x: Array, load: float, factorise: bool) -> Array:
        """Solve J dx = -F for dx, with J at x or where it was last factorised."""
        ...

    def label(self, load: float) -> str:
        """The load in words, such as ``stretch 0.83``."""
        ...


@dataclass(frozen=True)
class Numerics:
    """How far and how carefully to iterate.

    Args:
        tolerance: of the relative residual at the full load.
        load_steps: steps of the path from t = 0, where none fails.
        path_tolerance: of the residual before the full load.
        max_iterations: corrections for each load.
        smallest_step: of the load; a path that needs a smaller one has failed.
    """

    tolerance: float = 1e-8
    load_steps: int = 5
    path_tolerance: float = 1e-2
    max_iterations: int = 25
    smallest_step: float = 1 / 256


@dataclass
class Count:
    """Corrections (each a linear solve), factorisations, and steps of the path."""

    linear_solves: int = 0
    factorisations: int = 0
    load_steps: int = 0


@dataclass(frozen=True)
class State:
    """Where an iteration ended."""

    x: Array
    residual: float
    load: float
    start: Start
    count: Count = field(default_factory=Count)


def solve(
    system: System,
    zero: Array,
    plain: Array,
    numerics: Numerics,
    guess: Array | None = None,
    count: Count | None = None,
    accept: Callable[[Array], bool] = lambda x: True,
) -> State:
    """Solve F(x; 1) = 0.

    Args:
        system: the equations.
        zero: a solution at t = 0 or a guess of it: the path starts there.
        plain: a state at t = 1 that needs no solve; a guess has to be better.
        numerics: tolerance and steps.
        guess: a state at t = 1.
        count: continued where the guess itself has cost something.
        accept: is a solution reached from the guess the right one (stable)?

    Raises:
        NotConvergedError: no solution at t = 1; names the last load reached.
    """
    count = count or Count()
    start: Start = "cold"
    if guess is not None:
        x, start, fresh = _safe(system, guess, plain, count)
        if x is not None:
            state = _newton(
                system, x, 1.0, numerics, count, numerics.tolerance, True, fresh
            )
            if state is not None and accept(state[0]):
                return State(*state, 1.0, start, count)
        start = "cold after guess"
    x, residual = _path(system, zero, numerics, count)
    return State(x, residual, 1.0, start, count)


def _safe(
    system: System, guess: Array, plain: Array, count: Count
) -> tuple[Array | None, Start, bool]:
    """The guess, or a better point between it and the plain state, or none.

    With whether J has to be factorised there.
    """
    limit = system.residual(plain, 1.0)
    size = system.residual(guess, 1.0)
    if size < limit:
        return guess, "guess", True
    if np.isfinite(size):
        # A rough error has a large residual, and one correction removes it.
        trial = guess + _correct(system, guess, 1.0, True, count)
        if system.residual(trial, 1.0) < 0.5 * limit:
            return trial, "guess", False
    for s in (0.5, 0.25):
        trial = plain + s * (guess - plain)
        if system.residual(trial, 1.0) < 0.5 * limit:
            return trial, "scaled guess", True
    return None, "cold", True


def _path(
    system: System, zero: Array, numerics: Numerics, count: Count
) -> tuple[Array, float]:
    """Follow the solution from t = 0 to t = 1."""
    first = _newton(system, zero, 0.0, numerics, count, numerics.path_tolerance, False)
    if first is None:
        raise NotConvergedError(
            f"no solution found at {system.label(0.0)}, where the path of loads starts"
        )
    (x, residual), load = first, 0.0
    before: tuple[Array, float] | None = None
    step = 1 / numerics.load_steps
    while load < 1:
        target = load + step
        if target > 1 - 1e-9:
            target = 1.0
        start = x
        if before is not None:
            start = x + (target - load) / (load - before[1]) * (x - before[0])
        tolerance = numerics.tolerance if target == 1 else numerics.path_tolerance
        state = _newton(system, start, target, numerics, count, tolerance, False)
        if state is None:
            step /= 2
            if step < numerics.smallest_step:
                raise NotConvergedError(
                    f"no solution found at {system.label(target)}: the last load "
                    f"reached is {system.label(load)}, {100 * load:.3g} % of the way "
                    f"after {count.linear_solves} linear solves"
                )
            continue
        count.load_steps += 1
        before = (x, load)
        (x, residual), load = state, target
    return x, residual


def _newton(
    system: System,
    x: Array,
    load: float,
    numerics: Numerics,
    count: Count,
    tolerance: float,
    strict: bool,
    factorise: bool = True,
) -> tuple[Array, float] | None:
    """Newton at one load: the state and its residual, or nothing where it fails."""
    residual = system.residual(x, load)
    slow = 0
    steps: list[Array] = []  # since the last factorisation
    for _ in range(numerics.max_iterations):
        if residual <= tolerance:
            return x, residual
        dx = _correct(system, x, load, factorise, count)
        dx = dx if factorise else _updated(dx, steps)
        if not np.isfinite(dx).all():
            return None
        s, trial = 1.0, x + dx
        size = system.residual(trial, load)
        while factorise and not size < residual and s > _SMALLEST_STEP:
            s /= 2
            trial = x + s * dx
            size = system.residual(trial, load)
        if size > 0.5 * residual and _tiny(dx, x):
            return x, residual
        if not size < residual:
            if factorise:
                return None
            factorise = True  # the chord is of no use: stay, and factorise here
            continue
        slow = slow + 1 if factorise and size > 0.5 * residual else 0
        if slow == (2 if strict else 4):
            return None
        steps = [] if factorise else steps
        if s == 1:  # the update knows whole steps alone
            steps.append(dx)
        factorise = _many_chords(size, residual, tolerance)
        x, residual = trial, size
    return (x, residual) if residual <= tolerance else None


def _many_chords(size: float, before: float, tolerance: float) -> bool:
    """Whether a residual at this pace needs more than `CHORDS` corrections more."""
    return bool(tolerance < size and size * (size / before) ** CHORDS > tolerance)


def _updated(dx: Array, steps: list[Array]) -> Array:
    """Broyden's correction, of a chord and all corrections since the factorisation."""
    for step, after in pairwise(steps):
        dx = dx + after * ((step @ dx) / (step @ step))
    if not steps:
        return dx
    last = steps[-1]
    rest = 1 - (last @ dx) / (last @ last)
    # the update may not turn or blow up what the chord says
    return dx / rest if rest > 0.2 else dx


def _tiny(dx: Array, x: Array) -> bool:
    return bool(np.abs(dx).max() <= _ROUNDING * np.abs(x).max())


def _correct(
    system: System, x: Array, load: float, factorise: bool, count: Count
) -> Array:
    count.linear_solves += 1
    count.factorisations += factorise
    return system.correction(x, load, factorise)
