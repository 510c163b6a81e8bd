"""The plain endpoint: arrays by name as nested lists, and the verdict on them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field, JsonValue

from opkit.errors import OpkitInputError
from opkit.serve.asked import MOST_VALUES, Asked, Worker
from opkit.serve.settings import Settings
from opkit.serve.vectors import Part
from opkit.surrogate.checks.checker import Verdict
from opkit.surrogate.checks.fallback import Solved


class Question(Settings):
    """Inputs by name, and the settings of a request.

    Args:
        inputs: a number or nested lists for each input; with one more axis in front for
            a batch.
        check: whether a prediction comes with a verdict.
    """

    inputs: dict[str, JsonValue] = Field(min_length=1)
    check: bool = False

    def agree(self) -> None:
        """Refuse settings that exclude each other."""
        super().agree()
        if self.check and self.level != "surrogate":
            raise OpkitInputError(
                f"check belongs to level surrogate: level {self.level} has a verdict"
            )


def worker(question: Question) -> Worker:
    """Say whether the solver may be needed, which may take long."""
    quick = question.level == "surrogate" and not question.check
    return "quick" if quick else "solver"


def answer(asked: Asked, question: Question) -> dict[str, Any]:
    """Answer a question.

    Returns:
        ``outputs`` by name, ``level``, ``seconds``; with a check or of level
        ``checked`` and ``solver`` a ``verdict``, which is on the prediction, and of
        these levels ``action`` and the ``quantities`` of the outputs. What is one
        number per sample is a number for one sample and a list for a batch.

    Raises:
        OpkitInputError: inputs or settings that cannot be.
        BundleError: a verdict of a bundle without calibration.
        SolverError: the solver cannot reach its accuracy.
    """
    question.agree()
    begun = time.perf_counter()
    arrays, batched = _arrays(asked, question.inputs)
    parts = asked.outputs(question)
    _refuse_many(asked, question, arrays, batched)
    steps, surrogate = asked.steps(question), asked.surrogate
    verdict: Verdict | None = None
    reply: dict[str, Any] = {}
    if question.level == "surrogate":
        if question.check:
            checked = asked.check(arrays, steps, question.coverage)
            values, verdict = checked.prediction, checked
        elif steps is None:
            values = surrogate(arrays)
        else:
            values = surrogate.rollout(arrays, steps)
    else:
        exact = question.level == "solver"
        tolerance = None if exact else question.tolerance
        solved: Solved = surrogate.solve(
            arrays, tolerance, steps, coverage=question.coverage, exact=exact
        )
        values, verdict = solved.outputs, solved.verdict
        reply["action"] = _each(solved.action, batched)
        reply["quantities"] = {
            name: _each(value, batched) for name, value in solved.quantities.items()
        }
    shown = {
        part.name: _listed(values[part.name], part, question, batched) for part in parts
    }
    reply = {"outputs": shown, "level": question.level, **reply}
    if verdict is not None:
        reply["verdict"] = verdict_of(verdict, batched)
    return {**reply, "seconds": round(time.perf_counter() - begun, 6)}


def verdict_of(verdict: Verdict, batched: bool) -> dict[str, Any]:
    """Return a verdict as plain data; null where a number is infinite or NaN."""
    return {
        "error_bound": _each(verdict.error_bound, batched),
        "coverage": verdict.coverage,
        "resembles_training": _each(verdict.resembles_training(), batched),
        "readings": {k: _each(v, batched) for k, v in verdict.readings.items()},
        "p_values": {k: _each(v, batched) for k, v in verdict.p_values.items()},
        "quantities": {
            name: {
                "value": _each(q.value, batched),
                "error_bound": _each(q.error_bound, batched),
                "units": q.units,
            }
            for name, q in verdict.quantities.items()
        },
    }


def _arrays(asked: Asked, inputs: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return float64 arrays by name, and whether they have a batch axis.

    Raises:
        OpkitInputError: a variable is missing, unknown, ragged, of another shape or
            holds no numbers.
    """
    names = [part.name for part in asked.inputs]
    others = sorted(inputs.keys() - set(names))
    if others:
        raise OpkitInputError(
            f"there is no input {', '.join(others)}: give {', '.join(names)}"
        )
    arrays, batches = {}, set()
    for part in asked.inputs:
        if part.name not in inputs:
            raise OpkitInputError(f"inputs lack {part.name}: give {', '.join(names)}")
        values = _numbers(part, inputs[part.name])
        full = values.ndim == len(part.shape) + 1
        if values.shape[int(full) :] != part.shape:
            lengths = ", ".join(map(str, part.shape))
            raise OpkitInputError(
                f"{part.name} has shape {_written(values.shape)}: give ({lengths}), "
                "or as many with a batch axis in front"
            )
        if not np.isfinite(values).all():
            raise OpkitInputError(f"{part.name} holds NaN or infinity")
        batches.add(len(values) if full else None)
        arrays[part.name] = values
    if len(batches) > 1:
        raise OpkitInputError("inputs of different numbers of samples")
    (count,) = batches
    if count == 0:
        raise OpkitInputError("a batch of no samples: give one or more")
    return arrays, count is not None


def _numbers(part: Part, given: Any) -> Any:
    try:
        values = np.asarray(given)
    except ValueError:
        raise OpkitInputError(
            f"{part.name} is ragged: give lists of one length on each level"
        ) from None
    if values.dtype.kind not in "fiu":
        raise OpkitInputError(f"{part.name} holds something that is no number")
    return values.astype(np.float64)


def _refuse_many(
    asked: Asked, question: Question, arrays: Mapping[str, Any], batched: bool
) -> None:
    count = len(next(iter(arrays.values()))) if batched else 1
    one = sum(part.size for part in asked.outputs(question))
    if count * one > MOST_VALUES:
        raise OpkitInputError(
            f"{count} samples are more than {MOST_VALUES:,} numbers: ask for at most "
            f"{MOST_VALUES // one} at once"
        )


def _listed(values: Any, part: Part, question: Question, batched: bool) -> Any:
    values = np.asarray(values, np.float64)
    if question.nodes is not None:
        lead = (len(values),) if batched else ()
        values = values.reshape(*lead, part.size)[..., question.nodes]
    return values.tolist()


def _each(values: Any, batched: bool) -> Any:
    """Return what is there for each sample: a list for a batch, else the one."""
    rows = [_finite(row) for row in np.asarray(values).tolist()]
    return rows if batched else rows[0]


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _written(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"
