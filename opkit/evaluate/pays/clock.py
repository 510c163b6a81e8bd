"""Times of several methods on the same samples, measured in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from opkit.errors import OpkitInputError, SolverError

Clock = Callable[[], float]
SHORT = 0.05
"""Seconds below which an answer is timed as one of a stream of queries."""
STREAM = 32
"""Queries of a stream at most."""


@dataclass
class Method:
    """One way to answer a query.

    Args:
        run: answers query i.
        keep: takes the answer to query i, once and off the clock.
        optional: whether it is left out where it refuses a query, and not an error.
        seconds: of each query, one per repeat.
        note: why it was left out.
    """

    run: Callable[[int], Any]
    keep: Callable[[int, Any], None] = lambda i, answer: None
    optional: bool = True
    seconds: list[list[float]] = field(default_factory=list)
    note: str = ""

    @property
    def median(self) -> float | None:
        """Median over queries of the median over repeats; None where left out."""
        if self.note or not self.seconds:
            return None
        return float(np.median([np.median(times) for times in self.seconds]))


class Stopwatch:
    """Measures until a budget is spent.

    Args:
        budget: seconds; what has begun is finished.
        clock: seconds since some moment.
    """

    def __init__(self, budget: float, clock: Clock = time.perf_counter) -> None:
        self._clock, self._end = clock, clock() + budget

    @property
    def left(self) -> float:
        """Seconds of the budget that are left; negative beyond it."""
        return self._end - self._clock()

    def interleave(self, methods: Sequence[Method], queries: int, repeats: int) -> int:
        """Time all methods on the first query, then on the second, and so on.

        Each method answers the first query before, so that plans and compiled code are
        there. The order of the methods rotates. Where an answer takes less than
        `SHORT`, the median over a stream of queries that fills that time counts: caches
        then hold what the method reads, and threads of the method before have gone to
        sleep. A method that refuses a query is left out of all.

        Args:
            methods: ways to answer.
            queries: at most so many; at least one is timed.
            repeats: of every query, at most.

        Returns:
            Queries that were timed.
        """
        for method in methods:
            self._tried(method, 0)
        done = 0
        for repeat in range(repeats):
            for i in range(done if repeat else queries):
                if done and self.left <= 0:
                    return done
                turn = i % len(methods)
                for method in (*methods[turn:], *methods[:turn]):
                    self._timed(method, i, queries, first=not repeat)
                done = max(done, i + 1)
        return done

    def _timed(self, method: Method, i: int, queries: int, first: bool) -> None:
        answer, seconds = self._clocked(method, i)
        stream: list[float] = []
        while sum(stream) < SHORT and len(stream) < STREAM and seconds < SHORT:
            stream.append(self._clocked(method, (i + len(stream)) % queries)[1])
        if method.note:
            return
        seconds = float(np.median(stream)) if stream else seconds
        if first:
            method.keep(i, answer)
            method.seconds.append([])
        method.seconds[i].append(seconds)

    def _clocked(self, method: Method, i: int) -> tuple[Any, float]:
        begin = self._clock()
        answer = self._tried(method, i)
        return answer, self._clock() - begin

    @staticmethod
    def _tried(method: Method, i: int) -> Any:
        if method.note:
            return None
        try:
            return method.run(i)
        except (SolverError, OpkitInputError) as error:
            if not method.optional:
                raise
            method.note = str(error)
            return None
