"""The data an operator is built for: grids, and meshes with their elements."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opkit.base.mesh_groups import MeshGroups
from opkit.errors import OpkitInputError

Points = NDArray[np.float64]
Cells = NDArray[np.int64]
FINER = "use a finer grid (subsample=1 keeps all of its points)"
"""Remedy where a grid has too few points; ``subsample`` is a setting of recipes."""
DEGREES = {(2, 3): 1, (2, 6): 2, (3, 4): 1, (3, 10): 2}
"""Degree of the Lagrange elements by (dimension, corners of a cell)."""


@dataclass(frozen=True, eq=False)
class MeshShape:
    """The mesh an operator is built for, without the samples.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, which is on the nodes.
        inputs_on: where the inputs are.
        points: (node, d) coordinates of the nodes, d = 2 or 3.
        cells: (cell, corner) indices into points; 3 or 4 corners are elements of degree
            1, 6 or 10 of degree 2 (edge middles after the corners, in VTK's order).
        fixed: (node,) whether the output is given there (Dirichlet).
        given: (out_channels, node) the values given; read where ``fixed``.
        coarse: nested coarser meshes of degree 1, (points, cells), finest first.
        groups: subdomains and boundary parts that the case's solver needs, of a mesh
            that came from a file; operators do not look at them.
        parameters: numbers per sample.
        point_axes: d, where each sample has nodes of its own, which the operator is
            given (batch, node, d), and ``points`` are those of the reference domain; 0
            where all have these.
        series: functions of time per sample.
        times: values of each of them.
        readouts: values of each output that is no field, as in `DataShape`.
    """

    in_channels: int
    out_channels: int
    inputs_on: Literal["node", "cell"]
    points: Points
    cells: Cells
    fixed: NDArray[np.bool_]
    given: Points
    coarse: tuple[tuple[Points, Cells], ...] = ()
    groups: MeshGroups | None = None
    parameters: int = 0
    point_axes: int = 0
    series: int = 0
    times: int = 0
    readouts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check that the arrays belong together.

        Raises:
            OpkitInputError: the first that does not.
        """
        nodes = len(self.points)
        if (self.points.shape[-1], self.cells.shape[-1]) not in DEGREES:
            raise OpkitInputError(
                f"mesh of {self.points.shape[-1]} dimensions with cells of "
                f"{self.cells.shape[-1]} corners: give triangles or tetrahedra of "
                "degree 1 or 2"
            )
        if self.fixed.shape != (nodes,) or self.given.shape != (
            self.out_channels,
            nodes,
        ):
            raise OpkitInputError(
                f"fixed {self.fixed.shape} and given {self.given.shape} do not fit "
                f"{nodes} nodes and {self.out_channels} output channels"
            )
        if self.groups is not None:
            dimension = self.points.shape[1]
            fault = self.groups.fault(nodes, dimension, len(self.cells))
            if fault:
                raise OpkitInputError(f"the mesh's {fault}")

    @property
    def numbers(self) -> int:
        """Numbers per sample, the values of its series among them."""
        return self.parameters + self.series * self.times

    @property
    def packing(self) -> Packing | None:
        """How outputs are laid one after another; None where all are fields."""
        return packing_of(self)

    @property
    def degree(self) -> int:
        """Degree of the Lagrange elements."""
        return DEGREES[self.points.shape[-1], self.cells.shape[-1]]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of nodes, as the only axis."""
        return (len(self.points),)

    @property
    def extent(self) -> tuple[float, ...]:
        """Largest extent of the mesh, for the only axis."""
        return (float(np.ptp(self.points, axis=0).max()),)

    @property
    def periodic(self) -> tuple[bool, ...]:
        """Never periodic."""
        return (False,)

    @property
    def on_cells(self) -> bool:
        """Whether the inputs are on the cells, not on the nodes."""
        return self.inputs_on == "cell"

    @property
    def input_points(self) -> int:
        """Number of points that the inputs are on."""
        return len(self.cells if self.on_cells else self.points)

    __hash__ = None  # type: ignore[assignment]  # arrays have no hash

    def __eq__(self, other: object) -> bool:
        """Whether mesh, values given on it and all numbers are the same."""
        if not isinstance(other, MeshShape):
            return NotImplemented
        mine, others = self.tensors(), other.tensors()
        return (
            self._exchanged == other._exchanged
            and mine.keys() == others.keys()
            and all(torch.equal(own, others[name]) for name, own in mine.items())
        )

    def exchanges_with(self, other: MeshShape) -> bool:
        """Whether an operator of the other mesh fits this one: same inputs, outputs."""
        return self._exchanged == other._exchanged

    @property
    def _exchanged(self) -> tuple[Any, ...]:
        given = (self.in_channels, self.inputs_on, self.parameters, self.point_axes)
        asked = (self.out_channels, self.readouts)
        return (*given, *asked, self.series, self.times, self.points.shape[1])

    def refuse(self, space: tuple[int, ...]) -> None:
        """Refuse inputs on another number of points.

        Raises:
            OpkitInputError: names the remedy.
        """
        if space != (self.input_points,):
            raise OpkitInputError(
                f"inputs have {space[0]} values, the mesh this surrogate was trained "
                f"on has {self.input_points} of its {self.inputs_on}s: transfer them "
                "to that mesh first"
            )

    def refuse_other(self, points: Points, cells: Cells) -> None:
        """Refuse another mesh.

        Args:
            points: (node, d).
            cells: (cell, corner).

        Raises:
            OpkitInputError: nodes lie elsewhere, or other nodes make the cells.
        """
        same = points.shape == self.points.shape and np.array_equal(cells, self.cells)
        size = np.ptp(self.points, axis=0).max()
        if not same or np.abs(points - self.points).max() > 1e-6 * size:
            raise OpkitInputError(
                f"another mesh ({len(points)} nodes, {len(cells)} cells) than the one "
                f"this surrogate was trained on ({len(self.points)}, "
                f"{len(self.cells)}): transfer the fields to that mesh first"
            )

    def tensors(self) -> dict[str, Tensor]:
        """Return the arrays by the names under which a bundle keeps them."""
        arrays = {
            "points": self.points,
            "cells": self.cells,
            "fixed": self.fixed,
            "given": self.given,
        }
        for level, (points, cells) in enumerate(self.coarse):
            arrays |= {f"coarse_{level}_points": points, f"coarse_{level}_cells": cells}
        if self.groups is not None:
            names = json.dumps(self.groups.names).encode()
            arrays |= {
                "subdomains": self.groups.subdomains,
                "facets": self.groups.facets,
                "parts": self.groups.parts,
                "part_names": np.frombuffer(names, np.uint8),
            }
        return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}

    @classmethod
    def from_tensors(
        cls,
        in_channels: int,
        out_channels: int,
        inputs_on: Literal["node", "cell"],
        tensors: Mapping[str, Tensor],
        **others: Any,
    ) -> MeshShape:
        """Rebuild from what `tensors` returned.

        Args:
            in_channels: as of the class, and so are ``out_channels``, ``inputs_on`` and
                the numbers in ``others``.
            out_channels: likewise.
            inputs_on: likewise.
            tensors: by name.
            **others: ``parameters``, ``point_axes``, ``series``, ``times``,
                ``readouts``.

        Raises:
            OpkitInputError: arrays are missing or do not belong together.
        """
        try:
            arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
            levels = sum(name.endswith("_points") for name in arrays)
            return cls(
                in_channels,
                out_channels,
                inputs_on,
                arrays["points"],
                arrays["cells"],
                arrays["fixed"],
                arrays["given"],
                tuple(
                    (arrays[f"coarse_{k}_points"], arrays[f"coarse_{k}_cells"])
                    for k in range(levels)
                ),
                _groups(arrays),
                **others,
            )
        except KeyError as missing:
            raise OpkitInputError(f"the mesh lacks {missing}") from None


def _groups(arrays: Mapping[str, NDArray[Any]]) -> MeshGroups | None:
    """Groups out of the arrays of a bundle, None for a mesh without."""
    if "part_names" not in arrays:
        return None
    try:
        names = json.loads(arrays["part_names"].tobytes())
    except ValueError:
        raise OpkitInputError(
            "the mesh's names of boundary parts are damaged"
        ) from None
    return MeshGroups(
        subdomains=arrays["subdomains"],
        facets=arrays["facets"],
        parts=arrays["parts"],
        names=tuple(str(name) for name in names),
    )


@dataclass(frozen=True)
class Packing:
    """Outputs of several kinds in one tensor (batch, 1, value).

    The values of the fields come first, (channel, *space) flattened, then those of the
    outputs that are no fields, the readouts. Of samples of several lengths, one after
    another, the fields of all come first, (channel, N), then the readouts of each:
    (1, 1, channel N + samples values). What is one number for each channel of them, and
    one for each value of a readout, is called brief: (..., channel + values).

    Args:
        fields: (channel, *space) of the fields; no channel where there are none.
        readouts: values of each readout: 1 of a number, more of a series.
        ragged: whether there are fields, and samples have as many points as they like.
    """

    fields: tuple[int, ...]
    readouts: tuple[int, ...]
    ragged: bool = False

    def at(self, values: int) -> Packing:
        """Return the packing of one sample with so many values in all."""
        if not self.ragged:
            return self
        points = (values - sum(self.readouts)) // self.fields[0]
        return Packing((self.fields[0], points), self.readouts)

    @property
    def brief(self) -> Packing:
        """The packing of what has one number for each channel, where ragged."""
        return self.at(self.fields[0] + sum(self.readouts))

    def shorten(self, packed: Tensor) -> Tensor:
        """Take means over the points of a sample, (..., value), where ragged."""
        if not self.ragged:
            return packed
        fields = self.at(packed.shape[-1]).values
        points = packed[..., :fields].reshape(*packed.shape[:-1], self.fields[0], -1)
        return torch.cat([points.mean(-1), packed[..., fields:]], -1)

    def lengthen(self, brief: Tensor, values: int) -> Tensor:
        """Repeat what `shorten` gives at each point of a sample with so many values."""
        if not self.ragged:
            return brief
        channels, points = self.at(values).fields
        fields = brief[..., :channels].repeat_interleave(points, -1)
        return torch.cat([fields, brief[..., channels:]], -1)

    def lay(self, parts: Sequence[Tensor]) -> Tensor:
        """Lay samples (1, 1, value) of several lengths one after another."""
        if not self.ragged:
            return torch.cat(list(parts))
        pairs = [self.at(part.shape[-1]).split(part) for part in parts]
        fields = torch.cat([fields for fields, _ in pairs], -1)
        readouts = torch.cat([readouts for _, readouts in pairs], 1)
        return torch.cat([fields.flatten(1), readouts], 1)[:, None]

    def apart(self, laid: Tensor, points: Sequence[int]) -> list[Tensor]:
        """Undo `lay`, for samples of so many points."""
        if not self.ragged:
            return list(torch.split(laid, 1))
        channels = self.fields[0]
        fields, readouts = laid[:, 0].tensor_split([channels * sum(points)], 1)
        each = torch.split(fields.view(1, channels, -1), list(points), -1)
        numbers = torch.split(readouts, sum(self.readouts), 1)
        return [
            torch.cat([field.flatten(1), own], 1)[:, None]
            for field, own in zip(each, numbers, strict=True)
        ]

    @property
    def values(self) -> int:
        """Number of values of all fields."""
        return math.prod(self.fields)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Values of each channel of the fields, then of each readout."""
        return (math.prod(self.fields[1:]),) * self.fields[0] + self.readouts

    def join(self, fields: Tensor | None, readouts: Tensor) -> Tensor:
        """Lay (batch, channel, *space) and (batch, value) one after another."""
        parts = [] if fields is None else [fields.flatten(1)]
        return torch.cat([*parts, readouts], 1)[:, None]

    def split(self, packed: Tensor) -> tuple[Tensor, Tensor]:
        """Undo `join` for (batch, 1, value); no channel where there are no fields."""
        fields, readouts = packed[:, 0].tensor_split([self.values], 1)
        return fields.reshape(len(packed), *self.fields), readouts

    def each(
        self, values: Tensor, count: int | None = None, samples: int = 1
    ) -> Tensor:
        """Repeat one number per entry of `sizes` over its values, (value,).

        Args:
            values: the numbers, (entry,).
            count: of values in all, which says how many points there are where ragged.
            samples: that they are of, one after another.
        """
        sizes = self.sizes  # which a compiler knows
        if self.ragged:
            assert count is not None
            read = (samples - 1) * sum(self.readouts)
            sizes = self.at(count - read).sizes
        parts = [v.expand(n) for v, n in zip(values.unbind(), sizes, strict=True)]
        first = self.fields[0]
        if samples > 1 and self.ragged:
            parts[first:] = [torch.cat(parts[first:]).repeat(samples)]
        return torch.cat(parts)


class Outputs(Protocol):
    """What a shape says of the outputs."""

    @property
    def out_channels(self) -> int:
        """Channels of the fields."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Points that they are on."""
        ...

    @property
    def readouts(self) -> tuple[int, ...]:
        """Values of each output that is no field."""
        ...


def packing_of(data: Outputs, ragged: bool = False) -> Packing | None:
    """How outputs are laid one after another; None where all are fields.

    Args:
        data: the shape.
        ragged: whether samples have as many points as they like.
    """
    if not data.readouts:
        return None
    fields = (data.out_channels, *data.shape)
    return Packing(fields, data.readouts, ragged and data.out_channels > 0)


@dataclass(frozen=True)
class DataShape:
    """The data an operator is built for, without its batch axis.

    Args:
        in_channels: channels of the input; in autoregressive mode history x channels;
            0 where there are parameters or points alone.
        out_channels: channels of the output.
        shape: number of points along each space axis (time first in space-time mode).
        periodic: whether each axis is periodic. Periodic axes hold points at
            ``i L / n``, others at ``i L / (n - 1)``.
        extent: length L of each axis.
        boundary_channels: names of the channels on the points of a boundary curve,
            which the operator gets as a second argument; empty where there is none.
        parameters: numbers per sample.
        point_axes: d, where each sample has points of its own, which the operator is
            given (batch, *space, d); 0 where all have those of the grid.
        ragged: whether ``shape`` is the number of points of one sample, and others have
            as many as they like, in no order.
        series: functions of time per sample.
        times: values of each of them.
        readouts: values of each output that is no field: 1 of a number. Where there
            are any, an operator gives (batch, 1, value) as `packing` says.
    """

    in_channels: int
    out_channels: int
    shape: tuple[int, ...]
    periodic: tuple[bool, ...]
    extent: tuple[float, ...]
    boundary_channels: tuple[str, ...] = ()
    parameters: int = 0
    point_axes: int = 0
    ragged: bool = False
    series: int = 0
    times: int = 0
    readouts: tuple[int, ...] = ()

    @property
    def numbers(self) -> int:
        """Numbers per sample, the values of its series among them."""
        return self.parameters + self.series * self.times

    @property
    def packing(self) -> Packing | None:
        """How outputs are laid one after another; None where all are fields."""
        return packing_of(self, self.ragged)

    def __post_init__(self) -> None:
        """Check that every axis has a size, an extent and a periodicity.

        Raises:
            OpkitInputError: lengths differ, or a number is not positive.
        """
        if not len(self.shape) == len(self.periodic) == len(self.extent) > 0:
            raise OpkitInputError(
                f"shape {self.shape}, periodic {self.periodic} and extent "
                f"{self.extent}: give one value for each space axis"
            )
        least = 0 if self.parameters or self.point_axes or self.series else 1
        outputs = self.out_channels + len(self.readouts)
        if min(outputs, *self.shape) < 1 or self.in_channels < least:
            raise OpkitInputError("channels and shape must be at least 1")
