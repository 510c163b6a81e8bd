"""The first section: whether the surrogate pays, against the solver."""

from __future__ import annotations

from opkit.evaluate.pays import Pays, measure, words
from opkit.report.content import Picture, Row, Section, Table, number
from opkit.report.pictures import chart
from opkit.report.subject import Subject

SAMPLES = 8
"""Test samples that are solved again."""
REPEATS = 2
"""Times that each is measured."""
BUDGET = 60.0
"""Seconds after which no further sample begins."""
SMALLEST = 1e-16
"""In place of an error of 0, which a logarithmic axis cannot show."""


def section(subject: Subject) -> Section:
    """Measure the surrogate and the ladder of the solver; the verdict comes first."""
    data = subject.evaluation.data
    pays = measure(subject.surrogate, data, SAMPLES, REPEATS, BUDGET)
    text = tuple(words.lines(pays))
    rows = tuple(
        tuple(number(c) if isinstance(c, float) else c or "-" for c in row.values())
        for row in words.rows(pays)
    )
    columns = ("method", "relative L2", "a query", "in a batch", "of the surrogate")
    table = Table(
        "Error and time per query, one at a time and in batches.", columns, rows
    )
    pictures = (Row("", (_chart(pays),)),) if pays.rungs else ()
    return Section("pays", "Does it pay?", text, tables=(table,), rows=pictures)


def _chart(pays: Pays) -> Picture:
    """Error against time per query: down and to the left is better."""
    solves = [
        (rung.seconds, max(rung.relative_l2, SMALLEST))
        for rung in pays.rungs
        if rung.seconds is not None and rung.relative_l2 is not None
    ]
    groups = {
        "surrogate": [(pays.seconds, max(pays.relative_l2, SMALLEST))],
        "full solve": solves[:1],
        "cheaper solves": solves[1:],
    }
    lines = {
        name: ([s for s, _ in points], [e for _, e in points])
        for name, points in groups.items()
        if points
    }
    return chart(
        lines,
        ("seconds per query", "relative L2 error"),
        f"error against time per query of the surrogate and {len(solves)} solves: "
        f"{pays.verdict}",
        "Error against time per query, one at a time. Down and to the left is better.",
        log="xy",
        points=True,
    )
