"""Solutions within a tolerance: predicted where that is good enough, else solved.

For each sample: the prediction is *accepted* if its input looks like the training
inputs, the conformal bound of its relative L2 error is at most the tolerance, and all
its readings are finite. Else the case's solver goes on from the prediction (*refined*),
or, where the solver takes no first guess or the prediction is worse than none (residual
>= 1, or not finite), starts from nothing (*solved*). The solver is needed only for
these. With tolerance 0 no prediction is accepted, and the solver reaches its own
accuracy: the exact answer, from the prediction where that helps.

With coverage 1 - α at most a part α of the inputs from the training distribution end
above the tolerance. For other inputs nothing is guaranteed unless a check of inputs
(novelty, range) flags them: then they are solved.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opkit.base.arrays import Array
from opkit.base.show import Shown
from opkit.base.thumbnail import pictures
from opkit.errors import CaseError, MissingExtraError, OpkitInputError, SolverError
from opkit.operators.inputs import Inputs
from opkit.surrogate.adapters import arrays
from opkit.surrogate.checks.calibration import COVERAGE
from opkit.surrogate.checks.case_solver import Answer, CaseSolver
from opkit.surrogate.checks.checker import Checker, Verdict
from opkit.surrogate.checks.quantities import chosen

PART = 1e-3
"""Relative residual to which solvers iterate, as a part of the tolerance: the residual
bounds the error in the energy norm up to the square root of the contrast."""


class Keeps(Protocol):
    """Something that keeps what the solver solved."""

    def check(self) -> None:
        """Refuse, before anything is solved, where nothing can be kept."""

    def add(self, answer: Answer, seconds: float) -> None:
        """Take solutions of a batch, and the processor seconds they took."""

    def keep(self) -> tuple[int, int]:
        """Keep what was added; say how many samples are new and how many are not."""
        ...


@dataclass(frozen=True, repr=False)
class Solved(Shown):
    """Solutions, what was done for each sample, and what it saved.

    Args:
        outputs: as an unchecked call returns predictions.
        action: (batch,) ``accepted``, ``refined`` or ``solved``.
        verdict: on the predictions.
        iterations: of the solver (batch,); 0 where accepted, NaN where it counts none.
        saved_iterations: estimate (batch,): the solver's convergence factor on the same
            sample, or the mean over the others where accepted; NaN where unknown.
        seconds: spent on ``predict``, ``check``, ``solve``.
        saved_seconds: at least so much less than to solve all, by the mean time of the
            samples that were solved; NaN where none was.
        stored: how many solutions were written to the store.
        known: how many were not, because the store held their inputs already.
        quantities: quantities of interest of the outputs by name, (batch,), or (batch,
            step) for rollouts; those of the predictions are in the verdict.
    """

    outputs: Any
    action: NDArray[np.str_]
    verdict: Verdict
    iterations: Array
    saved_iterations: Array
    seconds: dict[str, float]
    saved_seconds: float
    stored: int = 0
    known: int = 0
    quantities: Mapping[str, Array] = field(default_factory=dict)

    def _facts(self) -> dict[str, Any]:
        names, counts = np.unique(self.action, return_counts=True)
        done = {str(n): int(c) for n, c in zip(names, counts, strict=True)}
        return {
            "samples": len(self.action),
            **done,
            "seconds": self.seconds,
            "saved seconds": self.saved_seconds,
            "stored": self.stored or None,
        }

    def _pictures(self) -> dict[str, str]:
        return pictures(self.outputs)


def solve(
    checker: Checker,
    predict: Callable[[Inputs], Tensor],
    inputs: Any,
    tolerance: float,
    steps: int | None = None,
    static: Any = None,
    coverage: float = COVERAGE,
    significance: float = 0.05,
    quantity: str | None = None,
    store: Keeps | None = None,
) -> Solved:
    """Predict for arrays of any kind, and solve where the prediction will not do.

    Args:
        checker: judges the predictions.
        predict: maps `Inputs` to outputs.
        inputs: what the user gave.
        tolerance: largest relative L2 error; for rollouts at every step. 0 solves every
            sample to the solver's own accuracy.
        steps: of a rollout; None for one call.
        static: fields that stay as they are, where ``inputs`` does not hold them.
        coverage: 1 - α of the error bound.
        significance: inputs with a p-value up to this do not resemble training inputs.
        quantity: name of the quantity of interest whose error the tolerance is for, in
            its own units; the relative L2 error of all outputs where None.
        store: keeps what is solved, which then is solved to the case's own accuracy.

    Raises:
        OpkitInputError: inputs or a tolerance that cannot be.
        CaseError: a sample needs a solver, and the case's is not known here.
        MissingExtraError: a sample needs a solver that is not installed.
        SolverError: the solver cannot reach its accuracy for one of the inputs.
    """
    number = isinstance(tolerance, int | float | np.number)
    if not number or not 0 <= tolerance < np.inf:
        raise OpkitInputError(
            f"tolerance {tolerance}: give a positive number, or 0 for the solver's own "
            "accuracy"
        )
    number = isinstance(significance, int | float | np.number)
    if not number or not 0 <= significance < 1:
        raise OpkitInputError(
            f"significance {significance}: give a number from 0 to below 1"
        )
    arrays.refuse_lazy(inputs, "solving looks at values")
    if store is not None:
        store.check()
    records: list[dict[str, Any]] = []

    def once(batch: Inputs) -> Tensor:
        start = time.perf_counter()
        with torch.no_grad():
            prediction = predict(batch)
        predicted = time.perf_counter()
        verdict = checker.judge(batch, prediction, coverage, without_solver=True)
        judged = time.perf_counter()
        accepted = _accepted(verdict, tolerance, significance, quantity)
        action = np.full(len(accepted), "accepted", dtype="<U8")
        outputs = prediction.detach().clone()
        counts, reached = np.zeros(len(action)), np.full(len(action), np.nan)
        kept = (0, 0)
        if not accepted.all():
            case_solver = _solver(checker, accepted, tolerance)
            sound = outputs.flatten(1).isfinite().all(1).cpu().numpy()
            action[~accepted] = _start(verdict, case_solver, sound)[~accepted]
            rtol = PART * tolerance if tolerance and store is None else None
            try:
                counts, reached = _solve(
                    case_solver, batch, outputs, action, rtol, store
                )
            finally:  # also what was solved before a sample that cannot be
                if store is not None:
                    kept = store.keep()
            quantities = checker.quantities_of(batch, outputs)
        else:
            quantities = {name: q.value for name, q in verdict.quantities.items()}
        seconds = {
            "predict": predicted - start,
            "check": judged - predicted,
            "solve": time.perf_counter() - judged,
        }
        records.append(
            {
                "action": action,
                "verdict": verdict,
                "iterations": counts,
                "saved_iterations": _saved(verdict, action, counts, reached),
                "seconds": seconds,
                "saved_seconds": _saved_seconds(action, seconds),
                "stored": kept[0],
                "known": kept[1],
                "quantities": quantities,
            }
        )
        return outputs

    outputs = arrays.apply(once, inputs, checker.config, steps, static)
    return Solved(outputs=outputs, **records[0])


def _accepted(
    verdict: Verdict, tolerance: float, significance: float, quantity: str | None
) -> NDArray[np.bool_]:
    bound = verdict.error_bound
    if quantity is not None:
        bound = chosen(verdict.quantities, quantity).error_bound
    bound = bound if bound.ndim == 1 else bound.max(1)
    accepted = verdict.resembles_training(significance) & (bound <= tolerance)
    accepted &= tolerance > 0
    for values in verdict.readings.values():
        accepted &= np.isfinite(values)  # such as a rollout that blew up
    return accepted


def _solver(
    checker: Checker, accepted: NDArray[np.bool_], tolerance: float
) -> CaseSolver:
    """Return the case's solver, or say how many samples need one in vain."""
    count = int((~accepted).sum())
    need = f"{count} of {len(accepted)} predictions may be off by over {tolerance:g}"
    if not tolerance:
        need = f"an exact answer is wanted for {count} samples"
    floor = checker.calibration.record.solver_error
    if tolerance < floor:
        raise OpkitInputError(
            f"{need}, and the solver is itself off by up to {floor:.2g} on the grid of "
            "this surrogate: train one on the whole grid (subsample=1)"
        )
    try:
        return checker.context.case_solver
    except (CaseError, MissingExtraError) as error:
        raise type(error)(f"{need}, and there is no solver: {error}") from error


