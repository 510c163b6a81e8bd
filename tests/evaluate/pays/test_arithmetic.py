"""Which solve a surrogate competes with, and when it is paid back: by hand."""

from __future__ import annotations

import itertools
import math

import pytest

from opkit.base.show import duration
from opkit.errors import NotConvergedError
from opkit.evaluate.pays.clock import Method, Stopwatch
from opkit.evaluate.pays.record import (
    BreakEven,
    Exact,
    Rung,
    queries,
    rival,
    worthwhile,
)
from opkit.evaluate.pays.words import compared, count, exact, factor, verdict


def ladder(*errors_and_seconds: tuple[float | None, float | None]) -> list[Rung]:
    names = ("solver", "half", "quarter", "eighth")
    pairs = zip(names, errors_and_seconds, strict=False)
    return [Rung(name, error, seconds) for name, (error, seconds) in pairs]


def test_equal_error_needs_a_cheaper_solve_that_is_worse() -> None:
    rungs = ladder((1e-8, 8.0), (0.01, 2.0), (0.2, 0.5))
    assert rival(rungs, 0.1) == ("equal error", rungs[1])
    # even the cheapest solve is better than 0.5: what 0.5 takes is not known
    assert rival(rungs, 0.5) == ("cheapest solve", rungs[2])
    # 1e-3 lies between the full solve and the first rung
    assert rival(rungs, 1e-3) == ("full solve", rungs[0])
    assert rival(rungs, 1e-9) == ("none", None)
    assert rival([], 0.1) == ("none", None)


def test_a_rung_that_is_unexpectedly_better_is_the_rival() -> None:
    rungs = ladder((1e-8, 8.0), (0.3, 4.0), (0.05, 2.0), (0.4, 1.0))
    assert rival(rungs, 0.1) == ("equal error", rungs[2])
    rungs = ladder((1e-8, 8.0), (0.05, 4.0), (0.3, 2.0), (0.01, 1.0))
    assert rival(rungs, 0.1) == ("cheapest solve", rungs[3])


def test_a_ladder_is_in_order_of_time_not_of_names() -> None:
    # the coarse solve takes longer than the full one: it is no cheaper solve
    rungs = ladder((1e-8, 1.0), (0.2, 2.0))
    assert rival(rungs, 0.1) == ("cheapest solve", rungs[0])


def test_rungs_that_failed_or_blew_up_are_no_rivals() -> None:
    rungs = ladder((1e-8, 8.0), (math.nan, 2.0))
    assert rival(rungs, 0.1) == ("full solve", rungs[0])
    rungs = ladder((1e-8, 8.0), (None, None))
    assert rival(rungs, 0.1) == ("cheapest solve", rungs[0])


def test_rungs_that_others_beat_are_left_out_but_never_the_full_solve() -> None:
    rungs = ladder((1e-8, 2.0), (1e-8, 1.0), (0.2, 3.0), (0.3, 0.5))
    assert worthwhile(rungs) == [rungs[0], rungs[1], rungs[3]]
    assert worthwhile(ladder((1e-8, 2.0), (None, None))) == [Rung("solver", 1e-8, 2.0)]
    assert worthwhile([]) == []


def test_an_exact_rung_that_is_faster_than_the_full_solve_is_named() -> None:
    start = Exact(
        seconds=1.0, cold_seconds=4.0, ratio=4.0, difference=1e-9, agree=True,
        counted="linear solves", count=3.0, cold_count=12.0,
        rival="half", rival_seconds=2.0,
    )  # fmt: skip
    assert exact(start) == (
        "The exact answer from the prediction is 4 times faster than that from nothing "
        "(3 linear solves in place of 12); both answers differ by 1e-09. half is as "
        "accurate as the full solve and takes 2 s."
    )


def test_break_even_by_hand() -> None:
    # 1000 s of generation and training; 2.5 s a solve, 0.5 s a prediction
    assert queries(1000.0, 2.5, 0.5) == 500
    assert queries(1001.0, 2.5, 0.5) == 501
    assert queries(0.0, 2.5, 0.5) == 0
    assert queries(1000.0, 0.5, 0.5) is None
    assert queries(1000.0, 0.4, 0.5) is None
    assert queries(None, 2.5, 0.5) is None
    assert queries(1000.0, None, 0.5) is None


