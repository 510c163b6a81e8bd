"""What is asked of a golden file: by make.py once, by the test ever after."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

STEPS = 3
"""Frames of a rollout."""
COVERAGE = 0.5
"""Of the bounds: small, so that a single calibration sample is enough."""
VERDICT = ("error_bound", "residual", "novelty", "p_value", "scale")
SOLVE = (
    *("solve", "u_xx + u_yy = f", "--source", "sin(pi*x)"),
    *("--boundary", "u = 0 on all", "--at", "0.5 -0.25", "--at", "-0.75 0.5"),
    *("--method", "network", "--refinements", "0", "--json"),
)
"""The hypernetwork that opkit ships, as it is: nothing is fitted."""


def describe(file: Any) -> dict[str, Any]:
    """Say what a data file holds, as JSON; sums are exact, so equality is meant.

    Args:
        file: an open ``DataFile``.
    """
    header, mesh = file.header, file.header.mesh
    return {
        "content_hash": file.content_hash(),
        "stored_hash": file.stored_hash(),
        "case": header.case.get("name"),
        "solver": header.case.get("solver", {}).get("target"),
        "seed": header.seed,
        "index": file.index.tolist(),
        "splits": {name: rows.tolist() for name, rows in header.splits.items()},
        "measure": file.measure,
        "diagnostics": {k: math.fsum(v) for k, v in file.diagnostics().items()},
        "coordinates": {
            name: {"units": axis.units, "values": axis.values.tolist()}
            for name, axis in header.coordinates.items()
        },
        "mesh": mesh and {"points": mesh.points.tolist(), "cells": mesh.cells.tolist()},
        "variables": {
            v.name: {
                "role": v.role,
                "dims": list(v.dims),
                "shape": list(v.shape),
                "dtype": v.dtype,
                "units": v.units,
                "long_name": v.long_name,
                **_content(file.read(v.name, slice(None))),
            }
            for v in header.variables
        },
    }


def _content(values: NDArray[Any]) -> dict[str, Any]:
    plain = values.astype(np.float64).ravel().tolist()
    return {"sum": math.fsum(plain), "first": plain[:4], "last": plain[-1]}


def ask(surrogate: Any, fields: Mapping[str, NDArray[Any]]) -> Arrays:
    """Predict, roll out where the surrogate does so, and check.

    Args:
        surrogate: from `opkit.load`.
        given: ``inputs/NAME`` of every variable, and ``static`` where it takes that.
    """
    inputs = {k[7:]: v for k, v in fields.items() if k.startswith("inputs/")}
    more: dict[str, Any] = {"check": True, "coverage": COVERAGE}
    arrays: Arrays = {}
    if surrogate.config.recipe.mode == "autoregressive":
        static = fields.get("static")
        outputs = surrogate.rollout(inputs, STEPS, static)
        checked = surrogate.rollout(inputs, STEPS, static, **more)
        if static is None:
            arrays |= _named("once", surrogate(inputs))
    else:
        outputs = surrogate(inputs)
        checked = surrogate(inputs, **more)
        arrays |= _named("upper", checked.upper)
    arrays |= _named("outputs", outputs) | _named("checked", checked.prediction)
    arrays |= _named("in_range", checked.in_range)
    verdict = {name: getattr(checked, name) for name in VERDICT}
    return arrays | {k: v for k, v in verdict.items() if v is not None}


def _named(prefix: str, fields: Mapping[str, NDArray[Any]]) -> Arrays:
    return {f"{prefix}/{name}": np.asarray(field) for name, field in fields.items()}
