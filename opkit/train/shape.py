"""What an operator is built for: grid, curve or mesh of the data."""

from __future__ import annotations

from opkit.case import parse_case
from opkit.datasets.field_dataset import FieldDataset
from opkit.errors import DataError
from opkit.operators.acceptance import check_acceptance
from opkit.operators.interface import DataShape
from opkit.operators.mesh_shape import MeshShape
from opkit.recipe import Recipe
from opkit.train.mesh import mesh_shape


def data_shape(
    samples: FieldDataset, recipe: Recipe
) -> tuple[DataShape | MeshShape, tuple[str, ...]]:
    """Return what the operator is built for, and the names of the space axes.

    Periodicity comes from the case; data without one count as not periodic.

    Raises:
        DataError: variables with different space axes.
        OpkitInputError: the operator does not take the case's geometry.
    """
    header, first = samples.header, samples[0]
    if header.mesh is not None:
        check_acceptance(recipe.operator, "mesh", 1)
        return mesh_shape(header, recipe), ("node",)
    timeless = [d for d in header.outputs[0].dims if d not in ("time", "layer")]
    axes = (["time"] if recipe.mode == "space-time" else []) + timeless
    case = parse_case(header.case) if header.case else None
    if case is not None:
        check_acceptance(recipe.operator, case.geometry.kind, len(axes))
    periodic = case.periodic if case is not None else {}
    lengths = []
    for axis in axes:
        values = samples.axis(axis)
        span = float(values[-1] - values[0])
        closed = periodic.get(axis, False)
        lengths.append(span * len(values) / (len(values) - 1) if closed else span)
    history = recipe.history if recipe.mode == "autoregressive" else 0
    lead = 2 if history else 1
    inputs, outputs = first["inputs"], first["outputs"]
    if inputs.shape[lead:] != outputs.shape[lead:]:
        raise DataError(
            f"inputs have shape {tuple(inputs.shape[lead:])} and outputs "
            f"{tuple(outputs.shape[lead:])} in space: import them on one grid"
        )
    static = len(first["static"]) if "static" in first else 0
    shape = DataShape(
        in_channels=inputs.shape[lead - 1] * max(history, 1) + static,
        out_channels=outputs.shape[lead - 1],
        shape=tuple(inputs.shape[lead:]),
        periodic=tuple(periodic.get(axis, False) for axis in axes),
        extent=tuple(lengths),
        boundary_channels=samples.boundary_channels,
    )
    return shape, tuple(axes)