def _start(
    verdict: Verdict, case_solver: CaseSolver, sound: NDArray[np.bool_]
) -> NDArray[np.str_]:
    """Say for each sample where the solver begins: at the prediction, or at nothing.

    Args:
        verdict: on the predictions; without a residual it is left to the solver, whose
            ``solve_from`` drops a guess that does not help.
        case_solver: of the case.
        sound: whether a prediction is finite (batch,).
    """
    action = np.full(len(verdict.scale), "solved", dtype="<U8")
    if case_solver.warm:
        helps = sound.copy()
        if verdict.residual is not None:
            helps &= verdict.residual < 1  # the residual of p = 0 is 1
        action[helps] = "refined"
    return action


def _solve(
    case_solver: CaseSolver,
    inputs: Inputs,
    outputs: Tensor,
    action: NDArray[np.str_],
    rtol: float | None,
    store: Keeps | None,
) -> tuple[Array, Array]:
    """Put solutions in place of the predictions in ``outputs``.

    Where the solver fails from a prediction, it starts from nothing, and ``action`` is
    changed to say so.

    Returns:
        Iterations (batch,), 0 where there was no solve, and the error measure that the
        solver reached (batch,), NaN there.
    """
    iterations, reached = np.zeros(len(outputs)), np.full(len(outputs), np.nan)
    steps = outputs.shape[1] if case_solver.mode.history else 1

    def put(chosen: NDArray[np.int64], warm: bool) -> None:
        rows = torch.from_numpy(chosen)
        guess = outputs[rows] if warm else None
        begun = time.thread_time()
        solution = case_solver.solve(inputs.rows(rows), guess, steps, rtol)
        if store is not None:
            store.add(solution, time.thread_time() - begun)
        outputs[rows] = solution.outputs.to(outputs)
        iterations[chosen], reached[chosen] = solution.iterations, solution.error

    warm = np.flatnonzero(action == "refined")
    if len(warm):
        try:
            put(warm, True)
        except SolverError:  # of one sample: find it
            for row in warm:
                try:
                    put(np.array([row]), True)
                except SolverError:
                    action[row] = "solved"
    cold = np.flatnonzero(action == "solved")
    if len(cold):
        put(cold, False)
    return iterations, reached


def _saved(
    verdict: Verdict, action: NDArray[np.str_], count: Array, reached: Array
) -> Array:
    """Estimate the iterations from nothing, less those that were needed.

    k iterations from residual r to s shrink it by (s / r)^(1/k) each; from nothing,
    residual 1, they would have been k log s / log(s / r).
    """
    saved = np.full(len(count), np.nan)
    cold = np.where(action == "solved", count, np.nan)
    if verdict.residual is not None:
        refined = (action == "refined") & (count > 0) & (reached > 0)
        before, after = verdict.residual[refined], reached[refined]
        cold[refined] = count[refined] * np.log(after) / np.log(after / before)
    solved = action != "accepted"
    saved[solved] = cold[solved] - count[solved]
    if np.isfinite(cold).any():
        saved[~solved] = np.nanmean(cold)
    return saved


def _saved_seconds(action: NDArray[np.str_], seconds: dict[str, float]) -> float:
    solved = int((action != "accepted").sum())
    if not solved:
        return float("nan")
    each = seconds["solve"] / solved
    spent = seconds["predict"] + seconds["check"]
    return each * (len(action) - solved) - spent
