"""Refuse tensors that a surrogate cannot take, in one line."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from opkit.datasets.agreement import PART, refuse_other
from opkit.elements.weights import fold_of_grid
from opkit.errors import DataError, NonFiniteError, OpkitInputError
from opkit.operators.inputs import Inputs, refuse_short
from opkit.operators.shapes import DataShape, MeshShape
from opkit.surrogate.bundle.record import BundleConfig, Channels

if TYPE_CHECKING:
    from opkit.datasets.field_dataset import FieldDataset

TRAINED = "the surrogate was trained on"
"""Subject and verb of what a surrogate's record says, in messages."""
POINTS = "points"
"""Name under which places of nodes may be given, where each sample has its own."""
WEIGHTS = "weights"
"""The same of the area or volume that belongs to each."""
TAKEN = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_plain(tensor: Tensor) -> None:
    """Refuse tensors that are no plain array of real numbers.

    Raises:
        OpkitInputError: nested, sparse, quantised, without values, complex, or of a
            floating-point type of eight bits.
    """
    plain = not tensor.is_nested and tensor.layout == torch.strided
    if not plain or tensor.is_quantized:
        raise OpkitInputError(
            "inputs are a nested, sparse or quantised tensor: give a dense one "
            "(to_dense(), dequantize(), torch.stack)"
        )
    if tensor.is_meta:
        raise OpkitInputError("inputs are a tensor without values (device meta)")
    if tensor.is_complex() or (
        tensor.is_floating_point() and tensor.dtype not in TAKEN
    ):
        raise OpkitInputError(f"inputs of type {tensor.dtype}: give real numbers")


def check_inputs(
    config: BundleConfig,
    shape: DataShape | MeshShape,
    inputs: Inputs,
    dtype: torch.dtype = torch.float32,
    steps: int = 1,
) -> None:
    """Check axes, channels, frames, values and grid of what a surrogate is given.

    Args:
        config: record of the surrogate.
        shape: what its operator was built for.
        inputs: a batch.
        dtype: that the model computes in, and in which values must be finite.
        steps: that are asked for, of one that makes steps.

    Raises:
        OpkitInputError: they do not fit, or are not finite.
    """
    if not isinstance(inputs, Inputs):
        raise OpkitInputError(
            f"predict takes a torch tensor or Inputs, not a {type(inputs).__name__}: "
            "call the surrogate itself, surrogate(...), for arrays and dicts"
        )
    for tensor in inputs.by_role.values():
        check_plain(tensor)
    fields, history = inputs.fields, config.history
    axes = config.shape.input_axes(config.axes)
    lead = 3 if history else 2
    if fields.ndim != lead + len(axes):
        raise OpkitInputError(
            f"inputs have {fields.ndim} axes, expected {lead + len(axes)}: "
            f"batch, {'history, ' if history else ''}channel, " + ", ".join(axes)
        )
    if history and fields.shape[1] != history:
        raise OpkitInputError(
            f"inputs have {fields.shape[1]} frames, expected {history}"
        )
    for role, variables in config.by_role.items():
        _check_role(role, variables, inputs, lead)
    if config.series:
        _check_series(config, inputs.need("series"), steps)
    for role, tensor in inputs.by_role.items():
        place = _not_finite(tensor.to(dtype))
        if place is not None:
            axis = lead - 1 if role == "fields" else 1
            name = _variable_at(config.by_role.get(role, ()), place[axis]) or role
            index = [k for a, k in enumerate(place) if a not in (0, axis)]
            raise OpkitInputError(
                f"{name} holds NaN or infinity, or a value beyond {_name(dtype)}, in "
                f"sample {place[0]}{f' at {index}' if index else ''}: remove such "
                "samples"
            )
    _check_logs(config, inputs)
    space = tuple(fields.shape[lead:])
    if isinstance(shape, MeshShape):
        shape.refuse(space)
    elif config.shape.is_other_grid(space):
        _warn_resolution(config, space)


def _variable_at(variables: tuple[Channels, ...], channel: int) -> str:
    """Name the variable that a channel of its role belongs to."""
    names = [v.name for v in variables for _ in range(v.channels)]
    return names[channel] if channel < len(names) else ""


def _check_logs(config: BundleConfig, inputs: Inputs) -> None:
    """Refuse numbers without the logarithm that a surrogate is given."""
    if inputs.parameters is None or all(v.scale != "log" for v in config.parameters):
        return
    ends = [v.channels for v in config.parameters]
    for v, part in zip(
        config.parameters, torch.split(inputs.parameters, ends, 1), strict=True
    ):
        bad = _first(part <= 0) if v.scale == "log" else None
        if bad is not None:
            raise OpkitInputError(
                f"{v.name} of sample {bad[0]} is {float(part[bad]):g}: its law is "
                "log-uniform, give a number above 0"
            )


