"""The first section: whether the surrogate pays, against the solver."""

from __future__ import annotations

import time

import numpy as np

from opkit.case.data import arrays_of
from opkit.case.record import parse_stored
from opkit.datasets.read import DataFile
from opkit.errors import OpkitError
from opkit.evaluate.pays import Pays, measure, words
from opkit.report.content import Picture, Row, Section, Table, number
from opkit.report.pictures import chart
from opkit.report.subject import Subject
from opkit.solvers.interface import MeshPerSample

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
    if subject.ragged:
        return Section("pays", "Does it pay?", _beside_solver(subject))
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


def _beside_solver(subject: Subject) -> tuple[str, ...]:
    """Time the surrogate and the solver on samples that have a mesh each.

    One query at a time, as `opkit.evaluate.pays` does, without cheaper solves.
    """
    solver = None
    if subject.header.case:
        try:
            solver = parse_stored(dict(subject.header.case), "the data").build_solver()
        except OpkitError as error:
            return (f"The solver was not timed: {error}",)
    rows = subject.header.splits[subject.split][:SAMPLES]
    seconds: dict[str, list[float]] = {"surrogate": [], "solver": []}
    with DataFile(subject.evaluation.data, trusted=True) as file:
        for index, row in enumerate(rows[: subject.count]):
            inputs = subject.one(index)[0]
            begun = time.perf_counter()
            subject.surrogate.predict(inputs)
            seconds["surrogate"].append(time.perf_counter() - begun)
            if not isinstance(solver, MeshPerSample):
                continue
            names = [v.name for v in subject.header.inputs]
            given = arrays_of(file.mesh(int(row))) | file.sample(int(row), names)
            batch = {k: np.asarray(v)[None] for k, v in given.items()}
            begun = time.perf_counter()
            solver.solve(batch)
            seconds["solver"].append(time.perf_counter() - begun)
    own = float(np.median(seconds["surrogate"]))
    text = f"A query takes {own:.2g} s, the median of {len(rows)}, one at a time"
    if not seconds["solver"]:
        return (f"{text}. No solver is known to compare with.",)
    full = float(np.median(seconds["solver"]))
    return (
        f"{text}; the solver takes {full:.2g} s on the same mesh, {full / own:.1f} "
        "times as long. Cheaper solves, which an approximate answer competes with, are "
        "not measured on meshes of their own.",
    )


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
