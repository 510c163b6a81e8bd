"""The torch Dataset over a data file: channels first, physical units, read lazily."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import default_collate

from opkit.datasets.agreement import Quantity, Span, Stated, refuse_uneven, span_of
from opkit.datasets.header import (
    SIDES,
    Header,
    VariableSpec,
    closed,
    periodic_axes,
)
from opkit.datasets.modes import mode_of
from opkit.datasets.read import DataFile
from opkit.elements.weights import NodeWeights, of_grid
from opkit.errors import DataError


class FieldDataset(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Samples of one split as float32 tensors.

    Each item is a dict with ``"inputs"`` and ``"outputs"``; layers are channels. What
    they hold is the mode's (`opkit.datasets.modes`). Fields that stay as they are along
    a rollout come under ``"static"`` (channel, *space), inputs on the faces of a
    boundary curve (dimension ``boundary``) under ``"boundary"`` (channel, boundary),
    numbers and short vectors per sample, joined, under ``"parameters"`` (parameter,),
    functions of time alone under ``"series"`` (series, time), in mode autoregressive
    with one value for each frame, those that are given first. Where an output is no
    field but a number, a short vector or a series, ``"outputs"`` is (1, value): all
    values of the fields, then those of the others, in the order of `output_channels`.
    Where the nodes of each sample lie elsewhere, ``"points"`` (*space, d) says where,
    and ``"weights"`` (*space,) how much length, area or volume belongs to each
    (`opkit.elements.weights`). Items of a ragged file have their own number n of nodes:
    ``"inputs"`` (channel, n), ``"outputs"``, ``"points"`` (n, d), ``"weights"`` (n,),
    and ``"sample"`` (n,), all 0, of cases also ``"cells"``, ``"facets"`` and
    ``"facet_part"``, which batches of several do not have; fields on cells have their
    centres and volumes. Where an output is no field, ``"outputs"`` is (1, value) as
    elsewhere, and ``"whole"`` (r,), all 0, says that the last r of them have no places,
    for `collate` to know. Batches are made by `collate`.
    Only the samples asked for are read; workers of a DataLoader, forked or spawned,
    open the file themselves.

    Args:
        path: the data file.
        split: ``"train"``, ``"validation"`` or ``"test"``; all samples where None.
        subsample: stride in space.
        mode: out of `opkit.datasets.modes.MODES`.
        history: frames given in mode ``autoregressive``.
        initial: whether there the initial state, if it is an input, is the first frame.
        subsample_time: stride in time.
        trusted: see `DataFile`.
        whole: refuse a stride that misses the end of an axis. Surrogates trained so
            before it was refused still read their samples.
        points: whether items hold ``"points"`` and ``"weights"``, where the file has
            them.

    Raises:
        DataError: no such split, a mode that does not fit the file, or a stride that
            leaves another domain.
    """

    def __init__(
        self,
        path: str | Path,
        split: str | None,
        subsample: int = 1,
        mode: str = "map",
        history: int = 1,
        initial: bool = True,
        subsample_time: int = 1,
        trusted: bool = False,
        whole: bool = True,
        points: bool = True,
    ) -> None:
        self.mode = mode_of(mode, history, initial and subsample_time == 1)
        if min(subsample, subsample_time, history) < 1:
            raise DataError("subsample, subsample_time and history start at 1")
        self.file = DataFile(path, trusted)
        self.header = header = self.file.header
        count = np.arange(len(self.file))
        self.rows = count if split is None else self.file.indices(split)
        self._strides = {"time": subsample_time, "layer": 1}
        self._default_stride = subsample
        on_axes = self.mode.outputs(header)
        if self.mode.needs_time and not (
            on_axes and all("time" in v.dims for v in on_axes)
        ):
            raise DataError(
                f"{path}: mode {mode!r} needs outputs with a time dimension"
            )
        try:
            self.mode.refuse(header, -(-header.sizes.get("time", 1) // subsample_time))
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        self._rule: NodeWeights | None = None
        self._moved = [v for v in header.variables if v.role == "points" and points]
        self._curve = [v for v in header.inputs if "boundary" in v.dims]
        plain = subsample == 1 and not self.mode.needs_time
        if self._curve and not (plain and self.mode.fields(header)):
            raise DataError(
                f"{path}: data on a boundary curve belong to one grid of fields: "
                "leave subsample at 1 and mode at map"
            )
        if header.ragged:
            self._place = _one_place(str(path), header, subsample)
        if whole:
            _refuse_stride(str(path), header, subsample)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: int) -> dict[str, torch.Tensor]:
        return self.__getitems__([item])[0]

    def __getitems__(self, items: list[int]) -> list[dict[str, torch.Tensor]]:
        """Return several samples, read together."""
        for item in items:
            if not -len(self) <= item < len(self):
                raise IndexError(f"item {item} of {len(self)}")
        if self.header.ragged:
            return [self._ragged_item(int(row)) for row in self.rows[items]]
        variables = [v for v in self.header.variables if v.role != "points"]
        variables += self._moved
        header = self.header
        data = self.file.read_samples([v.name for v in variables], self.rows[items])
        series, readouts = self.mode.series(header), self.mode.readouts(header)
        apart = [*series, *readouts, *header.parameters, *self._moved]
        fields = [v for v in variables if v not in apart]
        frames = {v.name: self._frames(v, data[v.name]) for v in fields}
        arrays = self.mode.arrange(frames, header)
        if "inputs" not in arrays:  # no fields, at one point if nothing has a place
            sizes = [len(self.axis(dim)) for dim in self.moved_axes] or [1]
            sizes = sizes if header.mesh is None else [len(header.mesh.points)]
            arrays["inputs"] = np.zeros((len(items), 0, *sizes), np.float32)
        if series:
            parts = [self._strided(v, data[v.name]) for v in series]
            arrays["series"] = self.mode.along(np.stack(parts, 1), header)
        if readouts:
            values = [self._strided(v, data[v.name]) for v in readouts]
            if "outputs" in arrays:
                values.insert(0, arrays["outputs"])
            flat = [part.reshape(len(items), -1) for part in values]
            arrays["outputs"] = np.concatenate(flat, 1)[:, None]
        numbers = [data[v.name].reshape(len(items), -1) for v in header.parameters]
        if numbers:
            arrays["parameters"] = np.concatenate(numbers, 1)
        for v in self._moved:
            points = self._strided(v, data[v.name])
            arrays["points"] = points
            arrays["weights"] = self._weights(points.astype(np.float64))
        tensors = [_tensor(array).unbind() for array in arrays.values()]
        return [
            {k: t.contiguous() for k, t in zip(arrays, sample, strict=True)}
            for sample in zip(*tensors, strict=True)
        ]

    def _ragged_item(self, row: int) -> dict[str, torch.Tensor]:
        """Return a sample with a mesh or cloud of its own."""
        header = self.header
        fields = self.mode.fields(header)
        outputs, readouts = self.mode.outputs(header), self.mode.readouts(header)
        series = self.mode.series(header)
        on_cells = self._place == "cell"
        data = self.file.sample(row)
        points, weights = data["points"], data["weights"]
        if on_cells:
            cells = data["cell_nodes"]
            rule = NodeWeights(cells, *points.shape)
            points, weights = points[cells].mean(1), rule.volumes(points)
        count = len(points)
        arrays = {
            "inputs": _stack([data[v.name] for v in fields], count),
            "outputs": _stack([data[v.name] for v in outputs], count),
            "points": points,
            "weights": weights,
        }
        numbers = [np.reshape(data[v.name], -1) for v in header.parameters]
        if numbers:
            arrays["parameters"] = np.concatenate(numbers)
        if series:
            arrays["series"] = np.stack([self._series(data[v.name]) for v in series])
        if readouts:
            values = [
                self._series(data[v.name]) if v.is_series else np.ravel(data[v.name])
                for v in readouts
            ]
            whole = np.concatenate(values)
            parts = [arrays["outputs"].reshape(-1), whole]
            arrays["outputs"] = np.concatenate(parts)[None]
            arrays["whole"] = np.zeros(len(whole), np.float32)
        item = {role: _tensor(array).contiguous() for role, array in arrays.items()}
        if header.case and "cell_nodes" in data:  # whose solver may be asked
            for role, name in MESH.items():
                if name in data:
                    item[role] = torch.from_numpy(data[name].astype(np.int64))
        item["sample"] = torch.zeros(count, dtype=torch.int64)
        return item

    @property
    def moved_axes(self) -> tuple[str, ...]:
        """Names of the axes of ``"points"``; none where items hold none."""
        return self._moved[0].dims[:-1] if self._moved else ()

    @property
    def place(self) -> str:
        """Where the fields of a ragged file are: ``node`` or ``cell``."""
        return self._place

    @property
    def input_channels(self) -> tuple[str, ...]:
        """Names of the channels of ``"inputs"``; ``vorticity[0]`` is a layer."""
        return _channels(self.mode.fields(self.header))

    @property
    def static_channels(self) -> tuple[str, ...]:
        """Names of the channels of ``"static"``."""
        return _channels(self.mode.static(self.header))

    @property
    def times(self) -> NDArray[np.float64]:
        """Times of the outputs, after subsampling."""
        return self.mode.times(self.axis("time"), self.header)

    @property
    def boundary_channels(self) -> tuple[str, ...]:
        """Names of the channels of ``"boundary"``."""
        return _channels(self._curve)

    @property
    def parameter_channels(self) -> tuple[str, ...]:
        """Names of the numbers of ``"parameters"``; ``void[0]`` is a component."""
        return _channels(self.header.parameters)

    @property
    def series_channels(self) -> tuple[str, ...]:
        """Names of the channels of ``"series"``."""
        return _channels(self.mode.series(self.header))

    @property
    def output_channels(self) -> tuple[str, ...]:
        """Names of the channels of ``"outputs"``: fields, then what is no field."""
        return _channels(self._outputs)

    @property
    def _outputs(self) -> list[VariableSpec]:
        return [*self.mode.outputs(self.header), *self.mode.readouts(self.header)]

    @property
    def readouts(self) -> tuple[str, ...]:
        """Names of the outputs that are no fields."""
        return tuple(v.name for v in self.mode.readouts(self.header))

    @property
    def has_series(self) -> bool:
        """Whether inputs or outputs are functions of time alone."""
        mode, header = self.mode, self.header
        return any(v.is_series for v in mode.series(header) + mode.readouts(header))

    @property
    def series_times(self) -> tuple[float, ...]:
        """Times that functions of time are given or wanted at; none if any do."""
        if not self.has_series:
            return ()
        return self.mode.fixed(self.axis("time").tolist())

    @property
    def readout_sizes(self) -> tuple[int, ...]:
        """Values of each output that is no field, one component after another."""
        sizes: list[int] = []
        for v in self.mode.readouts(self.header):
            count = len(channel_names(v))
            sizes += [len(self.axis("time"))] if v.is_series else [1] * count
        return tuple(sizes)

    def axis(self, dim: str) -> NDArray[np.float64]:
        """Coordinate values along a dimension, after subsampling."""
        values = self.header.coordinates[dim].values
        return values[:: self._strides.get(dim, self._default_stride)]

    def points(self, item: int) -> NDArray[np.float64] | None:
        """Return where the nodes of a sample lie, (*space, d); None if all are alike.

        An axis that closes holds its first points again as its last, so that pictures
        have no gap.
        """
        row = int(self.rows[item])
        if self.header.ragged:
            return self.file.sample(row, ["points"])["points"]
        variable = next((v for v in self.header.variables if v.role == "points"), None)
        if variable is None:
            return None
        points = self._strided(variable, self.file.read(variable.name, row)[None])[0]
        return closed(points.astype(np.float64), self.header, variable.dims[:-1])

    def _weights(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weights (batch, *space) of moved nodes (batch, *space, d)."""
        mesh = self.header.mesh
        if mesh is None:
            dims = self._moved[0].dims[:-1]
            closes = periodic_axes(self.header)
            return of_grid(points, len(dims), [d in closes for d in dims])
        if self._rule is None:
            self._rule = NodeWeights(mesh.cells, *mesh.points.shape)
        return self._rule(points)

    def stated(self, axes: Sequence[str]) -> Stated:
        """Say in which variables, units and steps and on which domain the samples are.

        Args:
            axes: that an operator works on.

        Raises:
            DataError: an axis of space, or of the times of a trajectory, is not evenly
                spaced: no operator on grids is for such data.
        """
        header, around = self.header, periodic_axes(self.header)
        roles = {
            "inputs": self.mode.fields(header),
            "outputs": self._outputs,
            "static": self.mode.static(header),
            "boundary": self._curve,
            "parameters": header.parameters,
            "series": self.mode.series(header),
        }
        spans: dict[str, Span] = {}
        for axis in axes:
            if axis not in header.coordinates:
                continue
            values = self.axis(axis)
            if len(values) < 2:
                continue
            units = header.coordinates[axis].units.partition(" since ")[0]
            if axis == "time":  # records may lie as they like
                spans[axis] = Span(float(values[-1] - values[0]), units)
            else:
                spans[axis] = span_of(axis, values, units, axis in around)
        if self.mode.history:
            times = self.axis("time")
            units = header.coordinates["time"].units.partition(" since ")[0]
            even = refuse_uneven("time", times) if len(times) > 1 else None
            step = None if even is None else float(even.mean())
            spans["time"] = Span(None, units, step)
        return Stated(
            {role: tuple(map(_quantity, given)) for role, given in roles.items()}, spans
        )

    def _frames(
        self, variable: VariableSpec, data: NDArray[np.floating]
    ) -> NDArray[np.floating]:
        """Subsample to (batch, time, channel, *space); one time where there is none."""
        data = self._strided(variable, data)
        if "layer" not in variable.dims:
            data = np.expand_dims(data, 2 if "time" in variable.dims else 1)
        return data if "time" in variable.dims else data[:, None]

    def _strided(
        self, variable: VariableSpec, data: NDArray[np.floating]
    ) -> NDArray[np.floating]:
        """Subsample (batch, *dims)."""
        return data[:, *(slice(None, None, self._stride(d)) for d in variable.dims)]

    def _series(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Subsample (time,)."""
        return values[:: self._stride("time")]

    def _stride(self, dim: str) -> int:
        if dim in ("boundary", "node", "cell", "component"):
            return 1
        return self._strides.get(dim, self._default_stride)


MESH = {"cells": "cell_nodes", "facets": "facet_nodes", "facet_part": "facet_part"}
"""Parts of an item that say what its mesh is made of, and their names in the file."""
RAGGED = ("inputs", "outputs", "points", "weights")
"""Parts of an item that have another length in each sample of a ragged file."""


def collate(items: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Make one batch of several items of a `FieldDataset`.

    Items of a ragged file, which hold ``"sample"``, are laid one after another:
    ``"inputs"``, ``"outputs"`` (1, channel, N), ``"points"`` (1, N, d), ``"weights"``
    (1, N) for N nodes of all samples, and ``"sample"`` (N,), the position of the sample
    in the batch that each node belongs to. Everything else, outputs that belong to
    whole samples, and all of other files, is stacked: (batch, ...). Where some outputs
    are fields and others are not, ``"outputs"`` is (1, 1, value): the fields of all
    samples, (channel, N) flattened, then the other values of each sample.

    Args:
        items: at least one.
    """
    if "sample" not in items[0]:
        stacked: dict[str, torch.Tensor] = default_collate(list(items))
        return stacked
    batch: dict[str, torch.Tensor] = {}
    for role in items[0]:
        if role in MESH:
            continue
        parts = [item[role] for item in items]
        if role == "sample":
            lengths = torch.tensor([len(part) for part in parts])
            batch[role] = torch.arange(len(parts)).repeat_interleave(lengths)
        elif role == "outputs" and "whole" in items[0]:
            batch[role] = _laid(parts, len(items[0]["whole"]), items)
        elif role in RAGGED:
            along = 1 if role in ("inputs", "outputs") else 0
            batch[role] = torch.cat(parts, along)[None]
        else:
            batch[role] = torch.stack(parts)
    return batch


def _laid(
    parts: Sequence[torch.Tensor], whole: int, items: Sequence[dict[str, torch.Tensor]]
) -> torch.Tensor:
    """Lay outputs (1, value) one after another, the last ``whole`` of them apart."""
    if parts[0].shape[1] == whole:
        return torch.stack(list(parts))
    fields = [
        part[0, :-whole].view(-1, len(item["sample"]))
        for part, item in zip(parts, items, strict=True)
    ]
    values = [torch.cat(fields, 1).flatten(), *(part[0, -whole:] for part in parts)]
    return torch.cat(values)[None, None]


def _one_place(path: str, header: Header, stride: int) -> str:
    """Return where the fields of a ragged file are, ``node`` or ``cell``.

    Raises:
        DataError: on both, or a stride is asked for.
    """
    fields = [v for v in header.variables if v.is_field]
    on = {v.dims[0]: v.name for v in fields}
    if len(on) > 1:
        raise DataError(
            f"{path}: {on['node']} is on nodes, {on['cell']} on cells: items have one "
            "set of points; bring them to one place"
        )
    if stride > 1:
        raise DataError(f"{path}: a ragged file has no grid: leave subsample at 1")
    return fields[0].dims[0] if fields else "node"


def _stack(fields: list[NDArray[np.floating]], count: int) -> NDArray[np.floating]:
    return np.stack(fields) if fields else np.zeros((0, count), np.float32)


def alone(item: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Make a batch of one item, without ``"sample"``: it has all of the nodes."""
    return {role: part[None] for role, part in item.items() if role != "sample"}


def _refuse_stride(path: str, header: Header, stride: int) -> None:
    """Refuse a stride whose last point is not the end of every axis of space.

    A stride divides n - 1 for an axis of n points with both ends, n for a periodic one:
    what it leaves is otherwise a shorter domain, or a seam of another spacing.

    Raises:
        DataError: it leaves another domain; the message names strides that do not.
    """
    closed = periodic_axes(header)
    sizes = {d: n for d, n in header.sizes.items() if d in SIDES}
    steps = {d: n if d in closed else n - 1 for d, n in sizes.items()}
    missed = [d for d, n in steps.items() if n % stride]
    if not missed:
        return
    common = math.gcd(*steps.values())
    good = [str(s) for s in range(1, common // 2 + 1) if common % s == 0] or ["1"]
    axis = missed[0]
    kind = "periodic axis" if axis in closed else "axis"
    raise DataError(
        f"{path}: subsample={stride} does not keep the domain: it misses the end of "
        f"{kind} {axis} ({sizes[axis]} points). Take subsample={', '.join(good)}"
    )


def channel_names(variable: VariableSpec) -> list[str]:
    """Names of the channels a variable becomes: one, or one a layer or component."""
    for dim in ("layer", "component"):
        if dim in variable.dims:
            count = variable.shape[variable.dims.index(dim)]
            return [f"{variable.name}[{k}]" for k in range(count)]
    return [variable.name]


def _quantity(variable: VariableSpec) -> Quantity:
    channels = len(channel_names(variable))
    return Quantity(variable.name, channels, variable.units)


def _channels(variables: Sequence[VariableSpec]) -> tuple[str, ...]:
    return tuple(c for v in variables for c in channel_names(v))


def _tensor(array: NDArray[np.floating]) -> torch.Tensor:
    if not array.flags.writeable:  # a broadcast: torch wants memory of its own
        array = array.copy()
    return torch.from_numpy(array.astype(np.float32, copy=False))
