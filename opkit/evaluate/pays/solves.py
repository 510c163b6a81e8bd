"""Answers of the solver: of each rung of its ladder, and from a prediction."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from opkit.base.arrays import Array
from opkit.errors import CaseError, MissingExtraError, OpkitInputError
from opkit.evaluate.pays.clock import Method
from opkit.evaluate.pays.record import Exact, Rung, worthwhile
from opkit.evaluate.pays.subject import Subject
from opkit.metrics import functional
from opkit.solvers.interface import Fields, Solution, Solver, TakesGuess, Tolerance
from opkit.surrogate.checks.interface import Context

CONDITION = 100.0
"""Part by which answers may differ beyond the tolerance: that bounds residuals, and the
condition of the equations stands between a residual and an error."""
ROUNDING = 10.0
"""Part of the full solve's error up to which a rung is as accurate."""
COUNTS = ("linear_solves", "iterations")
"""Numbers in ``Solution.details`` that say what a solve took, the better one first."""


class Solve:
    """A rung of the ladder, with the errors of its answers.

    The answers of the full solve are kept.
    """

    def __init__(
        self, label: str, solver: Solver, subject: Subject, full: bool
    ) -> None:
        self.label, self.solver, self._subject = label, solver, subject
        self._full = full
        self._errors: list[float] = []
        self.solutions: list[Solution] = []
        self.method = Method(self._run, self._keep)

    def in_batch(self, count: int) -> None:
        """Answer the first queries at once."""
        for some in self._subject.queries(count):
            self.solver.solve(some)

    def rung(self, seconds_in_batch: float | None) -> Rung:
        """Return what was measured."""
        if self.method.note:
            return Rung(self.label, note=self.method.note)
        return Rung(
            self.label,
            float(np.mean(self._errors)),
            self.method.median,
            seconds_in_batch,
        )

    def _run(self, i: int) -> Solution:
        solution = self.solver.solve(self._subject.query(i))
        for name, values in self._subject.truth[i].items():
            shape = np.shape(solution.outputs.get(name, ()))
            if shape != (1, *values.shape[1:]):
                raise OpkitInputError(
                    f"{self.label} gives {name} of shape {shape}, not "
                    f"{(1, *values.shape[1:])}"
                )
        return solution

    def _keep(self, i: int, solution: Solution) -> None:
        self._errors.append(self._subject.error(i, solution.outputs))
        if self._full:
            self.solutions.append(solution)


class Start:
    """The exact answer from the prediction, beside that from nothing."""

    def __init__(
        self, subject: Subject, solver: Solver | None, full: Solve | None
    ) -> None:
        self._subject, self._full = subject, full
        self.method = Method(self._run, self._keep)
        self._solutions: list[Solution] = []
        self._solver: TakesGuess | None = None
        self._stored: Callable[[Tensor], Fields] | None = None
        if solver is None:
            self.method.note = "no solver"
            return
        loaded = subject.loaded
        if not isinstance(solver, TakesGuess):
            self.method.note = "the solver takes no first guess"
        elif loaded.config.recipe.subsample > 1:
            stride = loaded.config.recipe.subsample
            self.method.note = (
                f"the surrogate predicts at one in {stride} points along each axis, "
                "which is no first guess for the solver (train with subsample=1)"
            )
        elif loaded.model.history:
            self.method.note = "frames of a rollout are no first guess"
        else:
            self._solver = solver
            try:
                context = Context(loaded.config, loaded.model)
                self._stored = context.case_solver.as_stored
            except (CaseError, MissingExtraError) as error:
                self.method.note = str(error)

    def exact(self, rungs: Sequence[Rung]) -> Exact:
        """Return what was measured.

        Args:
            rungs: of the ladder, the full solve first.
        """
        full, note = self._full, self.method.note
        if note or full is None or full.method.note or self._solver is None:
            return Exact(note=note or "the full solve failed")
        seconds, cold = self.method.median, full.method.median
        assert seconds is not None and cold is not None
        pairs = list(zip(self._solutions, full.solutions, strict=True))
        difference = max(_difference(a.outputs, b.outputs) for a, b in pairs)
        tolerance = (
            self._solver.rtol
            if isinstance(self._solver, Tolerance)
            else max(float(np.max(b.error)) for _, b in pairs)
        )
        agree = difference <= CONDITION * tolerance
        best = _as_accurate(rungs, tolerance)
        counted = next((k for k in COUNTS if k in pairs[0][0].details), "")
        counts = [_count(side, counted) for side in zip(*pairs, strict=True)]
        return Exact(
            seconds=seconds,
            cold_seconds=cold,
            ratio=cold / seconds,
            counted=counted.replace("_", " "),
            count=counts[0],
            cold_count=counts[1],
            difference=difference,
            tolerance=tolerance,
            agree=agree,
            rival=best.label if best else None,
            rival_seconds=best.seconds if best else None,
            note="" if agree else f"above the solver's tolerance, {tolerance:.1g}",
        )

    def _run(self, i: int) -> Solution:
        assert self._solver is not None and self._stored is not None
        guess = self._stored(self._subject.predict(i))
        return self._solver.solve_from(self._subject.query(i), guess)

    def _keep(self, i: int, solution: Solution) -> None:
        self._solutions.append(solution)


def _as_accurate(rungs: Sequence[Rung], tolerance: float) -> Rung | None:
    """Return the fastest rung as accurate as the full solve, unless that is faster."""
    full, *others = worthwhile(rungs)
    limit = max(ROUNDING * (full.relative_l2 or 0.0), tolerance)
    good = [r for r in others if r.relative_l2 is not None and r.relative_l2 <= limit]
    best = min([full, *good], key=lambda rung: rung.seconds or 0.0)
    return None if best is full else best


def _count(solutions: Sequence[Solution], name: str) -> float | None:
    if not name:
        return None
    return float(np.mean([np.mean(s.details[name]) for s in solutions]))


def _difference(answer: Fields, other: Fields) -> float:
    """Largest relative L2 difference of a field."""
    return max(
        _relative(np.asarray(answer[name]), np.asarray(other[name])) for name in other
    )


def _relative(u: Array, v: Array) -> float:
    first, second = (
        torch.from_numpy(np.array(x, np.float64)).flatten(1)[:, None] for x in (u, v)
    )
    return float(functional.relative_l2(first, second).max())
