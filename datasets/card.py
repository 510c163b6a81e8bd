"""What is in a data file, as plain data: for people, tables and model cards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from opkit.datasets.header import Header, VariableSpec
from opkit.datasets.read import DataFile

SAMPLED = 64  # samples that ranges are taken from


def card(path: str | Path) -> dict[str, Any]:
    """Describe a data file.

    Returns:
        ``problem``, ``variables`` (a list of rows), ``dimensions`` (a list of rows),
        ``meshes`` (of a ragged file, else None), ``splits``, ``solver_error``,
        ``storage``, ``origin``: JSON types only. Ranges of variables come from
        `SAMPLED` evenly spaced samples.

    Raises:
        DataError: missing, damaged, hostile, or not of this format.
    """
    with DataFile(path) as file:
        header = file.header
        raw = header.samples * header.sample_nbytes
        raw += 0 if header.shapes is None else header.shapes.nbytes
        stored = file.path.stat().st_size
        return {
            "problem": _problem(header),
            "variables": [_row(file, v) for v in header.variables],
            "dimensions": _dimensions(header),
            "meshes": _meshes(file),
            "splits": {name: len(rows) for name, rows in header.splits.items()},
            "solver_error": _errors(file),
            "storage": {
                "bytes": stored,
                "raw_bytes": raw,
                "ratio": stored / raw,
                "samples": header.samples,
                "bytes_per_sample": header.sample_nbytes,
            },
            "origin": {
                "seed": header.seed,
                "content_hash": file.stored_hash(),
                **header.provenance,
            },
        }


def _problem(header: Header) -> dict[str, Any]:
    case = header.case
    solver = case.get("solver", {})
    return {
        "case": f"{case['name']}-v{case['version']}" if "name" in case else None,
        "title": case.get("title"),
        "equation": case.get("equation"),
        "references": list(case.get("references", ())),
        "solver": solver.get("target"),
        "parameters": solver.get("parameters", {}),
        "laws": {
            name: {k: v for k, v in law.items() if k != "long_name" and v is not None}
            for name, law in case.get("parameters", {}).items()
        },
        "distribution": case.get("distribution", {}),
        "boundary": case.get("boundary", {}),
    }


def _row(file: DataFile, variable: VariableSpec) -> dict[str, Any]:
    count = min(len(file), SAMPLED)
    rows = np.unique(np.linspace(0, len(file) - 1, count).astype(np.int64))
    flat = file.header.ragged and not variable.is_whole
    if flat:
        parts = [file.read(variable.name, int(row)) for row in rows]
        values = np.concatenate(parts).astype(np.float64)
    else:
        values = file.read(variable.name, rows).astype(np.float64)
    place = variable.dims[0] if flat else ""
    return {
        "name": variable.name,
        "role": variable.role,
        "dims": place or ", ".join(("sample", *variable.stored_dims)),
        "shape": f"{len(file)} x {_range(file, place)}"
        if flat
        else " x ".join(map(str, (len(file), *variable.shape))),
        "type": variable.dtype,
        "units": variable.units,
        "smallest": float(values.min()),
        "mean": float(values.mean()),
        "largest": float(values.max()),
        "deviation": float(values.std()),
    }


def _range(file: DataFile, place: str) -> str:
    """Fewest and most nodes, cells or facets of a sample of a ragged file."""
    assert file.header.shapes is not None
    counts = np.diff(file.header.shapes.offsets[place])
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low} to {high}"


def _meshes(file: DataFile) -> dict[str, Any] | None:
    """What the meshes of a ragged file are, and how large."""
    shapes = file.header.shapes
    if shapes is None:
        return None
    kinds = {"cells": "from the cells", "equal": "equal, sum 1 (no cells)"}
    return {
        "dimension": shapes.dimension,
        "corners": shapes.corners,
        **{f"{place}s": _range(file, place) for place in shapes.places},
        "weights": kinds[shapes.weights],
        "boundary_parts": list(shapes.parts),
    }


def _dimensions(header: Header) -> list[dict[str, Any]]:
    rows = []
    for name, length in header.sizes.items():
        axis = header.coordinates.get(name)
        rows.append(
            {
                "name": name,
                "length": length,
                "first": None if axis is None else float(axis.values[0]),
                "last": None if axis is None else float(axis.values[-1]),
                "units": None if axis is None else axis.units,
            }
        )
    return rows


def _errors(file: DataFile) -> dict[str, Any] | None:
    error = file.diagnostics().get("error")
    if error is None:
        return None
    return {
        "measure": file.measure,
        "median": float(np.median(error)),
        "largest": float(error.max()),
        "sample": int(error.argmax()),
    }
