"""What is measured to tell whether a surrogate pays, and the arithmetic of it.

Seconds are wall clock (or `Pays.processor_time`) per sample, medians over samples. None
stands for what could not be measured; a ``note`` beside it says why in one line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Comparison = Literal["equal error", "full solve", "cheapest solve", "none"]
"""What the surrogate's time is held against:

- ``equal error``: the cheapest solve with at most the surrogate's error; a cheaper one
  was tried and is worse;
- ``full solve``: the same, and that is the full solve: every other one is worse;
- ``cheapest solve``: the cheapest solve of all, which is at least as accurate as the
  surrogate: what a solve of equal error takes is not known;
- ``none``: no solve is as accurate, or there is no solver.
"""


@dataclass(frozen=True)
class Rung:
    """One solve of the ladder, the full one first.

    Args:
        label: of the ladder.
        relative_l2: against the stored solution.
        seconds: per sample, one at a time.
        seconds_in_batch: per sample, all samples in one call.
        note: why it was not measured.
    """

    label: str
    relative_l2: float | None = None
    seconds: float | None = None
    seconds_in_batch: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Exact:
    """The exact answer from the prediction, and from nothing.

    Args:
        seconds: of prediction and solve from it.
        cold_seconds: of the solve from nothing.
        ratio: cold_seconds / seconds.
        counted: which number of ``Solution.details`` the counts are.
        count: mean per sample, from the prediction.
        cold_count: the same from nothing.
        difference: largest relative L2 between both answers.
        tolerance: of the solver.
        agree: whether the difference is within the tolerance, as far as that bounds it.
        rival: label of the cheapest rung that is as accurate as the full solve and
            faster; None where there is none.
        rival_seconds: of that rung.
        note: why there is none, or what is wrong with it.
    """

    seconds: float | None = None
    cold_seconds: float | None = None
    ratio: float | None = None
    counted: str = ""
    count: float | None = None
    cold_count: float | None = None
    difference: float | None = None
    tolerance: float | None = None
    agree: bool | None = None
    rival: str | None = None
    rival_seconds: float | None = None
    note: str = ""


@dataclass(frozen=True)
class BreakEven:
    """Queries until generation and training are paid back; None where they never are.

    Args:
        generation_seconds: processor seconds of all samples of the training data.
        generation: where that number comes from.
        training_seconds: of the bundle.
        against_exact: predictions in place of full solves.
        against_rival: predictions in place of what `Pays.rival` names.
        as_a_guess: exact answers from predictions in place of those from nothing, or
            of `Exact.rival`, which is faster.
        note: what is missing.
    """

    generation_seconds: float | None = None
    generation: Literal["stored", "estimated", "unknown"] = "unknown"
    training_seconds: float = 0.0
    against_exact: float | None = None
    against_rival: float | None = None
    as_a_guess: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Pays:
    """Whether a surrogate pays, and every number behind it.

    Args:
        verdict: one line in words.
        pays: whether it does; None where that is not known.
        queries: after how many, by the comparison that decided.
        comparison: what the surrogate is held against.
        rival: label of that solve.
        ratio: seconds of the rival over those of the surrogate, one at a time.
        ratio_in_batch: the same in batches.
        relative_l2: of the surrogate, on the measured samples.
        relative_l2_of_split: the same, on the whole split.
        seconds: of the surrogate per sample, one at a time.
        seconds_in_batch: the same, ``batch`` at a time.
        batch: samples in a batch of the surrogate.
        rungs: full solve and ladder, dearest first as the solver says.
        exact: the exact answer from the prediction.
        break_even: what has to be paid back.
        note: why there is no solver.
        data: file of the samples.
        split: of the file.
        samples: that were measured.
        repeats: of every measurement, at most.
        budget_seconds: after which no further measurement began.
        device: of the surrogate.
        threads: of torch, BLAS and OpenMP.
        cores: of the machine.
        load: of the machine over one minute, before and after.
        processor_time: whether seconds are those that the thread was at work.
    """

    verdict: str
    pays: bool | None
    queries: float | None
    comparison: Comparison
    rival: str | None
    ratio: float | None
    ratio_in_batch: float | None
    relative_l2: float
    relative_l2_of_split: float
    seconds: float
    seconds_in_batch: float
    batch: int
    rungs: tuple[Rung, ...]
    exact: Exact
    break_even: BreakEven
    note: str
    data: str
    split: str
    samples: int
    repeats: int
    budget_seconds: float
    device: str
    threads: int
    cores: int
    load: tuple[float, float]
    processor_time: bool = False


def rival(rungs: Sequence[Rung], target: float) -> tuple[Comparison, Rung | None]:
    """Return the solve that a surrogate of this error competes with.

    Args:
        rungs: the full solve first.
        target: the surrogate's error.
    """
    timed = [(rung.seconds, rung) for rung in rungs if rung.seconds is not None]
    good = [(s, rung) for s, rung in timed if _at_most(rung.relative_l2, target)]
    if not good:
        return "none", None
    seconds, best = min(good, key=lambda pair: pair[0])
    if all(other >= seconds for other, _ in timed):
        return "cheapest solve", best
    return ("full solve" if best is rungs[0] else "equal error"), best


def worthwhile(rungs: Sequence[Rung]) -> list[Rung]:
    """Return the full solve, and the rungs that no other one beats.

    A rung beats another that it is faster than and at least as accurate as.

    Args:
        rungs: the full solve first.
    """
    timed = [
        (rung.seconds, rung.relative_l2, rung)
        for rung in rungs
        if rung.seconds is not None and rung.relative_l2 is not None
    ]
    return [
        rung
        for seconds, error, rung in timed
        if rung is rungs[0] or not any(s < seconds and e <= error for s, e, _ in timed)
    ]


def queries(fixed: float | None, dear: float | None, cheap: float) -> float | None:
    """Return the queries after which a fixed cost is paid back; None for never.

    N = fixed / (dear - cheap)

    Args:
        fixed: seconds spent before the first query.
        dear: seconds per query without that.
        cheap: seconds per query with it.
    """
    if fixed is None or dear is None or not dear > cheap:
        return None
    return float(math.ceil(fixed / (dear - cheap)))


def _at_most(error: float | None, target: float) -> bool:
    return error is not None and error <= target
