"""The findings in words: the verdict, and a line about each part."""

from __future__ import annotations

from opkit.base.show import duration
from opkit.evaluate.ladder import FULL
from opkit.evaluate.pays.record import (
    BreakEven,
    Comparison,
    Exact,
    Pays,
    Rung,
    worthwhile,
)

ALIKE = 1.05
"""Ratio of times up to which they are called the same."""


def verdict(
    comparison: Comparison,
    rival: str | None,
    ratio: float | None,
    exact: Exact,
    cost: BreakEven,
    trivial: str = "",
    note: str = "",
) -> tuple[bool | None, float | None, str]:
    """Say in one line whether a surrogate pays, and by which comparison.

    Args:
        comparison: as `Pays.comparison`.
        rival: label of the solve it is held against.
        ratio: its seconds over the surrogate's.
        exact: the exact answer from the prediction.
        cost: what has to be paid back.
        trivial: which trivial predictor the surrogate is no better than.
        note: why there is no solver.

    Returns:
        `Pays.pays`, `Pays.queries` and `Pays.verdict`.
    """
    if trivial:
        return False, None, f"does not pay: {trivial}"
    if note:
        return None, None, f"not known: {note}"
    if rival is None or ratio is None:
        return None, None, "not known: no solve is as accurate as the surrogate"
    who = _who(comparison, rival)
    if ratio >= ALIKE:
        if cost.against_rival is None:
            return None, None, f"not known after how many queries: {cost.note}"
        line = f"pays after {_queries(cost.against_rival)} (against {who})"
        return True, cost.against_rival, line
    faster = "as fast" if ratio * ALIKE > 1 else f"{factor(1 / ratio)} times faster"
    line = f"does not pay: solve it ({who}{',' * (',' in who)} is {faster})"
    if exact.ratio is not None and exact.ratio >= ALIKE and cost.as_a_guess is not None:
        line += (
            "; as a first guess of exact solves it pays after "
            f"{_queries(cost.as_a_guess)}"
        )
    return False, None, line


def _who(comparison: Comparison, rival: str) -> str:
    if comparison == "equal error":
        return f"the cheapest solve of equal error, {rival}"
    if comparison == "full solve":
        return "the full solve, for no cheaper one is as accurate"
    if rival == FULL:
        return "the full solve, the cheapest that is known"
    return f"the cheapest solve, {rival}, which is more accurate"


def lines(pays: Pays) -> list[str]:
    """Return the findings, the verdict first, one part a line."""
    text = [f"{pays.verdict[0].upper()}{pays.verdict[1:]}."]
    text += [_ladder(pays), exact(pays.exact), paid_back(pays)]
    text += [f"{r.label} was not measured: {r.note}." for r in pays.rungs if r.note]
    timed = [rung for rung in pays.rungs if rung.seconds is not None]
    if beaten := len(timed) - len(worthwhile(pays.rungs)):
        text.append(f"Not in the table: solves that others beat ({beaten}).")
    text.append(conditions(pays))
    return [line for line in text if line]


def rows(pays: Pays) -> list[dict[str, str | float | None]]:
    """Return a table: the surrogate, the ladder, the exact answer from the prediction.

    Rungs that another one beats in time and error are left out. The last column is the
    time of a query over that of the surrogate.
    """
    own = Rung("surrogate", pays.relative_l2, pays.seconds, pays.seconds_in_batch)
    start = Rung(f"{FULL}, from the prediction", None, pays.exact.seconds)
    warm = [] if start.seconds is None else [start]
    table = []
    for rung in (own, *worthwhile(pays.rungs), *warm):
        equal = pays.comparison == "equal error" and rung.label == pays.rival
        alone, batch = rung.seconds, rung.seconds_in_batch
        table.append(
            {
                "method": rung.label + (" (equal error)" if equal else ""),
                "relative L2": rung.relative_l2,
                "a query": None if alone is None else duration(alone),
                "in batch": None if batch is None else duration(batch),
                "ratio": None if alone is None else f"{factor(alone / pays.seconds)}x",
            }
        )
    return table


