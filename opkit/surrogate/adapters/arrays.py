"""Adapters between users' arrays and (batch, channel, *space) tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from opkit.errors import OpkitInputError
from opkit.surrogate.bundle.record import BundleConfig, Channels

Predict = Callable[..., Tensor]
"""Maps inputs, and boundary data where there are any, to outputs."""


def apply(
    predict: Predict, inputs: Any, config: BundleConfig, steps: int | None = None
) -> Any:
    """Call ``predict`` on arrays of any kind, and give back the same kind.

    Args:
        predict: maps (batch, [history,] channel, *space) to outputs, with an axis of
            frames before the channels in autoregressive mode.
        inputs: what the user gave.
        config: record of the surrogate.
        steps: frames of a rollout; None where the one frame is wanted without an axis.

    Raises:
        OpkitInputError: variables or axes that do not fit.
    """
    if isinstance(inputs, Mapping) and not hasattr(inputs, "dims"):
        return _apply_dict(predict, inputs, config, steps)
    if hasattr(inputs, "dims") and hasattr(inputs, "coords"):
        from opkit.surrogate.adapters import xarray_objects as arrays_xarray

        return arrays_xarray.apply(predict, inputs, config, steps)
    return _apply_array(predict, inputs, config, steps)


def refuse_lazy(inputs: Any, why: str) -> None:
    """Refuse arrays on dask where values are needed now.

    Raises:
        OpkitInputError: an input lies on dask.
    """
    if getattr(inputs, "chunksizes", None):
        raise OpkitInputError(f"{why}: .compute() the inputs first")


def _apply_array(
    predict: Predict, inputs: Any, config: BundleConfig, steps: int | None
) -> Any:
    if config.boundary:
        names = ", ".join(v.name for v in (*config.inputs, *config.boundary))
        raise OpkitInputError(f"give a dict or an xarray.Dataset with {names}")
    tensor = _tensor(inputs)
    history = config.recipe.mode == "autoregressive"
    space = len(config.axes)
    full = space + (3 if history else 2)
    channels = sum(v.channels for v in config.inputs)
    given = tensor.ndim
    no_channel = not history and channels == 1 and given in (space, space + 1)
    if no_channel:
        tensor = tensor.unsqueeze(-space - 1)
    batched = tensor.ndim == full
    if not batched:
        tensor = tensor.unsqueeze(0)
    if tensor.ndim != full:
        raise OpkitInputError(
            f"inputs have {given} axes: give ([batch,] {'history, ' if history else ''}"
            f"{'' if channels == 1 else 'channel, '}{', '.join(config.axes)})"
        )
    result = predict(tensor)
    if history and steps is None:
        result = result[:, 0]
    if no_channel and result.shape[1] == 1:
        result = result.squeeze(1)
    if not batched:
        result = result.squeeze(0)
    return result if isinstance(inputs, Tensor) else result.numpy()


def _apply_dict(
    predict: Predict, inputs: Mapping[str, Any], config: BundleConfig, steps: int | None
) -> dict[str, Any]:
    asked = (*config.inputs, *config.boundary)
    frame = int(config.recipe.mode == "autoregressive")
    _check_names(list(inputs), [v.name for v in asked])
    tensors, batched = [], None
    for variable in asked:
        tensor = _tensor(inputs[variable.name])
        space = 1 if variable in config.boundary else len(config.axes) + frame
        own = space + (variable.channels > 1)
        if tensor.ndim not in (own, own + 1):
            raise OpkitInputError(
                f"{variable.name} has {tensor.ndim} axes, expected {own} or, "
                f"with a batch, {own + 1}"
            )
        if batched is not None and batched != (tensor.ndim > own):
            raise OpkitInputError("either all variables have a batch axis or none")
        batched = tensor.ndim > own
        tensor = tensor if batched else tensor.unsqueeze(0)
        axis = 1 + frame
        tensors.append(tensor if variable.channels > 1 else tensor.unsqueeze(axis))
    result = predict(*_roles(tensors, config, 1 + frame))
    if frame and steps is None:
        result = result[:, 0]
    result = result if batched else result.squeeze(0)
    keep = isinstance(next(iter(inputs.values())), Tensor)
    axis = int(bool(batched)) + (steps is not None)
    split = _split(result, config.outputs, channel_axis=axis)
    return {k: v if keep else v.numpy() for k, v in split.items()}


def _roles(tensors: Sequence[Tensor], config: BundleConfig, axis: int) -> list[Tensor]:
    count = len(config.inputs)
    parts = [torch.cat(list(tensors[:count]), axis)]
    return [*parts, torch.cat(list(tensors[count:]), 1)] if config.boundary else parts


def _split(
    result: Tensor, variables: Sequence[Channels], channel_axis: int
) -> dict[str, Tensor]:
    parts = torch.split(result, [v.channels for v in variables], channel_axis)
    return {
        v.name: part if v.channels > 1 else part.squeeze(channel_axis)
        for v, part in zip(variables, parts, strict=True)
    }


def _tensor(values: Any) -> Tensor:
    if isinstance(values, Tensor):
        return values if values.is_floating_point() else values.float()
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise OpkitInputError(f"inputs of type {array.dtype}: give real numbers")
    kind = array.dtype if array.dtype in (np.float32, np.float64) else np.float32
    return torch.from_numpy(np.array(array, dtype=kind))


def _check_names(given: list[str], expected: list[str]) -> None:
    missing = [name for name in expected if name not in given]
    if missing:
        raise OpkitInputError(
            f"inputs lack {', '.join(missing)}: give {', '.join(expected)}"
        )
