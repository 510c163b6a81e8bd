"""Modes: how the variables of a file become inputs and outputs of an operator.

==================  ==============================  ==============================
mode                fields                          outputs
==================  ==============================  ==============================
map                 (channel, *space)               (channel, *space), last record
autoregressive      (history, channel, *space)      (time, channel, *space)
space-time          (channel, time, *space)         (channel, time, *space)
==================  ==============================  ==============================

In mode ``autoregressive`` the channels are those of the outputs: the first ``history``
frames are given, the others asked for. Inputs that are not the initial state of an
output (a forcing, a permeability) are static fields. Functions of time have a value for
each frame: a step is given those at the frames that it sees and at the one that it
makes (`Autoregressive.length`). In mode ``space-time`` inputs without time are repeated
along it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from opkit.datasets.header import Header, VariableSpec
from opkit.errors import DataError, OpkitInputError, nearest

Array = NDArray[Any]
Frames = Mapping[str, Array]
"""Variable name to (batch, time, channel, *space); one time where there is none."""


@dataclass(frozen=True)
class Mode:
    """The mode ``map``: inputs to the last record of the outputs.

    Other modes derive from it and change what they do otherwise.

    Args:
        history: frames that the operator sees; 0 where it makes no steps.
    """

    name: ClassVar[str] = "map"
    needs_time: ClassVar[bool] = False
    history: int = 0

    def __str__(self) -> str:
        """Return the name, with the history where there is one."""
        return self.name

    def axes(self, space: Sequence[str]) -> tuple[str, ...]:
        """Return the axes that an operator works on."""
        return tuple(space)

    def refuse(self, header: Header, records: int) -> None:
        """Refuse a file with too few records.

        Raises:
            DataError: it has.
        """

    def fields(self, header: Header) -> list[VariableSpec]:
        """Return the variables whose channels are those of the fields."""
        return inputs_on_fields(header)

    def static(self, header: Header) -> list[VariableSpec]:
        """Return the inputs that stay as they are along a rollout."""
        return []

    def series(self, header: Header) -> list[VariableSpec]:
        """Return the inputs that are functions of time beside the fields."""
        return [v for v in header.inputs if v.is_series]

    def along(self, series: Array, header: Header) -> Array:
        """Return what a sample holds of functions of time (..., time) of a file."""
        return series

    def length(self, records: int, steps: int = 1) -> int:
        """Return how many values of a function of time are given.

        Args:
            records: of the samples.
            steps: that are asked for, where there are any.
        """
        return records

    def fixed(self, times: Sequence[float]) -> tuple[float, ...]:
        """Return the times that functions of time must be given at; none if any do."""
        return tuple(times)

    def outputs(self, header: Header) -> list[VariableSpec]:
        """Return the outputs on the axes of the operator."""
        return [v for v in header.outputs if v.is_field]

    def readouts(self, header: Header) -> list[VariableSpec]:
        """Return the other outputs: numbers, short vectors and series per sample."""
        fields = self.outputs(header)
        return [v for v in header.outputs if v not in fields]

    def arrange(self, frames: Frames, header: Header) -> dict[str, Array]:
        """Arrange a batch by role: ``inputs``, ``outputs`` and what else there is."""
        arrays = {}
        outputs = [frames[v.name][:, -1] for v in self.outputs(header)]
        fields = [frames[v.name][:, -1] for v in self.fields(header)]
        if fields or outputs:
            # no input fields: none on the points of the outputs
            arrays["inputs"] = _join(fields or [outputs[0][:, :0]], 1)
        if outputs:
            arrays["outputs"] = _join(outputs, 1)
        curve = [v for v in header.inputs if "boundary" in v.dims]
        if curve:
            arrays["boundary"] = _join([frames[v.name][:, -1] for v in curve], 1)
        return arrays

    def times(self, times: Array, header: Header) -> Array:
        """Return the times of the outputs, of those of all records."""
        return times[-1:]

    def scored(self, records: Any, header: Header) -> Any:
        """Choose and flatten what is scored, of (batch, time, channel, *space) arrays.

        Returns:
            (sample, channel, *space).
        """
        return records[:, -1]

    def to_records(self, values: Array, timed: bool, layered: bool) -> Array:
        """Turn a tensor's (batch, channel, *space) into a variable as it is stored."""
        values = values if layered else values[:, 0]
        return values[:, None] if timed else values

    def from_records(self, values: Array, timed: bool, layered: bool) -> Array:
        """Turn a stored variable into (batch, channel, *space): `to_records` undone."""
        values = values[:, -1] if timed else values
        return values if layered else values[:, None]