def bars(pays: Pays) -> dict[str, float]:
    """Return name to seconds per query of what a figure compares."""
    seconds_of = {}
    for rung in pays.rungs:
        if rung.seconds is None:
            continue
        error = "" if rung.relative_l2 is None else f", error {rung.relative_l2:.2g}"
        if rung.label == FULL:
            seconds_of["full solve"] = rung.seconds
        elif rung.label == pays.rival:
            name = f"cheapest solve as accurate\n({rung.label}{error})"
            seconds_of[name] = rung.seconds
    if pays.exact.seconds is not None:
        seconds_of["full solve from the prediction"] = pays.exact.seconds
    error = f"surrogate (error {pays.relative_l2:.2g})"
    return {**seconds_of, error: pays.seconds}


def _ladder(pays: Pays) -> str:
    if pays.rival is None or pays.ratio is None:
        return pays.note and f"Not compared with a solver: {pays.note}."
    if pays.comparison == "equal error":
        who = f"the cheapest solve with at most its error ({pays.rival})"
    elif pays.comparison == "full solve":
        who = (
            "the full solve; every cheaper solve of the ladder is less accurate than "
            "the surrogate"
        )
    elif len([r for r in pays.rungs if r.seconds is not None]) == 1:
        who = "the full solve, of which no cheaper version is known"
    else:
        who = (
            f"the cheapest solve of the ladder ({pays.rival}), which is at least as "
            "accurate: what a solve of equal error takes is not known, and may be less"
        )
    text = f"One at a time the surrogate is {compared(pays.ratio)} {who}"
    if pays.ratio_in_batch is not None:
        text += f"; in batches it is {compared(pays.ratio_in_batch)} it"
    return f"{text}."


def exact(start: Exact) -> str:
    """Say what a start from the prediction saves an exact solve."""
    if start.ratio is None:
        return (
            f"No exact answer from the prediction: {start.note}." if start.note else ""
        )
    text = (
        f"The exact answer from the prediction is {compared(start.ratio)} that from "
        "nothing"
    )
    if start.count is not None and start.cold_count is not None:
        text += (
            f" ({start.count:.3g} {start.counted} in place of {start.cold_count:.3g})"
        )
    text += f"; both answers differ by {start.difference:.1g}"
    text += f"{', ' + start.note if start.note else ''}."
    if start.rival is not None and start.rival_seconds is not None:
        text += (
            f" {start.rival} is as accurate as the full solve and takes "
            f"{duration(start.rival_seconds)}."
        )
    return text


def paid_back(pays: Pays) -> str:
    """Say after how many queries generation and training are paid back."""
    cost = pays.break_even
    if cost.generation_seconds is None:
        return f"Not known what generation took: {cost.note}." if cost.note else ""
    about = "about " if cost.generation == "estimated" else ""
    text = (
        f"Generation took {about}{duration(cost.generation_seconds)}, training "
        f"{duration(cost.training_seconds)}. In place of full solves that is paid back "
        f"{_after(cost.against_exact)}"
    )
    if pays.rival not in (None, FULL):
        text += f", in place of {pays.rival} {_after(cost.against_rival)}"
    if pays.exact.ratio is not None:
        text += f", as a first guess of full solves {_after(cost.as_a_guess)}"
    return f"{text}{' (' + cost.note + ')' if cost.note else ''}."


def conditions(pays: Pays) -> str:
    """Say how it was measured."""
    clock = ", in processor time" if pays.processor_time else ""
    return (
        f"In one process, interleaved, medians of {pays.samples} {pays.split} samples "
        f"on {pays.device}; {pays.threads} thread(s), {pays.cores} cores, "
        f"load {pays.load[0]:.1f} to {pays.load[1]:.1f}{clock}. Errors are relative L2 "
        f"against the stored solutions ({pays.relative_l2_of_split:.3g} for the "
        "surrogate on the whole split)."
    )


def _after(number: float | None) -> str:
    return "never" if number is None else f"after {_queries(number)}"


def _queries(number: float) -> str:
    return "1 query" if number == 1 else f"{count(number)} queries"


def compared(ratio: float) -> str:
    """Return how fast it is, for a ratio of the other's seconds over its own."""
    if ratio >= ALIKE:
        return f"{factor(ratio)} times faster than"
    if ratio * ALIKE <= 1:
        return f"{factor(1 / ratio)} times slower than"
    return "as fast as"


def factor(ratio: float) -> str:
    """Write a ratio with two significant digits, without an exponent."""
    return f"{float(f'{ratio:.2g}'):,.10g}"


def count(number: float) -> str:
    """Write a number of queries with three significant digits."""
    return f"{float(f'{number:.3g}'):,.0f}"
