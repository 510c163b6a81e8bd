"""Adapters between users' arrays and (batch, channel, *space) tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from opkit.elements.weights import NodeWeights
from opkit.errors import OpkitInputError, instead
from opkit.operators.inputs import MESH, Inputs
from opkit.surrogate.adapters.at import At
from opkit.surrogate.adapters.fields import no_fields
from opkit.surrogate.adapters.refuse import (
    POINTS,
    WEIGHTS,
    check_length,
    check_plain,
    refuse_folds,
)
from opkit.surrogate.bundle.outputs import by_name
from opkit.surrogate.bundle.record import BundleConfig, Channels

Predict = Callable[[Inputs], Tensor]
"""Maps a batch to outputs, with an axis of frames before the channels in rollouts."""


def apply(
    predict: Predict,
    inputs: Any,
    config: BundleConfig,
    steps: int | None = None,
    static: Any = None,
    at: At | None = None,
) -> Any:
    """Call ``predict`` on arrays of any kind, and give back the same kind.

    Args:
        predict: maps `Inputs` to outputs.
        inputs: what the user gave.
        config: record of the surrogate.
        steps: frames of a rollout; None where the one frame is wanted without an axis.
        static: fields that stay as they are, where ``inputs`` does not hold them.
        at: points that ``predict`` answers at; None where it answers on the nodes.

    Raises:
        OpkitInputError: variables or axes that do not fit.
    """
    if is_xarray(inputs):
        from opkit.surrogate.adapters import xarray_objects

        return xarray_objects.apply(predict, inputs, config, steps, static, at)
    if isinstance(inputs, Mapping):
        return _apply_dict(predict, inputs, config, steps, static)
    return _apply_array(predict, inputs, config, steps, static)


def is_xarray(inputs: Any) -> bool:
    """Whether inputs are an xarray object; needs no xarray."""
    return type(inputs).__module__.partition(".")[0] == "xarray"


def refuse_lazy(inputs: Any, why: str) -> None:
    """Refuse arrays on dask where values are needed now.

    Raises:
        OpkitInputError: an input lies on dask.
    """
    if is_xarray(inputs) and inputs.chunksizes:
        raise OpkitInputError(f"{why}: .compute() the inputs first")


def _apply_array(
    predict: Predict,
    inputs: Any,
    config: BundleConfig,
    steps: int | None,
    static: Any,
) -> Any:
    kinds = (config.inputs, config.parameters, config.series)
    if config.boundary or sum(map(bool, kinds)) > 1 or config.shape.packing:
        names = ", ".join(v.name for v in config.all_inputs)
        raise OpkitInputError(f"give a dict or an xarray.Dataset with {names}")
    if not any(kinds):
        raise OpkitInputError(f"give a dict or an xarray.Dataset with {POINTS}")
    tensor = as_tensor(inputs)
    if config.parameters:
        return _apply_numbers(predict, tensor, inputs, config)
    if config.series:
        names = ", ".join(v.name for v in config.all_inputs)
        raise OpkitInputError(f"give a dict or an xarray.Dataset with {names}")
    history = config.history
    space = len(config.axes)
    full = space + (3 if history else 2)
    channels = sum(v.channels for v in config.inputs)
    count = tensor.ndim
    no_channel = not history and channels == 1 and count in (space, space + 1)
    if no_channel:
        tensor = tensor.unsqueeze(-space - 1)
    batched = tensor.ndim == full
    if not batched:
        tensor = tensor.unsqueeze(0)
    if tensor.ndim != full:
        before = "history, channel, " if history else "channel, " * (channels > 1)
        axes = before + ", ".join(config.axes)
        raise OpkitInputError(f"inputs have {count} axes: give ([batch,] {axes})")
    fixed = _static(static, config, len(tensor))
    result = predict(Inputs(tensor, static=fixed))
    if history and steps is None:
        result = result[:, 0]
    if no_channel and result.shape[1] == 1:
        result = result.squeeze(1)
    if not batched:
        result = result.squeeze(0)
    return result if isinstance(inputs, Tensor) else result.detach().numpy()


def _apply_numbers(
    predict: Predict, numbers: Tensor, inputs: Any, config: BundleConfig
) -> Any:
    """Predict for ([batch,] parameter): all parameters joined, and no fields."""
    count = sum(v.channels for v in config.parameters)
    if numbers.ndim not in (1, 2) or numbers.shape[-1] != count:
        names = ", ".join(v.name for v in config.parameters)
        raise OpkitInputError(
            f"inputs have shape {tuple(numbers.shape)}: give ([batch,] {count}), "
            f"the numbers of {names}"
        )
    batched = numbers.ndim == 2
    rows = numbers if batched else numbers[None]
    none = no_fields({"parameters": rows}, config)
    result = predict(Inputs(none, parameters=rows))
    if sum(v.channels for v in config.outputs) == 1:
        result = result.squeeze(1)
    result = result if batched else result.squeeze(0)
    return result if isinstance(inputs, Tensor) else result.detach().numpy()


def _apply_dict(
    predict: Predict,
    inputs: Mapping[str, Any],
    config: BundleConfig,
    steps: int | None,
    static: Any,
) -> dict[str, Any]:
    frame = int(bool(config.history))
    batch, batched = batch_of(inputs, config, static, steps)
    result = predict(batch)
    if frame and steps is None:
        result = result[:, 0]
    keep = isinstance(next(iter(inputs.values())), Tensor)
    split = by_name(result, config, 1 + (steps is not None))
    if not batched:
        split = {k: v.squeeze(0) for k, v in split.items()}
    return {k: v if keep else v.detach().numpy() for k, v in split.items()}


def batch_of(
    inputs: Mapping[str, Any],
    config: BundleConfig,
    static: Any = None,
    steps: int | None = None,
) -> tuple[Inputs, bool]:
    """Join arrays by variable name into `Inputs`; say whether they have a batch axis.

    Args:
        inputs: arrays by name.
        config: record of the surrogate.
        static: fields that stay as they are, where ``inputs`` does not hold them.
        steps: of a rollout. Values of functions of time beyond it are left out.

    Raises:
        OpkitInputError: a variable is missing or has other axes.
    """
    frame = int(bool(config.history))
    places = {"fields": len(config.axes), "parameters": 0, "boundary": 1, "series": 1}
    roles = {role: config.by_role[role] for role in places}
    also = [v.name for v in config.by_role["static"]]
    also += [POINTS, WEIGHTS, *MESH] if config.shape.point_axes else []
    needed = [v.name for part in roles.values() for v in part]
    _check_names([name for name in inputs if name not in also], needed)
    batched: bool | None = None
    tensors: dict[str, Tensor] = {}
    for role, variables in roles.items():
        axis = 1 + (frame if role == "fields" else 0)
        parts = []
        for variable in variables:
            tensor, has_batch = _variable(variable, inputs, axis, places[role])
            if batched is not None and batched != has_batch:
                raise OpkitInputError("either all variables have a batch axis or none")
            batched = has_batch
            if role == "series":
                check_length(variable.name, tensor.shape[-1], config, steps)
                tensor = tensor[..., : config.length(steps or 1)]
            parts.append(tensor)
        if parts:
            kind = torch.promote_types(parts[0].dtype, parts[-1].dtype)
            tensors[role] = torch.cat([p.to(kind) for p in parts], axis)
    if config.shape.point_axes:
        tensors, batched = _with_places(tensors, inputs, batched, len(config.axes))
        if not tensors:
            hint = instead([POINTS], inputs)
            raise OpkitInputError(f"give {POINTS}, which are the only input.{hint}")
        if POINTS in tensors:
            refuse_folds(config, tensors[POINTS])
    if "fields" not in tensors:
        tensors["fields"] = no_fields(tensors, config)
    if static is None:
        names = [v.name for v in config.by_role["static"]]
        static = {name: inputs[name] for name in names if name in inputs} or None
    fixed = _static(static, config, len(tensors["fields"]))
    return Inputs(**tensors, static=fixed), bool(batched)


def _with_places(
    tensors: dict[str, Tensor],
    inputs: Mapping[str, Any],
    batched: bool | None,
    axes: int,
) -> tuple[dict[str, Tensor], bool | None]:
    """Add places and weights of nodes, which lie along so many axes, where given."""
    added = dict(tensors)
    for name in (POINTS, WEIGHTS):
        if name in inputs:
            place = as_tensor(inputs[name])
            if batched is None:  # points alone
                batched = place.ndim == axes + 2
            added[name] = place if batched else place[None]
    for name in MESH:
        if name in inputs:
            part = torch.as_tensor(np.asarray(inputs[name])).to(torch.int64)
            added[name] = part if batched else part[None]
    _check_mesh(added)
    if {*MESH[:1], POINTS} <= added.keys() and WEIGHTS not in added:
        added[WEIGHTS] = _weights(added[POINTS], added["cells"])
    return added, batched


def _check_mesh(given: Mapping[str, Tensor]) -> None:
    """Refuse cells and facets that are not those of the points.

    Raises:
        OpkitInputError: names the array.
    """
    nodes = given[POINTS].shape[1] if POINTS in given else 0
    for name in (name for name in MESH[:2] if name in given):
        part = given[name]
        if part.ndim != 3 or len(part) != len(given[POINTS]):
            raise OpkitInputError(
                f"{name} has shape {tuple(part.shape[1:])}: give (number, corner) for "
                "each sample, counted from 0"
            )
        if part.numel() and not 0 <= int(part.min()) <= int(part.max()) < nodes:
            raise OpkitInputError(
                f"{name} names a node that is not among the {nodes} there are: count "
                "from 0"
            )
    if "facets" in given:
        parts, facets = given.get("facet_part"), given["facets"]
        if parts is None or parts.shape != facets.shape[:2]:
            raise OpkitInputError(
                f"facet_part does not belong to facets of shape "
                f"{tuple(facets.shape[1:])}: give one number for each facet"
            )


def _weights(points: Tensor, cells: Tensor) -> Tensor:
    """Area or volume of each node (batch, node) of samples with a mesh each."""
    pairs = zip(points.double().numpy(), cells.numpy(), strict=True)
    rows = [NodeWeights(c, *p.shape)(p) for p, c in pairs]
    return torch.from_numpy(np.stack(rows)).to(points)


def _static(static: Any, config: BundleConfig, count: int) -> Tensor | None:
    """Return static fields (batch, channel, *space) of an array or a dict of arrays."""
    if static is None:
        return None
    variables, space = config.by_role["static"], len(config.axes)
    names = ", ".join(v.name for v in variables)
    if not variables:
        raise OpkitInputError("this surrogate takes no static fields: leave them away")
    if is_xarray(static):
        raise OpkitInputError(
            f"static fields in xarray beside arrays: put {names} into one Dataset "
            "with the inputs"
        )
    if isinstance(static, Mapping):
        _check_names(list(static), [v.name for v in variables])
        parts = [_variable(v, static, 1, space)[0] for v in variables]
        return torch.cat([p.expand(count, *p.shape[1:]) for p in parts], 1)
    tensor = as_tensor(static)
    if tensor.ndim == space and sum(v.channels for v in variables) == 1:
        tensor = tensor.unsqueeze(0)
    if tensor.ndim == space + 1:
        tensor = tensor.expand(count, *tensor.shape)
    if tensor.ndim != space + 2:
        raise OpkitInputError(
            f"static fields have {tensor.ndim} axes: give ([batch,] channel, "
            f"{', '.join(config.axes)}), or a dict of {names}"
        )
    return tensor


def _variable(
    variable: Channels, arrays: Mapping[str, Any], axis: int, space: int
) -> tuple[Tensor, bool]:
    """Return a variable with batch and channel axes, and whether it came with a batch.

    Args:
        variable: whose array.
        arrays: by name.
        axis: of the channels.
        space: axes of space.
    """
    tensor = as_tensor(arrays[variable.name])
    own = axis - 1 + space + (variable.channels > 1)
    if tensor.ndim not in (own, own + 1):
        raise OpkitInputError(
            f"{variable.name} has {tensor.ndim} axes, expected {own} or, "
            f"with a batch, {own + 1}"
        )
    batched = tensor.ndim > own
    tensor = tensor if batched else tensor.unsqueeze(0)
    return tensor if variable.channels > 1 else tensor.unsqueeze(axis), batched


def as_tensor(values: Any) -> Tensor:
    """Turn numbers into a tensor of a float type.

    Raises:
        OpkitInputError: they are not real numbers.
    """
    if isinstance(values, Tensor):
        check_plain(values)
        return values if values.is_floating_point() else values.float()
    if np.ma.is_masked(values):
        raise OpkitInputError(
            f"{int(np.ma.count_masked(values))} values are masked: a surrogate needs "
            "whole fields, so fill them with numbers that mean something"
        )
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise OpkitInputError(f"inputs of type {array.dtype}: give real numbers")
    kind = array.dtype if array.dtype in (np.float32, np.float64) else np.float32
    return torch.from_numpy(np.array(array, dtype=kind))


def _check_names(names: list[str], expected: list[str]) -> None:
    missing = [name for name in expected if name not in names]
    if missing:
        others = [str(name) for name in names if name not in expected]
        raise OpkitInputError(
            f"inputs lack {', '.join(missing)}: give {', '.join(expected)}"
            + (f", not {', '.join(others)}." if others else "")
            + instead(missing, others)
        )