@dataclass(frozen=True)
class Autoregressive(Mode):
    """Each frame from the ``history`` frames before it.

    Args:
        history: frames that the operator sees.
        initial: whether the initial state, where a file holds it as an input, is the
            first frame.
    """

    name: ClassVar[str] = "autoregressive"
    needs_time: ClassVar[bool] = True
    history: int = 1
    initial: bool = True

    def __str__(self) -> str:
        """Return the name and the history."""
        return f"{self.name}, history {self.history}"

    def refuse(self, header: Header, records: int) -> None:
        """Refuse trajectories that leave no frame to predict."""
        apart = self.readouts(header)
        if apart:
            state = ", ".join(v.name for v in self.outputs(header)) or "a field"
            raise DataError(
                f"the output {apart[0].name} is no field, and a step in time is from "
                f"field to field: declare it as a quantity of {state}, which a rollout "
                "gives at each step, or use mode map or space-time"
            )
        frames = records + starts_at_initial(header) * self.initial
        if self.history >= frames:
            raise DataError(f"{frames} frames leave none after history={self.history}")

    def fields(self, header: Header) -> list[VariableSpec]:
        """Return the outputs: states come in, states go out."""
        return list(header.outputs)

    def static(self, header: Header) -> list[VariableSpec]:
        """Return the inputs that are no initial states."""
        states = initial_states(header.inputs, header.outputs)
        return [v for v in inputs_on_fields(header) if v.name not in states]

    def along(self, series: Array, header: Header) -> Array:
        """Return a value for each frame.

        An initial state that lies before the records has that of the first record.
        """
        if not self._starts(header):
            return series
        return np.concatenate([series[..., :1], series], -1)

    def length(self, records: int, steps: int = 1) -> int:
        """Return one value for each frame that is given, and for each asked for."""
        return self.history + steps

    def fixed(self, times: Sequence[float]) -> tuple[float, ...]:
        """Return none: a rollout may begin at any time."""
        return ()

    def arrange(self, frames: Frames, header: Header) -> dict[str, Array]:
        """Cut trajectories into the frames that are given and those asked for."""
        states = _join([frames[v.name] for v in header.outputs], 2)
        if self._starts(header):
            first = [frames[f"initial_{v.name}"][:, -1:] for v in header.outputs]
            states = np.concatenate([_join(first, 2), states], 1)
        arrays = {
            "inputs": states[:, : self.history],
            "outputs": states[:, self.history :],
        }
        static = [frames[v.name][:, 0] for v in self.static(header)]
        if static:
            arrays["static"] = _join(static, 1)
        return arrays

    def times(self, times: Array, header: Header) -> Array:
        """Return the times of the frames asked for."""
        return times[self._history_records(header) :]

    def scored(self, records: Any, header: Header) -> Any:
        """Take every frame asked for as a sample."""
        frames = records[:, self._history_records(header) :]
        return frames.reshape(-1, *frames.shape[2:])

    def to_records(self, values: Array, timed: bool, layered: bool) -> Array:
        """Turn a state into a variable without time."""
        return values if layered else values[:, 0]

    def from_records(self, values: Array, timed: bool, layered: bool) -> Array:
        """Turn records into (batch, time, channel, *space)."""
        return values if layered else values[:, :, None]

    def _history_records(self, header: Header) -> int:
        """Return how many records of a file the history takes."""
        return self.history - self._starts(header)

    def _starts(self, header: Header) -> bool:
        return self.initial and starts_at_initial(header)


