"""Adapters between users' arrays and (batch, channel, *space) tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from opkit.bundle import BundleConfig, Channels
from opkit.errors import OpkitInputError

if TYPE_CHECKING:
    import xarray as xr

Predict = Callable[..., Tensor]
"""Maps inputs, and boundary data where there are any, to outputs."""


def apply(predict: Predict, inputs: Any, config: BundleConfig) -> Any:
    """Call ``predict`` on arrays of any kind, and give back the same kind."""
    if isinstance(inputs, Mapping) and not hasattr(inputs, "dims"):
        return _apply_dict(predict, inputs, config)
    if hasattr(inputs, "dims") and hasattr(inputs, "coords"):
        return _apply_xarray(predict, inputs, config)
    return _apply_array(predict, inputs, config)


def _apply_array(predict: Predict, inputs: Any, config: BundleConfig) -> Any:
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
    if history:
        result = result[:, 0]
    if no_channel and result.shape[1] == 1:
        result = result.squeeze(1)
    if not batched:
        result = result.squeeze(0)
    return result if isinstance(inputs, Tensor) else result.numpy()


def _apply_dict(
    predict: Predict, inputs: Mapping[str, Any], config: BundleConfig
) -> dict[str, Any]:
    asked = (*config.inputs, *config.boundary)
    _check_names(list(inputs), [v.name for v in asked])
    tensors, batched = [], None
    for variable in asked:
        tensor = _tensor(inputs[variable.name])
        space = 1 if variable in config.boundary else len(config.axes)
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
        tensors.append(tensor if variable.channels > 1 else tensor.unsqueeze(1))
    result = predict(*_roles(tensors, config))
    result = result if batched else result.squeeze(0)
    keep = isinstance(next(iter(inputs.values())), Tensor)
    split = _split(result, config.outputs, channel_axis=int(bool(batched)))
    return {k: v if keep else v.numpy() for k, v in split.items()}


def _apply_xarray(predict: Predict, inputs: Any, config: BundleConfig) -> Any:
    import xarray as xr

    if isinstance(inputs, xr.DataArray):
        if len(config.inputs) != 1:
            names = ", ".join(v.name for v in config.inputs)
            raise OpkitInputError(f"give an xarray.Dataset with {names}")
        dataset = inputs.to_dataset(name=config.inputs[0].name)
        out = _apply_dataset(predict, dataset, config)
        return out[config.outputs[0].name] if len(config.outputs) == 1 else out
    asked = [v.name for v in (*config.inputs, *config.boundary)]
    _check_names([str(n) for n in inputs.data_vars], asked)
    return _apply_dataset(predict, inputs, config)


def _apply_dataset(
    predict: Predict, dataset: xr.Dataset, config: BundleConfig
) -> xr.Dataset:
    import xarray as xr

    check_extent(dataset.coords, config)
    layered = {v.name for v in config.inputs if v.channels > 1}
    first = dataset[config.inputs[0].name]
    on = config.shape.inputs_on
    given = config.axes if on == "grid" else (on,)
    core = {*given, *(["layer"] if "layer" in first.dims else [])}
    batch = [d for d in first.dims if d not in core]
    columns = []
    for variable in (*config.inputs, *config.boundary):
        array = dataset[variable.name]
        space = ("boundary",) if variable in config.boundary else given
        order = [*batch, *(["layer"] if variable.name in layered else []), *space]
        if set(array.dims) != set(order):
            raise OpkitInputError(
                f"{variable.name} has dims {array.dims}, expected {tuple(order)}"
            )
        tensor = _tensor(array.transpose(*order).values)
        lead = tensor.shape[: len(batch)]
        columns.append(
            tensor.reshape(-1, variable.channels, *tensor.shape[-len(space) :])
        )
    result = predict(*_roles(columns, config)).detach()
    result = result.reshape(*lead, *result.shape[1:])
    made = {}
    parts = _split(result, config.outputs, channel_axis=len(batch))
    for out in config.outputs:
        dims = [*batch, *(["layer"] if out.channels > 1 else []), *config.axes]
        coords = {k: c for k, c in dataset.coords.items() if set(c.dims) <= set(dims)}
        made[out.name] = xr.DataArray(
            parts[out.name].numpy(),
            dims=dims,
            coords=coords,
            attrs={"units": out.units},
        )
    return xr.Dataset(made)


def check_extent(coords: Mapping[Any, Any], config: BundleConfig) -> None:
    """Refuse coordinates that span another domain than the training data's.

    Raises:
        OpkitInputError: an axis spans a length that differs by more than one part in
            a thousand.
    """
    shape = config.shape
    for axis, length, closed in zip(
        config.axes, shape.extent, shape.periodic, strict=True
    ):
        if axis not in coords:
            continue
        values = np.asarray(coords[axis].values, float)
        if len(values) < 2:
            continue
        span = values[-1] - values[0]
        span = span * len(values) / (len(values) - 1) if closed else span
        if abs(span - length) > 1e-3 * length:
            raise OpkitInputError(
                f"axis {axis} spans {span:.6g}, the surrogate was trained on "
                f"{length:.6g}: another domain is another problem; give the whole one"
            )


def _roles(tensors: Sequence[Tensor], config: BundleConfig) -> list[Tensor]:
    count = len(config.inputs)
    parts = [torch.cat(list(tensors[:count]), 1)]
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
