"""Solutions within a tolerance: predicted where that is good enough, else solved.

For each sample: the prediction is *accepted* if its input looks like the training
inputs and the conformal bound of its relative L2 error is at most the tolerance. Else
the case's solver goes on from the prediction (*refined*), or, where the solver takes no
first guess or the prediction is worse than none (residual >= 1), starts from nothing
(*solved*). With coverage 1 - α at most a part α of the inputs from the training
distribution end above the tolerance; for others the promise rests on being noticed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opkit.errors import OpkitInputError
from opkit.surrogate.adapters import arrays
from opkit.surrogate.checks.calibration import COVERAGE
from opkit.surrogate.checks.case_solver import Physics
from opkit.surrogate.checks.checker import Checker, Verdict

Array = NDArray[np.float64]
PART = 1e-3
"""Relative residual to which solvers iterate, as a part of the tolerance: the residual
bounds the error in the energy norm up to the square root of the contrast."""


@dataclass(frozen=True)
class Solved:
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
    """

    outputs: Any
    action: NDArray[np.str_]
    verdict: Verdict
    iterations: Array
    saved_iterations: Array
    seconds: dict[str, float]
    saved_seconds: float


def solve(
    checker: Checker,
    predict: Callable[..., Tensor],
    inputs: Any,
    tolerance: float,
    steps: int | None = None,
    static: Tensor | None = None,
    coverage: float = COVERAGE,
    significance: float = 0.05,
) -> Solved:
    """Predict for arrays of any kind, and solve where the prediction will not do.

    Args:
        checker: judges the predictions.
        predict: maps (batch, [history,] channel, *space) tensors, and boundary data
            where there are any, to outputs.
        inputs: what the user gave.
        tolerance: largest relative L2 error; for rollouts at every step.
        steps: of a rollout; None for one call.
        static: fields given at every step.
        coverage: 1 - α of the error bound.
        significance: inputs with a p-value up to this are taken for novel.

    Raises:
        OpkitInputError: inputs or a tolerance that cannot be.
        SolverError: the solver keeps no promise for one of the inputs.
    """
    record = checker.calibration.record
    if not tolerance > 0:
        raise OpkitInputError(f"tolerance {tolerance}: give a positive number")
    if tolerance < record.solver_error:
        raise OpkitInputError(
            f"tolerance {tolerance:g} is below the solver's own error on the grid of "
            f"this surrogate, {record.solver_error:.2g}: train one on the whole grid "
            "(subsample=1)"
        )
    arrays.refuse_lazy(inputs, "solving looks at values")
    physics = checker.physics or Physics(checker.config)
    found: list[dict[str, Any]] = []

    def once(x: Tensor, boundary: Tensor | None = None) -> Tensor:
        beside = static if boundary is None else boundary
        start = time.perf_counter()
        with torch.no_grad():
            made = predict(x) if boundary is None else predict(x, boundary)
        predicted = time.perf_counter()
        verdict = checker.judge(x, made, beside, coverage)
        judged = time.perf_counter()
        action = _decide(verdict, tolerance, significance, physics)
        outputs, counts, reached = _solve(
            physics, x, made, action, beside, PART * tolerance
        )
        seconds = {
            "predict": predicted - start,
            "check": judged - predicted,
            "solve": time.perf_counter() - judged,
        }
        found.append(
            {
                "action": action,
                "verdict": verdict,
                "iterations": counts,
                "saved_iterations": _saved(verdict, action, counts, reached),
                "seconds": seconds,
                "saved_seconds": _saved_seconds(action, seconds),
            }
        )
        return outputs

    outputs = arrays.apply(once, inputs, checker.config, steps)
    return Solved(outputs=outputs, **found[0])


def _decide(
    verdict: Verdict, tolerance: float, significance: float, physics: Physics
) -> NDArray[np.str_]:
    bound = verdict.error_bound
    bound = bound if bound.ndim == 1 else bound.max(1)
    action = np.full(len(bound), "solved", dtype="<U8")
    if physics.warm and verdict.residual is not None:
        action[verdict.residual < 1] = "refined"  # the residual of p = 0 is 1
    action[verdict.usual(significance) & (bound <= tolerance)] = "accepted"
    return action


def _solve(
    physics: Physics,
    inputs: Tensor,
    made: Tensor,
    action: NDArray[np.str_],
    beside: Tensor | None,
    rtol: float,
) -> tuple[Tensor, Array, Array]:
    outputs = made.detach().clone()
    iterations, reached = np.zeros(len(made)), np.full(len(made), np.nan)
    steps = made.shape[1] if physics.mode == "autoregressive" else 1
    for what in ("refined", "solved"):
        chosen = np.flatnonzero(action == what)
        if not len(chosen):
            continue
        rows = torch.from_numpy(chosen)
        solution = physics.solve(
            inputs[rows],
            made[rows] if what == "refined" else None,
            steps,
            None if beside is None else beside[rows],
            rtol,
        )
        outputs[rows] = solution.outputs.to(outputs)
        iterations[chosen], reached[chosen] = solution.iterations, solution.error
    return outputs, iterations, reached


def _saved(
    verdict: Verdict, action: NDArray[np.str_], count: Array, reached: Array
) -> Array:
    """Estimate the iterations from nothing, less those that were made.

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
