"""The least value of a dear function, with a cheap model of it that may be wrong.

    minimise f(z)   subject to   low <= z <= high,   c(z) >= 0

f is dear, a solver; m is cheap, a surrogate. Each round has a search and, where that
fails, a poll:

- search: the best point, within a box around the best one known, of m + s · z is
  evaluated by f. Broyden's update of s makes up for what m missed along the last move.
- poll: f at the best point ± the radius along each axis, in the order in which the
  model likes them, until one is better.

The box becomes twice as large as the move to a better point. A search fails that gains
less than a quarter of what the model promised, or moves less than a quarter of the box;
a poll without a better point shrinks the box. The poll alone converges for any m, so a
wrong model costs evaluations and not the optimum; only values of f are ever accepted.

Sources: Audet, Dennis, Mesh adaptive direct search, SIAM J. Optim. 17 (2006),
doi:10.1137/040603371; Booker et al., A rigorous framework for optimization of expensive
functions by surrogates, Struct. Optim. 17 (1999), doi:10.1007/BF01197708.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import minimize

from opkit.base.arrays import Array
from opkit.errors import OpkitInputError

Value = Callable[[Array], float]
Model = Callable[[Array], tuple[float, Array]]
"""Maps z (n,) to a value and its gradient (n,)."""

GROW, SHRINK = 2.0, 0.25
"""The box over the move to a better point, and after a poll without one."""
WORTH = 0.25
"""Part of the promised gain, and of the radius, that a search has to reach."""
LARGEST = 0.5
"""Largest radius of the box, in parts of the bounds' width."""
SLACK = 1e-8
"""By how much a constraint may be violated, from rounding."""


@dataclass(frozen=True)
class Optimum:
    """What `minimise_function` hands back.

    Args:
        z: the best point that was evaluated.
        value: f(z).
        evaluations: of f.
        history: the best value after each evaluation.
        radius: of the box at the end, in parts of the bounds' width.
        ended: ``radius``, it fell below the tolerance: no point on the last polls is
            better; ``model``, without polls: the corrected model sees no better point
            and was right where it was asked; ``budget``, all evaluations were spent.
    """

    z: Array
    value: float
    evaluations: int
    history: tuple[float, ...]
    radius: float
    ended: Literal["radius", "model", "budget"]


def minimise_function(
    dear: Value,
    model: Model | None,
    low: Array,
    high: Array,
    *,
    start: Array | None = None,
    constraint: Callable[[Array], Array] | None = None,
    budget: int = 100,
    radius: float = 0.2,
    tolerance: float = 1e-3,
    enough: float = 0.0,
    poll: bool = True,
) -> Optimum:
    """Minimise a dear function with a cheap model of it.

    Args:
        dear: f; a value that is not finite counts as worse than any.
        model: m with its gradient; None polls alone.
        low: least z (n,).
        high: largest z (n,).
        start: first point; the middle of the bounds where None.
        constraint: c, cheap and smooth; all components have to be 0 or more.
        budget: evaluations of f at most.
        radius: of the first box, in parts of the bounds' width.
        tolerance: radius at which to stop, in the same parts.
        enough: relative gain below which a search is not worth an evaluation.
        poll: poll where a search fails. Without it, and with a good model, a few
            evaluations are enough; with a bad one the answer may be no optimum.

    Returns:
        The best point that f was evaluated at.

    Raises:
        OpkitInputError: bounds, start or numbers that cannot be; no point of the box
            fulfils the constraint; f is not finite at the start.
    """
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    if low.ndim != 1 or low.shape != high.shape or not (low < high).all():
        raise OpkitInputError(f"bounds {low} and {high}: give low < high, one each")
    if not (budget >= 1 and 0 < tolerance <= radius <= LARGEST):
        raise OpkitInputError(
            f"budget {budget}, radius {radius:g}, tolerance {tolerance:g}: give a "
            f"budget from 1 on, and 0 < tolerance <= radius <= {LARGEST}"
        )
    first = (low + high) / 2 if start is None else np.asarray(start, np.float64)
    if first.shape != low.shape or not np.isfinite(first).all():
        raise OpkitInputError(f"start {first}: give {len(low)} finite numbers")
    return _Search(dear, model, low, high, constraint, budget).run(
        first, radius, tolerance, enough, poll
    )


