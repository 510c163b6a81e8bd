"""What an operator is built for: grid, curve or mesh of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, TypeVar

from torch import Tensor

from opkit.case.mesh import mesh_shape as case_mesh_shape
from opkit.case.recipe import Recipe
from opkit.case.record import parse_stored
from opkit.datasets.field_dataset import FieldDataset, channel_names
from opkit.datasets.header import Header, VariableSpec
from opkit.errors import DataError, OpkitInputError
from opkit.operators.interface import acceptance, check_acceptance
from opkit.operators.shapes import DataShape, MeshShape


def data_shape(
    samples: FieldDataset, recipe: Recipe
) -> tuple[DataShape | MeshShape, tuple[str, ...]]:
    """Return what the operator is built for, and the names of the space axes.

    Periodicity comes from the case; of data without one, from their axes.

    Raises:
        DataError: variables with different space axes.
        OpkitInputError: the operator does not take the case's geometry, or nothing of
            the file is given to it.
    """
    header, first = samples.header, samples[0]
    if header.ragged:
        check_acceptance(recipe.operator, "mesh", 1)
        return _ragged_shape(samples, first), (samples.place,)
    if not header.inputs and "points" not in first:
        raise OpkitInputError(
            f"operator {recipe.operator} is not given points, which are the only "
            f"input: use {' or '.join(_pointwise())}, or import the coordinates as "
            "input fields too (--input at_x=X)"
        )
    if header.mesh is not None:
        check_acceptance(recipe.operator, "mesh", 1)
        on_mesh = mesh_shape(header, recipe)
        on_mesh = replace(
            on_mesh, point_axes=_point_axes(first), readouts=samples.readout_sizes
        )
        return _with_series(on_mesh, samples), ("node",)
    axes = _axes(samples)
    case = parse_stored(header.case, "data file") if header.case else None
    if case is not None:
        kind = case.geometry.kind
        check_acceptance(
            recipe.operator, "mesh" if kind == "meshes" else kind, max(len(axes), 1)
        )
    if case is not None:
        periodic = case.periodic
    else:
        periodic = {name: a.periodic for name, a in header.coordinates.items()}
    lengths = []
    for axis in axes:
        values = samples.axis(axis)
        span = float(values[-1] - values[0])
        closed = periodic.get(axis, False)
        lengths.append(span * len(values) / (len(values) - 1) if closed else span)
    history = samples.mode.history
    lead = 2 if history else 1
    inputs, outputs = first["inputs"], first["outputs"]
    readouts = samples.readout_sizes
    if readouts:
        return _packed_shape(samples, first, axes, periodic, lengths), axes or POINT
    if inputs.shape[lead:] != outputs.shape[lead:]:
        raise DataError(
            f"inputs have shape {tuple(inputs.shape[lead:])} and outputs "
            f"{tuple(outputs.shape[lead:])} in space: import them on one grid"
        )
    shape = DataShape(
        in_channels=inputs.shape[lead - 1] * max(history, 1)
        + len(samples.static_channels),
        out_channels=outputs.shape[lead - 1],
        shape=tuple(inputs.shape[lead:]),
        periodic=tuple(periodic.get(axis, False) for axis in axes),
        extent=tuple(lengths),
        boundary_channels=samples.boundary_channels,
        parameters=len(samples.parameter_channels),
        point_axes=_point_axes(first),
    )
    return _with_series(shape, samples), axes


def _pointwise() -> list[str]:
    """Operators that are given the points of each sample."""
    return [name for name, offer in acceptance().items() if offer.points]


POINT = ("point",)
"""The axis of data without any, which have one point."""


def _axes(samples: FieldDataset) -> tuple[str, ...]:
    """Return the axes of the fields, none of numbers and series alone."""
    mode, header = samples.mode, samples.header
    fields = [*mode.outputs(header), *mode.fields(header)]
    if not fields:
        return samples.moved_axes
    space = [d for d in fields[0].dims if d not in ("time", "layer")]
    return mode.axes(space)


S = TypeVar("S", DataShape, MeshShape)


def _with_series(shape: S, samples: FieldDataset) -> S:
    """Say how many functions of time there are, and values of each."""
    count = len(samples.series_channels)
    if not count:
        return shape
    records = len(samples.axis("time"))
    return replace(shape, series=count, times=samples.mode.length(records))


def _packed_shape(
    samples: FieldDataset,
    first: Mapping[str, Tensor],
    axes: tuple[str, ...],
    periodic: Mapping[str, bool],
    lengths: list[float],
) -> DataShape:
    """Describe data of which some outputs are no fields."""
    inputs, space = first["inputs"], tuple(len(samples.axis(axis)) for axis in axes)
    if len(inputs) and tuple(inputs.shape[1:]) != space:
        raise DataError(
            f"inputs have shape {tuple(inputs.shape[1:])} and outputs {space} in "
            "space: import them on one grid"
        )
    mode = samples.mode
    shape = DataShape(
        in_channels=len(inputs),
        out_channels=len(samples.output_channels)
        - sum(len(channel_names(v)) for v in mode.readouts(samples.header)),
        shape=space or (1,),
        periodic=tuple(periodic.get(axis, False) for axis in axes) or (False,),
        extent=tuple(lengths) or (1.0,),
        boundary_channels=samples.boundary_channels,
        parameters=len(samples.parameter_channels),
        point_axes=_point_axes(first),
        series=len(samples.series_channels),
        readouts=samples.readout_sizes,
    )
    return _with_series(shape, samples)


def _ragged_shape(samples: FieldDataset, first: Mapping[str, Tensor]) -> DataShape:
    readouts = samples.readout_sizes
    shape = DataShape(
        in_channels=len(first["inputs"]),
        out_channels=len(samples.output_channels)
        - sum(len(channel_names(v)) for v in samples.mode.readouts(samples.header)),
        shape=(len(first["points"]),),
        periodic=(False,),
        extent=(1.0,),
        parameters=len(samples.parameter_channels),
        point_axes=_point_axes(first),
        ragged=True,
        series=len(samples.series_channels),
        readouts=readouts,
    )
    return _with_series(shape, samples)


def _point_axes(sample: Mapping[str, Tensor]) -> int:
    """Return how many numbers say where a node of a sample is; 0 if all have one grid.

    Samples hold points only for operators that are given them.
    """
    return sample["points"].shape[-1] if "points" in sample else 0


Place = Literal["node", "cell"]


def mesh_shape(header: Header, recipe: Recipe) -> MeshShape:
    """Describe the file's mesh, its Dirichlet nodes, and nested coarser meshes.

    Dirichlet nodes and coarser meshes come from the case's solver where it knows them;
    data without a case have neither.

    Raises:
        DataError: inputs on nodes and on cells, or outputs that are not on the nodes.
        OpkitInputError: a mode or stride that a mesh does not have.
    """
    if recipe.arrangement.needs_time or recipe.subsample != 1:
        raise OpkitInputError("on a mesh: leave mode at map and subsample at 1")
    if header.mesh is None:
        raise DataError("the file has no mesh")
    fields = [v for v in header.inputs if v.is_field]
    outputs = [v for v in header.outputs if v.is_field]
    places = {_place(v) for v in fields} or {"node"}
    if len(places) != 1 or {_place(v) for v in outputs} - {"node"}:
        raise DataError(
            "operators on meshes take inputs that are all on nodes or all on cells "
            "and give outputs on nodes: import the data so"
        )
    case = parse_stored(header.case, "data file", header.mesh) if header.case else None
    solver = case.build_solver() if case is not None else None
    channels = (
        sum(len(channel_names(v)) for v in fields),
        sum(len(channel_names(v)) for v in outputs),
    )
    mesh = header.mesh
    shape = case_mesh_shape(solver, mesh, channels, places.pop())
    count = sum(len(channel_names(v)) for v in header.parameters)
    return replace(shape, parameters=count)


def _place(variable: VariableSpec) -> Place:
    places: list[Place] = [d for d in ("node", "cell") if d in variable.dims]
    if len(places) != 1:
        raise DataError(f"{variable.name} has dims {variable.dims}, not node or cell")
    return places[0]