@dataclass(frozen=True)
class SpaceTime(Mode):
    """All records at once, with time as the first axis of space."""

    name: ClassVar[str] = "space-time"
    needs_time: ClassVar[bool] = True

    def axes(self, space: Sequence[str]) -> tuple[str, ...]:
        """Return time and space."""
        return ("time", *space)

    def fields(self, header: Header) -> list[VariableSpec]:
        """Return the input fields; series where time is the only axis."""
        if is_in_time_alone(header):
            return [v for v in header.inputs if v.is_series]
        return super().fields(header)

    def series(self, header: Header) -> list[VariableSpec]:
        """Return the series beside the fields; none where they are the fields."""
        return [] if is_in_time_alone(header) else super().series(header)

    def outputs(self, header: Header) -> list[VariableSpec]:
        """Return the outputs on time and space, or on time where there is no space."""
        if is_in_time_alone(header):
            return [v for v in header.outputs if v.is_series]
        return super().outputs(header)

    def arrange(self, frames: Frames, header: Header) -> dict[str, Array]:
        """Put channels before time; repeat inputs without time along it."""
        outputs = _join([frames[v.name] for v in self.outputs(header)], 2)
        batch, times = outputs.shape[:2]
        inputs = [frames[v.name] for v in self.fields(header)]
        whole = [np.broadcast_to(f, (batch, times, *f.shape[2:])) for f in inputs]
        return {
            "inputs": _join(whole or [outputs[:, :, :0]], 2).swapaxes(1, 2),
            "outputs": outputs.swapaxes(1, 2),
        }

    def times(self, times: Array, header: Header) -> Array:
        """Return all times."""
        return times

    def scored(self, records: Any, header: Header) -> Any:
        """Put channels before time."""
        return records.swapaxes(1, 2)

    def to_records(self, values: Array, timed: bool, layered: bool) -> Array:
        """Put time before layers; take the first of repeated inputs."""
        values = values if layered else values[:, 0]
        axis = 2 if layered else 1
        first: Array = np.take(values, 0, axis=axis)
        return np.moveaxis(values, axis, 1) if timed else first

    def from_records(self, values: Array, timed: bool, layered: bool) -> Array:
        """Put layers before time."""
        return np.moveaxis(values, 2, 1) if layered else values[:, None]


MODES: dict[str, type[Mode]] = {m.name: m for m in (Mode, Autoregressive, SpaceTime)}


def mode_of(name: str, history: int = 1, initial: bool = True) -> Mode:
    """Return a mode by name.

    Args:
        name: out of `MODES`.
        history: frames given, for mode ``autoregressive``.
        initial: see `Autoregressive`.

    Raises:
        DataError: the name is unknown.
    """
    if name not in MODES:
        raise DataError(
            f"unknown mode {name!r}.{nearest(name, MODES)} Known: {', '.join(MODES)}."
        )
    if MODES[name] is Autoregressive:
        return Autoregressive(history, initial)
    return MODES[name]()


def need_steps(mode: Mode) -> None:
    """Refuse a mode that makes no steps.

    Raises:
        OpkitInputError: it does not.
    """
    if not mode.history:
        raise OpkitInputError(
            "this surrogate maps inputs to outputs at once: train with "
            "--set mode=autoregressive for rollouts"
        )


def inputs_on_fields(header: Header) -> list[VariableSpec]:
    """Return the inputs that are fields, and not on a boundary curve."""
    return [v for v in header.inputs if v.is_field and "boundary" not in v.dims]


def is_in_time_alone(header: Header) -> bool:
    """Whether nothing in a file has a place: time is then the only axis there is."""
    return not any(v.is_field for v in header.variables)


def initial_states(
    inputs: Sequence[VariableSpec], outputs: Sequence[VariableSpec]
) -> set[str]:
    """Names of inputs that are an output's initial state: ``initial_`` + its name."""
    states = {f"initial_{v.name}" for v in outputs if "time" in v.dims}
    return {v.name for v in inputs} & states


def starts_at_initial(header: Header) -> bool:
    """Whether the initial states are the record before the first one.

    Every output has one, and the first record lies one step of time after 0.
    """
    states = initial_states(header.inputs, header.outputs)
    if len(states) < len(header.outputs) or "time" not in header.coordinates:
        return False
    times = header.coordinates["time"].values
    step = times[1] - times[0] if len(times) > 1 else times[0]
    return bool(step > 0 and abs(times[0] - step) <= 1e-6 * step)


def _join(arrays: list[Array], axis: int) -> Array:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis)