COST = BreakEven(1000.0, "stored", 10.0, 200.0, 500.0, 800.0)
GUESS = Exact(seconds=1.0, cold_seconds=4.0, ratio=4.0)


def test_verdicts() -> None:
    alone = Exact(note="the solver takes no first guess")
    assert verdict("equal error", "half", 4.0, alone, COST) == (
        True,
        500.0,
        "pays after 500 queries (against the cheapest solve of equal error, half)",
    )
    assert verdict("equal error", "half", 0.5, alone, COST) == (
        False,
        None,
        "does not pay: solve it (the cheapest solve of equal error, half, is 2 times "
        "faster)",
    )
    line = verdict("cheapest solve", "solver", 1.0, alone, COST)[2]
    known = "the full solve, the cheapest that is known"
    assert line == f"does not pay: solve it ({known}, is as fast)"
    assert verdict("cheapest solve", "half", 2.0, alone, COST)[2] == (
        "pays after 500 queries (against the cheapest solve, half, which is more "
        "accurate)"
    )


def test_a_first_guess_may_pay_where_a_prediction_does_not() -> None:
    pays, after, line = verdict("equal error", "half", 0.5, GUESS, COST)
    assert (pays, after) == (False, None)
    assert line.endswith("as a first guess of exact solves it pays after 800 queries")


def test_what_is_no_better_than_the_mean_never_pays() -> None:
    flag = "not better than the mean predictor: relative L2 0.3 against 0.2"
    found = verdict("equal error", "half", 100.0, GUESS, COST, flag)
    assert found == (False, None, f"does not pay: {flag}")


@pytest.mark.parametrize(
    ("value", "text"),
    [(7200.0, "2 h"), (150.0, "2.5 min"), (90.0, "90 s"), (0.0032, "3.2 ms")],
)
def test_times_are_written_with_a_unit(value: float, text: str) -> None:
    assert duration(value) == text


def test_ratios_and_counts_are_written_without_exponents() -> None:
    assert [factor(x) for x in (0.12345, 3.149, 1234.0)] == ["0.12", "3.1", "1,200"]
    assert [count(x) for x in (7, 1234, 98765)] == ["7", "1,230", "98,800"]
    assert compared(2.0) == "2 times faster than"
    assert compared(0.5) == "2 times slower than"
    assert compared(1.01) == "as fast as"


class Clock:
    """A clock that methods set forward."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def takes(self, *durations: float) -> Method:
        turns = itertools.cycle(durations)

        def run(_: int) -> None:
            self.now += next(turns)

        return Method(run)


def test_medians_over_queries_of_medians_over_repeats() -> None:
    clock = Clock()
    steady, shaky = clock.takes(2.0), clock.takes(1.0, 1.0, 5.0, 3.0)
    watch = Stopwatch(1e9, clock)
    # the first turn is no measurement: then queries take (1, 1), (5, 1), (3, 5)
    assert watch.interleave([steady, shaky], 3, 2) == 3
    assert steady.median == 2.0
    assert shaky.seconds == [[1.0, 1.0], [5.0, 1.0], [3.0, 5.0]]
    assert shaky.median == 3.0


def test_a_budget_ends_after_the_query_that_exceeds_it() -> None:
    clock = Clock()
    method = clock.takes(10.0)
    assert Stopwatch(25.0, clock).interleave([method], 8, 3) == 2
    assert method.seconds == [[10.0], [10.0]]
    late = clock.takes(10.0)
    assert Stopwatch(1.0, clock).interleave([late], 8, 3) == 1  # one at least


def test_a_method_that_refuses_is_left_out_and_says_why() -> None:
    clock = Clock()

    def picky(i: int) -> None:
        if i == 1:
            raise NotConvergedError("query 1 is too hard")

    kept: list[int] = []
    good = clock.takes(1.0)
    good.keep = lambda i, _: kept.append(i)
    bad = Method(picky)
    assert Stopwatch(1e9, clock).interleave([good, bad], 3, 2) == 3
    assert (bad.median, bad.note) == (None, "query 1 is too hard")
    assert kept == [0, 1, 2]
    needed = Method(picky, optional=False)
    with pytest.raises(NotConvergedError):
        Stopwatch(1e9, clock).interleave([needed], 3, 2)
