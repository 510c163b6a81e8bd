"""The sections on the case and on the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from opkit.datasets.header import Header
from opkit.report.content import Section, Table, number, pairs
from opkit.report.subject import Subject


def case_section(subject: Subject) -> Section:
    """Equation, parameters, boundary, distribution, fields, references."""
    case = subject.header.case
    fields = Table(
        "Fields",
        ("name", "role", "dims", "units"),
        tuple(
            (v.name, v.role, ", ".join(v.dims), v.units)
            for v in subject.header.variables
        ),
    )
    if not case:
        text = (
            "The data were imported without a case: equation and solver are unknown.",
        )
        return Section("case", "Case", text, tables=(fields,))
    geometry, solver = case.get("geometry", {}), case.get("solver", {})
    units = solver.get("units", {})
    extent = geometry.get("extent", {})
    facts = {
        "case": f"{case.get('name')}, version {case.get('version')}",
        "solver": str(solver.get("target", "")),
        "domain": ", ".join(f"{a} from {v[0]:g} to {v[1]:g}" for a, v in extent.items())
        + f" ({geometry.get('kind', 'grid')}, {geometry.get('units', '')})",
        "boundary": _sides(case.get("boundary", {})),
        "inputs drawn from": listed(case.get("distribution", {})),
    }
    parameters = Table(
        "Parameters of the solver",
        ("parameter", "value", "units"),
        tuple(
            (
                name,
                short(value),
                units.get(name, "") if isinstance(units, dict) else units,
            )
            for name, value in solver.get("parameters", {}).items()
        ),
    )
    laws = Table(
        "Parameters per sample",
        ("parameter", "law", "units"),
        tuple(
            (name, listed(_law(law)), str(law.get("units", "")))
            for name, law in case.get("parameters", {}).items()
        ),
    )
    words = (str(case.get("title", "")), str(case.get("equation", "")))
    references = tuple(f"Reference: {r}" for r in case.get("references", ()))
    with_laws = (laws,) if laws.rows else ()
    tables = (pairs("Problem", facts), parameters, *with_laws, fields)
    return Section("case", "Case", (*words, *references), tables=tables)


def _law(law: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a law says beside units and name."""
    hidden = ("units", "long_name", "size")
    return {k: v for k, v in law.items() if k not in hidden or (k == "size" and v)}


def data_section(subject: Subject) -> Section:
    """Splits, seed, hashes, grid, and the solver's own errors."""
    header, config = subject.header, subject.config
    error = subject.diagnostics.get("error")
    rows = []
    for split, where in header.splits.items():
        mine = None if error is None or not len(where) else error[where]
        rows.append(
            (
                split,
                str(len(where)),
                number(None if mine is None else float(np.median(mine))),
                number(None if mine is None else float(mine.max())),
            )
        )
    splits = Table(
        "Splits" + (f"; solver error: {subject.measure}" if subject.measure else ""),
        ("split", "samples", "median solver error", "largest solver error"),
        tuple(rows),
    )
    provenance = header.provenance
    same = subject.evaluation.same_data
    facts = {
        "file": subject.evaluation.data.name,
        "content hash (SHA-256)": subject.content_hash,
        "hash of the training data": config.provenance.data_hash,
        "grid of the file": ", ".join(f"{d} {n}" for d, n in header.sizes.items()),
        "meshes of the file": _meshes(header),
        "seed": "-" if header.seed is None else str(header.seed),
        "made with": ", ".join(
            f"{k} {v}" for k, v in provenance.items() if isinstance(v, str)
        ),
    }
    warnings = () if same else ("These are not the data the surrogate was trained on.",)
    tables = (splits, pairs("File", facts))
    return Section("data", "Data", warnings=warnings, tables=tables)


def _meshes(header: Header) -> str:
    """Say how large the meshes of a ragged file are; empty of others."""
    if header.shapes is None:
        return ""
    lengths = {p: np.diff(o) for p, o in header.shapes.offsets.items()}
    return "; ".join(f"{n.min()} to {n.max()} {p}s" for p, n in lengths.items())


def _sides(boundary: dict[str, Any]) -> str:
    """Name the condition on each side, or once where all are the same."""

    def words(side: dict[str, Any]) -> str:
        kind = str(side.get("kind"))
        return kind if kind == "periodic" else f"{kind}, {short(side.get('value', 0))}"

    conditions = {side: words(value) for side, value in boundary.items()}
    if len(set(conditions.values())) == 1:
        return f"{next(iter(conditions.values()))}, on all sides"
    return "; ".join(f"{side}: {word}" for side, word in conditions.items())


def listed(values: dict[str, Any]) -> str:
    """Return nested settings as ``key value, key value``, the kind first."""
    order = sorted(values, key=lambda key: key != "kind")
    return ", ".join(f"{key} {short(values[key])}" for key in order)


def short(value: Any) -> str:
    """Return one setting as text."""
    if isinstance(value, dict):
        return f"({listed(value)})"
    if isinstance(value, list | tuple):
        return (
            " × ".join(str(v) for v in value)
            if all(isinstance(v, int) for v in value)
            else ("(" + ", ".join(short(v) for v in value) + ")")
        )
    return f"{value:g}" if isinstance(value, float) else str(value)