class _Search:
    """One run, in coordinates of the unit box.

    Args:
        dear: f.
        model: m.
        low: least z.
        high: largest z.
        constraint: c.
        budget: evaluations of f at most.
    """

    def __init__(
        self,
        dear: Value,
        model: Model | None,
        low: Array,
        high: Array,
        constraint: Callable[[Array], Array] | None,
        budget: int,
    ) -> None:
        self.dear, self.model, self.constraint = dear, model, constraint
        self.low, self.width, self.budget = low, high - low, budget
        self.slope = self.best = np.zeros_like(low)  # s, in the unit box
        self.value = np.inf
        self.history: list[float] = []
        self.seen: list[Array] = []

    def run(
        self, start: Array, radius: float, tolerance: float, enough: float, poll: bool
    ) -> Optimum:
        best = self.feasible(np.clip((start - self.low) / self.width, 0, 1))
        if best is None:
            raise OpkitInputError(
                "no point near the start fulfils the constraint within the bounds: "
                "give another start or wider bounds"
            )
        value = self.evaluate(best)
        if not np.isfinite(value):
            raise OpkitInputError(
                f"the function is {value} at the start: give another start"
            )
        self.best, self.value = best, value
        ended: Literal["radius", "model", "budget"] = "budget"
        while self.left:
            asked = len(self.history)
            move = self.search(radius, enough)
            if not move and poll:
                move = self.poll(radius)
            if move:
                radius = min(max(radius, GROW * move), LARGEST)
            elif len(self.history) == asked and not poll:
                ended = "model"
                break
            elif self.left:
                radius *= SHRINK
            if radius < tolerance:
                ended = "radius"
                break
        return Optimum(
            self.low + self.best * self.width,
            self.value,
            len(self.history),
            tuple(self.history),
            radius,
            ended,
        )

    def search(self, radius: float, enough: float) -> float:
        """Evaluate the model's best point; return the move, 0 if the search fails."""
        start, value = self.best, self.value
        trial = self.proposal(radius, enough * abs(value))
        if trial is None:
            return 0.0
        promised = self.modelled(start)[0] - self.modelled(trial)[0]
        move = self.tried(trial)
        good = value - self.value >= WORTH * promised and move >= WORTH * radius
        return move if good else 0.0

    def poll(self, radius: float) -> float:
        """Evaluate points around the best one until one is better; return the move."""
        size = len(self.best)
        steps = np.concatenate([np.eye(size), -np.eye(size)]) * radius
        points = [self.feasible(np.clip(self.best + step, 0, 1)) for step in steps]
        new = [point for point in points if point is not None]
        values = [self.modelled(point)[0] for point in new]
        for k in np.argsort(values, kind="stable"):
            if self.left and not self.known(new[k]):
                move = self.tried(new[k])
                if move:
                    return move
        return 0.0

    def tried(self, point: Array) -> float:
        """Evaluate f, correct the model, and go there if it is better; by how far."""
        found, old = self.evaluate(point), self.best
        self.correct(old, point, self.value, found)
        if not found < self.value:
            return 0.0
        self.best, self.value = point, found
        return float(np.abs(point - old).max())

    @property
    def left(self) -> int:
        """Evaluations that are left."""
        return self.budget - len(self.history)

    def evaluate(self, unit: Array) -> float:
        """Return f, infinite where it is not finite, and count."""
        value = float(self.dear(self.low + unit * self.width))
        value = value if np.isfinite(value) else np.inf
        self.seen.append(unit)
        self.history.append(min(value, *self.history[-1:], np.inf))
        return value

    def modelled(self, unit: Array) -> tuple[float, Array]:
        """Return m + s · z and its gradient in the unit box."""
        if self.model is None:
            return 0.0, np.zeros_like(unit)
        value, gradient = self.model(self.low + unit * self.width)
        own = np.asarray(gradient, np.float64) * self.width
        return float(value) + float(self.slope @ unit), own + self.slope

    def proposal(self, radius: float, enough: float) -> Array | None:
        """Return the model's best point in the box; None where it has no better one."""
        if self.model is None:
            return None
        here, _ = self.modelled(self.best)
        size = abs(here) or 1.0

        def scaled(unit: Array) -> tuple[float, Array]:
            value, gradient = self.modelled(unit)
            return (value - here) / size, gradient / size

        found = self.inner(scaled, self.best, self.best, radius)
        if found is None or self.known(found):
            return None
        return found if here - self.modelled(found)[0] > max(enough, 0.0) else None

    def correct(self, old: Array, new: Array, before: float, after: float) -> None:
        """Broyden's update: the corrected model then has the change that f had."""
        if self.model is None or not np.isfinite(after):
            return
        move = new - old
        missed = after - before - (self.modelled(new)[0] - self.modelled(old)[0])
        changed = self.slope + missed * move / float(move @ move)
        if np.isfinite(changed).all():
            self.slope = changed

    def feasible(self, unit: Array) -> Array | None:
        """Return the nearest point that fulfils the constraint; None without one."""
        if self.constraint is None or self.holds(unit):
            return unit

        def distance(point: Array) -> tuple[float, Array]:
            return 0.5 * float((point - unit) @ (point - unit)), point - unit

        return self.inner(distance, unit, unit, 1.0)

    def inner(
        self,
        function: Callable[[Array], tuple[float, Array]],
        start: Array,
        centre: Array,
        radius: float,
    ) -> Array | None:
        """Minimise a cheap function in a box under the constraint; None if it fails."""
        constraints = []
        if self.constraint is not None:
            constraints = [{"type": "ineq", "fun": self.margin}]
        lower, upper = np.maximum(centre - radius, 0), np.minimum(centre + radius, 1)
        result = minimize(
            function,
            start,
            jac=True,
            method="SLSQP",
            bounds=np.stack([lower, upper], 1),
            constraints=constraints,
            options={"ftol": 1e-10, "maxiter": 100},
        )
        point: Array = np.clip(result.x, lower, upper)
        return point if np.isfinite(point).all() and self.holds(point) else None

    def margin(self, unit: Array) -> Array:
        """Return c at a point of the unit box."""
        assert self.constraint is not None
        values = self.constraint(self.low + unit * self.width)
        return np.atleast_1d(np.asarray(values, np.float64))

    def holds(self, unit: Array) -> bool:
        """Whether a point fulfils the constraint, up to rounding."""
        return self.constraint is None or bool((self.margin(unit) >= -SLACK).all())

    def known(self, unit: Array) -> bool:
        """Whether f was evaluated there already."""
        return any(np.abs(unit - other).max() < 1e-12 for other in self.seen)