def refuse_other_data(config: BundleConfig, samples: FieldDataset) -> None:
    """Refuse samples of other variables, units, extents or steps than in training.

    Raises:
        DataError: the message names what differs.
    """
    where = samples.file.path
    try:
        stated = samples.stated(config.axes)
        refuse_other(config.stated, stated, TRAINED)
        if config.times:
            check_times(samples.axis("time").tolist(), config)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def check_length(
    name: str, length: int, config: BundleConfig, steps: int | None = None
) -> None:
    """Refuse a function of time with another number of values than it takes.

    That of the training, or of a rollout at least one for each frame.

    Args:
        name: of the function.
        length: values that are given.
        config: record of the surrogate.
        steps: of a rollout; one where None.

    Raises:
        OpkitInputError: it has.
    """
    if config.history:
        refuse_short(length, steps or 1, config.history, name)
        return
    times = config.times
    if length != len(times):
        raise OpkitInputError(
            f"{name} has {length} values in time, {TRAINED} {len(times)}, from "
            f"{times[0]:g} to {times[-1]:g}: give its values at those times"
        )


def check_times(given: Sequence[float], config: BundleConfig) -> None:
    """Refuse functions of time at other times than those of the training.

    Raises:
        DataError: naming both.
    """
    own = config.times
    if not len(own):
        return
    span = max(abs(own[0]), abs(own[-1]))
    if len(own) == len(given) and max(
        abs(a - b) for a, b in zip(own, given, strict=True)
    ) <= PART * span / len(own):
        return
    raise DataError(
        f"axis time has {len(given)} values from {given[0]:g} to {given[-1]:g}, "
        f"{TRAINED} {len(own)} from {own[0]:g} to {own[-1]:g}: interpolate to those"
    )


def _check_series(config: BundleConfig, series: Tensor, steps: int) -> None:
    """Refuse functions of time without an axis of time, or with another one."""
    names = ", ".join(v.name for v in config.series)
    if series.ndim != 3:
        raise OpkitInputError(f"{names}: give series=(batch, series, time)")
    check_length(names, series.shape[2], config, steps)


def _check_role(
    role: str, variables: tuple[Channels, ...], inputs: Inputs, lead: int
) -> None:
    names = ", ".join(v.name for v in variables)
    expected = sum(v.channels for v in variables)
    tensor = inputs.by_role.get(role)
    if tensor is None:
        if expected:
            raise OpkitInputError(f"inputs lack {names}: give {role}={{...}} as well")
        return
    axis = lead - 1 if role == "fields" else 1
    what = "inputs" if role == "fields" else f"{role} data"
    if tensor.ndim <= axis or tensor.shape[axis] != expected:
        channels = tensor.shape[axis] if tensor.ndim > axis else 0
        raise OpkitInputError(
            f"{what} have {channels} channels, expected {expected}: {names or 'none'}"
        )
    if len(tensor) != inputs.batch:
        raise OpkitInputError(
            f"{names or what}: {len(tensor)} samples, the inputs have {inputs.batch}"
        )
    space = tuple(inputs.fields.shape[lead:])
    if role == "static" and tuple(tensor.shape[2:]) != space:
        raise OpkitInputError(
            f"{names} on {tuple(tensor.shape[2:])}, the inputs on {space}: give them "
            "on one grid"
        )


def refuse_folds(config: BundleConfig, points: Tensor) -> None:
    """Refuse mapped grids with a cell that is turned over.

    Args:
        config: record of the surrogate.
        points: (batch, *space, d).

    Raises:
        OpkitInputError: naming sample and cell.
    """
    axes = len(config.axes)
    grid = config.axes != ("node",) and not config.shape.ragged
    if not grid or points.ndim != axes + 2 or points.shape[-1] != axes:
        return
    try:
        places = points.detach().cpu().double().numpy()
    except RuntimeError:  # under torch.func nobody can look at the values
        return
    for k, own in enumerate(places):
        fold = fold_of_grid(own, config.axes, config.shape.periodic)
        if fold:
            raise OpkitInputError(f"sample {k}: {fold}")


def with_finite(predict: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return the function, which then raises where its outputs are not finite.

    Raises:
        NonFiniteError: naming sample and place.
    """

    def run(*arguments: Any, **named: Any) -> Tensor:
        outputs = predict(*arguments, **named)
        place = _not_finite(outputs)
        if place is not None:
            raise NonFiniteError(
                f"the prediction is not finite in sample {place[0]} at "
                f"{list(place[1:])}: its inputs are far from the training inputs, or "
                "the rollout is too long"
            )
        return outputs

    return run


def _not_finite(values: Tensor) -> tuple[int, ...] | None:
    """Where the first value is that is not finite; None if there is none."""
    try:  # a sum is several times faster, and finite only if all values are
        if math.isfinite(values.detach().sum()):
            return None
    except RuntimeError:  # under vmap nobody can look at the values
        return None
    return _first(~torch.isfinite(values))


def _first(marked: Tensor) -> tuple[int, ...] | None:
    """Where the first value is that is marked; None if there is none."""
    try:
        if not marked.any():
            return None
    except RuntimeError:  # under vmap nobody can look at the values
        return None
    return tuple(int(k) for k in marked.nonzero()[0])


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _warn_resolution(config: BundleConfig, space: tuple[int, ...]) -> None:
    measured = [
        f"relative L2 was {row.relative_l2:.3g} there"
        for row in config.scores
        if row.predictor == "surrogate" and row.resolution == space
    ]
    warnings.warn(
        f"trained at {config.shape.shape}, used at {space}: "
        + (measured[0] if measured else "its error there was never measured"),
        stacklevel=5,
    )
