"""Measure whether a surrogate pays: the surrogate, the ladder, and the exact answer.

Everything runs in one process, sample by sample in turn, so that a change of the
machine's load meets all methods alike.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from opkit.base.threads import one_thread
from opkit.errors import CaseError, MissingExtraError, OpkitInputError
from opkit.evaluate.ladder import FULL, rungs
from opkit.evaluate.pays import record, words
from opkit.evaluate.pays.clock import Clock, Method, Stopwatch
from opkit.evaluate.pays.cost import fixed_cost
from opkit.evaluate.pays.record import Pays
from opkit.evaluate.pays.solves import Solve, Start
from opkit.evaluate.pays.subject import POINTS, Subject
from opkit.evaluate.run import data_of
from opkit.solvers.interface import Solver
from opkit.surrogate import surrogate
from opkit.surrogate.surrogate import Surrogate

BATCH = 64
"""Samples that the surrogate answers at once."""


def measure(
    run: str | Path | Surrogate,
    data: Path | None = None,
    samples: int = 8,
    repeats: int = 3,
    budget: float = 120.0,
    processor_time: bool = False,
) -> Pays:
    """Measure times and errors on samples of the test split, and say whether it pays.

    Solver and surrogate alike run on one thread meanwhile (`one_thread`).

    Args:
        run: run directory or bundle, or a surrogate loaded from one.
        data: data file; the one the run was trained on where not given.
        samples: of the split, spread over it, at most.
        repeats: of every measurement, at most.
        budget: seconds after which no further sample begins.
        processor_time: count the seconds that the thread was at work in place of those
            that passed: on a machine that is busy with other things.

    Raises:
        OpkitInputError: numbers that cannot be, or processor time of another device.
        BundleError: no bundle, or its data file is not known or gone.
        CaseError: the data are of another case.
        DataError: the data cannot be read.
    """
    if samples < 1 or repeats < 1 or not budget > 0:
        raise OpkitInputError(
            f"{samples} samples, {repeats} repeats, budget {budget:g} s: give at least "
            "one sample, one repeat, and more than 0 seconds"
        )
    loaded = run if isinstance(run, Surrogate) else surrogate.load(run)
    if processor_time and loaded.device.type != "cpu":
        raise OpkitInputError(
            f"the surrogate is on {loaded.device}, whose work is not in the time of a "
            "thread: load it on the cpu, or leave processor time away"
        )
    path = data_of(loaded, data)
    clock = time.thread_time if processor_time else time.perf_counter
    with one_thread(), torch.no_grad():
        pays = _measured(loaded, path, samples, repeats, budget, clock)
    return replace(pays, processor_time=processor_time)


def _measured(
    loaded: Surrogate,
    path: Path,
    samples: int,
    repeats: int,
    budget: float,
    clock: Clock,
) -> Pays:
    split = loaded.config.split_in(path)
    load = os.getloadavg()[0]
    subject = Subject.of(loaded, path, split, samples)
    solver, note = _solver(subject)
    ladder = []
    if solver is not None:
        below = rungs(subject.case, solver, subject.error_of_split)
        ladder = [Solve(FULL, solver, subject, full=True)]
        ladder += [Solve(label, rung, subject, full=False) for label, rung in below]
    start = Start(subject, solver, ladder[0] if ladder else None)
    own = Method(subject.predict, subject.keep, optional=False)
    methods = [own, *(solve.method for solve in ladder), start.method]
    watch = Stopwatch(budget, clock)
    count = watch.interleave(methods, len(subject.inputs), repeats)
    batch, in_batch = _batches(subject, ladder, count, repeats, watch)
    steps = tuple(
        solve.rung(seconds) for solve, seconds in zip(ladder, in_batch[1:], strict=True)
    )
    error = float(np.mean(subject.errors))
    comparison, best = record.rival(steps, error)
    alone, together = own.median or 0.0, in_batch[0] or 0.0
    ratio = _ratio(best.seconds if best else None, alone)
    ratio_in_batch = _ratio(best.seconds_in_batch if best else None, together)
    exact = start.exact(steps)
    full = steps[0].seconds if steps else None
    cost = fixed_cost(loaded, path, full, alone, best.seconds if best else None, exact)
    trivial = next(
        (flag for flag in loaded.config.flags if flag.startswith("not better than ")),
        "",
    )
    pays, queries, verdict = words.verdict(
        comparison, best.label if best else None, ratio, exact, cost, trivial, note
    )
    return Pays(
        verdict=verdict,
        pays=pays,
        queries=queries,
        comparison=comparison,
        rival=best.label if best else None,
        ratio=ratio,
        ratio_in_batch=ratio_in_batch,
        relative_l2=error,
        relative_l2_of_split=subject.error_of_split,
        seconds=alone,
        seconds_in_batch=together,
        batch=batch,
        rungs=steps,
        exact=exact,
        break_even=cost,
        note=note,
        data=str(path),
        split=split,
        samples=count,
        repeats=repeats,
        budget_seconds=budget,
        device=str(loaded.device),
        threads=torch.get_num_threads(),
        cores=os.cpu_count() or 1,
        load=(load, os.getloadavg()[0]),
    )


def _ratio(dear: float | None, cheap: float) -> float | None:
    return None if dear is None else dear / cheap


def _solver(subject: Subject) -> tuple[Solver | None, str]:
    """Return the case's solver, or why there is none."""
    if not subject.header.case:
        return None, "imported data name no case, so no solver is known"
    try:
        return subject.case.build_solver(), ""
    except (CaseError, MissingExtraError) as error:
        return None, str(error)


def _batches(
    subject: Subject,
    ladder: Sequence[Solve],
    count: int,
    repeats: int,
    watch: Stopwatch,
) -> tuple[int, list[float | None]]:
    """Time batches of the surrogate, and of the ladder as far as the budget allows.

    Returns:
        The size of the surrogate's batch, and seconds per sample of the surrogate and
        of each rung; None where there was no time.
    """
    numbers = int(subject.targets[0].nelement())
    size = max(min(BATCH, POINTS // numbers), 1)
    parts = subject.batch(size, count)

    def predict(_: int) -> None:
        for part in parts:
            subject.loaded.predict(part, subject.steps).cpu()

    def solve(step: Solve, _: int) -> None:
        step.in_batch(count)

    sizes = [size]
    methods = [Method(predict, optional=False)]
    spare = watch.left
    for step in ladder:
        alone = step.method.median
        needed = None if alone is None else 2 * alone * count
        method = Method(partial(solve, step))
        if needed is None or needed > spare or count == 1:
            method.note = "no time"
        else:
            spare -= needed
        methods.append(method)
        sizes.append(count)
    watch.interleave(methods, 1, repeats)
    return size, [
        None if m.median is None else m.median / n
        for m, n in zip(methods, sizes, strict=True)
    ]
