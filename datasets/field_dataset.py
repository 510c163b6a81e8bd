"""The torch Dataset over a data file: channels first, physical units, read lazily."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from opkit.datasets.header import VariableSpec
from opkit.datasets.read import DataFile
from opkit.errors import DataError

Mode = Literal["map", "autoregressive", "space-time"]


class FieldDataset(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Samples of one split as float32 tensors.

    Each item is a dict with ``"inputs"`` and ``"outputs"``; layers are channels.

    ==================  ================================  ==============================
    mode                inputs                            outputs
    ==================  ================================  ==============================
    map                 (channel, *space)                 (channel, *space), last frame
    autoregressive      (history, channel, *space)        (time, channel, *space)
    space-time          (channel, time, *space)           (channel, time, *space)
    ==================  ================================  ==============================

    In mode ``autoregressive`` the channels are those of the outputs: the first
    ``history`` frames are given, the others asked for. Inputs that are not the initial
    state of an output (a forcing, a permeability) come under ``"static"``
    (channel, *space) where there are any. In mode ``space-time`` inputs without time
    are repeated along it. Inputs on the points of a boundary curve (dimension
    ``boundary``) come under ``"boundary"`` (channel, boundary), mode ``map`` only. Only
    the samples asked for are read; workers of a DataLoader,
    forked or spawned, open the file themselves.

    Args:
        path: the data file.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        subsample: stride in space.
        mode: see above.
        history: frames given in mode ``autoregressive``.
        subsample_time: stride in time.
        trusted: see `DataFile`.

    Raises:
        DataError: no such split, or a mode that does not fit the file.
    """

    def __init__(
        self,
        path: str | Path,
        split: str,
        subsample: int = 1,
        mode: Mode = "map",
        history: int = 1,
        subsample_time: int = 1,
        trusted: bool = False,
    ) -> None:
        if mode not in get_args(Mode):
            raise DataError(f"unknown mode {mode!r}; choose from {get_args(Mode)}")
        if min(subsample, subsample_time, history) < 1:
            raise DataError("subsample, subsample_time and history start at 1")
        self.file = DataFile(path, trusted)
        self.header = self.file.header
        self.rows = self.file.indices(split)
        self.mode, self.history = mode, history
        self._strides = {"time": subsample_time, "layer": 1}
        self._default_stride = subsample
        times = -(-self.header.sizes.get("time", 1) // subsample_time)
        timed = all("time" in v.dims for v in self.header.outputs)
        if mode != "map" and not timed:
            raise DataError(
                f"{path}: mode {mode!r} needs outputs with a time dimension"
            )
        if mode == "autoregressive" and history >= times:
            raise DataError(
                f"{path}: {times} frames leave none after history={history}"
            )
        self._curve = [v for v in self.header.inputs if "boundary" in v.dims]
        self._fields = [v for v in self.header.inputs if "boundary" not in v.dims]
        if self._curve and (mode != "map" or subsample > 1 or not self._fields):
            raise DataError(
                f"{path}: data on a boundary curve belong to one grid of fields: "
                "leave subsample at 1 and mode at map"
            )
        self._states = initial_states(self.header.inputs, self.header.outputs)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: int) -> dict[str, torch.Tensor]:
        return self.__getitems__([item])[0]

    def __getitems__(self, items: list[int]) -> list[dict[str, torch.Tensor]]:
        """Return several samples, read together."""
        for item in items:
            if not -len(self) <= item < len(self):
                raise IndexError(f"item {item} of {len(self)}")
        names = [v.name for v in self.header.variables]
        data = self.file.read_together(names, self.rows[items])
        arrays = self._arrays({v.name: self._frames(v, data[v.name])
                               for v in self.header.variables})  # fmt: skip
        parts = [_tensor(array).unbind() for array in arrays.values()]
        return [
            {k: t.contiguous() for k, t in zip(arrays, sample, strict=True)}
            for sample in zip(*parts, strict=True)
        ]

    def _arrays(
        self, frames: dict[str, NDArray[np.floating]]
    ) -> dict[str, NDArray[np.floating]]:
        """Arrange (batch, time, channel, *space) of each variable as the mode says."""
        inputs = [frames[v.name] for v in self._fields]
        outputs = _join([frames[v.name] for v in self.header.outputs], 2)
        if self.mode == "map":
            arrays = {
                "inputs": _join([f[:, -1] for f in inputs], 1),
                "outputs": outputs[:, -1],
            }
            if self._curve:
                arrays["boundary"] = _join(
                    [frames[v.name][:, -1] for v in self._curve], 1
                )
        elif self.mode == "autoregressive":
            arrays = {
                "inputs": outputs[:, : self.history],
                "outputs": outputs[:, self.history :],
            }
            static = [
                f[:, 0]
                for v, f in zip(self._fields, inputs, strict=True)
                if v.name not in self._states
            ]
            if static:
                arrays["static"] = _join(static, 1)
        else:
            batch, times = outputs.shape[:2]
            whole = [np.broadcast_to(f, (batch, times, *f.shape[2:])) for f in inputs]
            arrays = {
                "inputs": _join(whole, 2).swapaxes(1, 2),
                "outputs": outputs.swapaxes(1, 2),
            }
        return arrays

    @property
    def input_channels(self) -> tuple[str, ...]:
        """Names of the channels of ``"inputs"``; ``vorticity[0]`` is a layer."""
        chosen: Sequence[VariableSpec] = self._fields
        if self.mode == "autoregressive":
            chosen = self.header.outputs
        return tuple(c for v in chosen for c in channel_names(v))

    @property
    def boundary_channels(self) -> tuple[str, ...]:
        """Names of the channels of ``"boundary"``."""
        return tuple(c for v in self._curve for c in channel_names(v))

    @property
    def output_channels(self) -> tuple[str, ...]:
        """Names of the channels of ``"outputs"``."""
        return tuple(c for v in self.header.outputs for c in channel_names(v))

    def axis(self, dim: str) -> NDArray[np.float64]:
        """Coordinate values along a dimension, after subsampling."""
        values = self.header.coordinates[dim].values
        return values[:: self._strides.get(dim, self._default_stride)]

    def _frames(
        self, variable: VariableSpec, data: NDArray[np.floating]
    ) -> NDArray[np.floating]:
        """Subsample to (batch, time, channel, *space); one time where there is none."""
        data = data[:, *(slice(None, None, self._stride(d)) for d in variable.dims)]
        if "layer" not in variable.dims:
            data = np.expand_dims(data, 2 if "time" in variable.dims else 1)
        return data if "time" in variable.dims else data[:, None]

    def _stride(self, dim: str) -> int:
        if dim in ("boundary", "node", "cell"):
            return 1
        return self._strides.get(dim, self._default_stride)


def channel_names(variable: VariableSpec) -> list[str]:
    """Names of the channels a variable becomes: one, or one a layer."""
    if "layer" not in variable.dims:
        return [variable.name]
    layers = variable.shape[variable.dims.index("layer")]
    return [f"{variable.name}[{k}]" for k in range(layers)]


def initial_states(
    inputs: tuple[VariableSpec, ...], outputs: tuple[VariableSpec, ...]
) -> set[str]:
    """Names of inputs that are an output's initial state: ``initial_`` + its name."""
    states = {f"initial_{v.name}" for v in outputs if "time" in v.dims}
    return {v.name for v in inputs} & states


def _join(arrays: list[NDArray[np.floating]], axis: int) -> NDArray[np.floating]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis)


def _tensor(array: NDArray[np.floating]) -> torch.Tensor:
    if not array.flags.writeable:  # a broadcast: torch wants memory of its own
        array = array.copy()
    return torch.from_numpy(array.astype(np.float32, copy=False))
