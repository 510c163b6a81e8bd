"""What a page draws of the variables of one sample: values and where they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from opkit.case.contract import points_of
from opkit.operators.shapes import MeshShape
from opkit.serve.vectors import Part, mover
from opkit.surrogate import Surrogate
from opkit.surrogate.adapters.arrays import batch_of
from opkit.surrogate.adapters.refuse import POINTS

MOST_CHANNELS = 4
"""Components of one variable that are drawn."""
DIGITS = 5
CORNERS = {3: 3, 6: 3}
"""Nodes of a cell in the plane to its corners, which come first."""


def pictures(
    surrogate: Surrogate, parts: Sequence[Part], arrays: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return one picture for each component of each variable.

    Of frames the last is drawn, of a box the middle slice across its first axis. A
    picture has ``name``, ``units`` and ``kind``: ``number``, ``line`` (with values at
    even places), ``image`` (values row after row), ``nodes`` or ``cells`` of the mesh.
    """
    drawn = []
    for part in parts:
        values = np.asarray(arrays[part.name], np.float64)
        field = part.role in ("fields", "static") or _is_field(surrogate, part)
        space = len(_axes(surrogate, part)) if field else 0
        if field and part.axes[0] == "time" and len(part.axes) > space:
            values = values[-1]
        split = "component" in part.axes
        for name, one in _components(part, values, split):
            drawn.append(
                {"name": name, "units": part.units, **_drawn(one, part, field)}
            )
    return drawn


def _is_field(surrogate: Surrogate, part: Part) -> bool:
    outputs = surrogate.config.outputs
    return any(v.name == part.name and v.kind == "field" for v in outputs)


def _axes(surrogate: Surrogate, part: Part) -> tuple[str, ...]:
    config = surrogate.config
    if part.role == "outputs":
        return config.axes
    return config.shape.input_axes(config.axes)


def _components(part: Part, values: Any, split: bool) -> list[tuple[str, Any]]:
    if not split:
        return [(part.name, values)]
    several = zip(range(MOST_CHANNELS), values, strict=False)
    return [(f"{part.name} {k + 1}", one) for k, one in several]


def _drawn(values: Any, part: Part, field: bool) -> dict[str, Any]:
    last = part.axes[-1] if part.axes else ""
    if values.ndim == 0:
        return {"kind": "number", "values": [_short(values)]}
    if field and last in ("node", "cell"):
        return {"kind": f"{last}s", "values": _listed(values)}
    if values.ndim == 1:
        return {"kind": "line", "values": _listed(values), "along": last}
    while values.ndim > 2:
        values = values[len(values) // 2]
    rows, columns = values.shape
    return {
        "kind": "image",
        "rows": rows,
        "columns": columns,
        "values": _listed(values),
    }


def places(surrogate: Surrogate, arrays: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return where nodes lie: extents of a grid, or points and triangles.

    Args:
        surrogate: whose.
        arrays: inputs of a sample; None of the reference.
    """
    config, shape = surrogate.config, surrogate.shape
    moved = None if arrays is None else _moved(surrogate, arrays)
    if isinstance(shape, MeshShape):
        points = shape.points if moved is None else moved
        corners = CORNERS.get(shape.cells.shape[1])
        if points.shape[1] != 2 or corners is None:
            return {"kind": "none"}
        return {
            "kind": "mesh",
            "points": _pairs(points),
            "cells": shape.cells[:, :corners].tolist(),
        }
    extent = list(shape.extent)[-2:]
    if moved is None or moved.ndim != 3 or moved.shape[-1] != 2:
        return {"kind": "grid", "extent": extent, "axes": list(config.axes)[-2:]}
    return {
        "kind": "moved",
        "points": _pairs(moved.reshape(-1, 2)),
        "rows": moved.shape[0],
        "columns": moved.shape[1],
    }


def _moved(surrogate: Surrogate, arrays: Mapping[str, Any]) -> Any:
    if POINTS in arrays:
        return np.asarray(arrays[POINTS])
    solver = mover(surrogate)
    if solver is None:
        return None
    with torch.no_grad():
        batch, _ = batch_of(
            {k: np.asarray(v, np.float64) for k, v in arrays.items()}, surrogate.config
        )
    fields = surrogate.context.case_solver.inputs(batch)
    return points_of(solver, fields, 1)[0]


def _pairs(points: Any) -> list[list[float]]:
    return [[_short(x), _short(y)] for x, y in np.asarray(points).tolist()]


def _listed(values: Any) -> list[float]:
    return [_short(value) for value in np.asarray(values).reshape(-1).tolist()]


def _short(value: Any) -> float:
    return float(f"{float(value):.{DIGITS}g}")
