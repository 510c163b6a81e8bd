"""Adapters between xarray objects and (batch, channel, *space) tensors.

Dims go by name and may come in any order; dims that the surrogate does not know are
batch dims. Arrays on dask are worked on lazily, block by block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from opkit.datasets.agreement import (
    Span,
    Stated,
    refuse_other,
    refuse_units,
    span_of,
)
from opkit.errors import OpkitInputError, instead
from opkit.operators.inputs import Inputs, refuse_short
from opkit.surrogate.adapters.at import At
from opkit.surrogate.adapters.fields import no_fields
from opkit.surrogate.adapters.refuse import POINTS, TRAINED, check_times, refuse_folds
from opkit.surrogate.bundle.outputs import by_name
from opkit.surrogate.bundle.record import BundleConfig, Channels

Array = NDArray[Any]
SECONDS = {
    "ms": 1e-3, "millisecond": 1e-3,
    "s": 1.0, "sec": 1.0, "second": 1.0,
    "min": 60.0, "minute": 60.0,
    "h": 3600.0, "hr": 3600.0, "hour": 3600.0,
    "d": 86400.0, "day": 86400.0,
    "week": 604800.0,
}  # fmt: skip
"""Units of time that are durations of one length, in seconds."""


def apply(
    predict: Callable[[Inputs], Tensor],
    inputs: xr.DataArray | xr.Dataset,
    config: BundleConfig,
    steps: int | None = None,
    static: Any = None,
    at: At | None = None,
) -> xr.DataArray | xr.Dataset:
    """Call ``predict`` on an xarray object, and give back the same kind.

    Args:
        predict: maps `Inputs` to outputs.
        inputs: a DataArray where there is one input, else a Dataset.
        config: record of the surrogate.
        steps: frames of a rollout, which then has an axis ``time``; None for one call.
        static: xarray objects with the static fields, where ``inputs`` does not hold
            them.
        at: points that ``predict`` answers at, on a dim ``point``.

    Raises:
        OpkitInputError: variables, dims, coordinates, units or chunks that do not fit.
    """
    fields = (*config.inputs, *config.parameters, *config.boundary, *config.series)
    single = isinstance(inputs, xr.DataArray)
    if isinstance(inputs, xr.DataArray):
        if len(fields) != 1:
            names = ", ".join(v.name for v in fields)
            raise OpkitInputError(f"give an xarray.Dataset with {names}")
        dataset = inputs.to_dataset(name=fields[0].name)
    else:
        dataset = inputs
    if static is not None:
        dataset = dataset.assign(_static(static, config))
    missing = [v.name for v in config.all_inputs if v.name not in dataset.data_vars]
    if missing:
        wanted = [v.name for v in config.all_inputs]
        known = [*wanted, POINTS] if config.shape.point_axes else wanted
        others = [str(name) for name in dataset.data_vars if str(name) not in known]
        raise OpkitInputError(
            f"inputs lack {', '.join(missing)}: give {', '.join(wanted)}."
            + instead(missing, others)
        )
    if config.history and config.series:
        dataset = _apart(dataset, config, steps or 1)
    outputs = _apply(predict, dataset, config, steps, at)
    if not single:
        return outputs.assign_attrs(dataset.attrs)
    return outputs[config.outputs[0].name] if len(config.outputs) == 1 else outputs


AFTER = "time_of_series"
"""Dim of functions of time beside the frames that a rollout starts from."""


def _apart(dataset: xr.Dataset, config: BundleConfig, steps: int) -> xr.Dataset:
    """Cut one axis of time into that of the frames, and that of functions of time.

    Frames are the first of the axis; what is there after them is not looked at.

    Raises:
        OpkitInputError: the axis is too short for the steps.
    """
    names = [v.name for v in config.series]
    if any("time" not in dataset[name].dims for name in names):
        return dataset  # refused where dims are
    _check_coordinates(dataset.coords, config)
    refuse_short(dataset.sizes["time"], steps, config.history, ", ".join(names))
    frames = dataset.drop_vars(names).isel(time=slice(0, config.history))
    functions = {
        name: dataset[name]
        .isel(time=slice(0, config.length(steps)))
        .drop_vars("time", errors="ignore")
        .rename(time=AFTER)
        for name in names
    }
    return frames.assign(functions)


def _static(static: Any, config: BundleConfig) -> Mapping[str, xr.DataArray]:
    names = [v.name for v in config.by_role["static"]]
    if isinstance(static, xr.DataArray) and len(names) == 1:
        return {names[0]: static}
    if isinstance(static, xr.Dataset) or (
        isinstance(static, Mapping)
        and all(isinstance(array, xr.DataArray) for array in static.values())
    ):
        return {name: static[name] for name in names if name in static}
    raise OpkitInputError(
        f"static fields beside xarray inputs: give a Dataset with {', '.join(names)}"
        if names
        else "this surrogate takes no static fields: leave them away"
    )


def _apply(
    predict: Callable[[Inputs], Tensor],
    dataset: xr.Dataset,
    config: BundleConfig,
    steps: int | None,
    at: At | None,
) -> xr.Dataset:
    if at is not None and "point" in dataset.dims:
        raise OpkitInputError("the inputs have a dim point, as the answer: rename it")
    history = bool(config.history)
    by_role = _by_role(dataset, config)
    core_in = [
        _dims(variable, role, config, history and role == "fields")
        for role, variables in by_role.items()
        for variable in variables
    ]
    core_out = [_dims(v, "outputs", config, steps is not None) for v in config.outputs]
    if at is not None:
        core_out = [
            [d for d in o if d not in config.axes] + ["point"] for o in core_out
        ]
    _check_coordinates(dataset.coords, config)
    arrays = []
    variables = [v for variables in by_role.values() for v in variables]
    for variable, dims in zip(variables, core_in, strict=True):
        array = dataset[variable.name]
        lacking = [d for d in dims if d not in array.dims]
        if lacking:
            raise OpkitInputError(
                f"{variable.name} has dims {array.dims}, without {', '.join(lacking)}: "
                "rename them to those the surrogate was trained with"
            )
        units = array.attrs.get("units")
        text = None if units is None else str(units)
        if variable.name != POINTS:  # in the units of space
            refuse_units(variable.name, text, variable.units, TRAINED)
        _check_chunks(array, dims)
        arrays.append(array)
    kind = np.result_type(*(_float(a.dtype) for a in arrays))
    sizes = dict(zip(config.axes, config.shape.shape, strict=True))
    if steps is not None:
        sizes["time"] = steps
    if at is not None:
        sizes["point"] = at.count
    sizes |= {"layer": max(v.channels for v in config.outputs)}
    sizes |= _sizes_of_readouts(config)
    known = {d for dims in core_in for d in dims}
    results = xr.apply_ufunc(
        lambda *values: _call(
            predict, values, by_role, core_in, core_out, config, kind
        ),
        *arrays,
        input_core_dims=core_in,
        output_core_dims=core_out,
        exclude_dims={"time"} if history else set(),
        dask="parallelized",
        output_dtypes=[kind] * len(core_out),
        dask_gufunc_kwargs={
            "output_sizes": {
                d: sizes[d]
                for dims in core_out
                for d in dims
                if d not in known or (history and d == "time")
            }
        },
        keep_attrs="override",
    )
    results = results if isinstance(results, tuple) else (results,)
    long_names = {
        v.get("name"): v.get("long_name") for v in config.case.get("outputs", [])
    }
    outputs = {}
    for out, result in zip(config.outputs, results, strict=True):
        result.attrs = {"units": out.units, **({} if at is None else at.attributes)}
        if long_names.get(out.name):
            result.attrs["long_name"] = long_names[out.name]
        outputs[out.name] = result
    predicted = xr.Dataset(outputs)
    if "time" in predicted.dims and config.times and "time" not in predicted.coords:
        units = config.axis_units.get("time", "1")
        predicted = predicted.assign_coords(
            time=("time", list(config.times), {"units": units})
        )
    if at is not None:
        predicted = predicted.assign_coords(at.coordinates)
    if steps is not None and "time" in dataset.coords:
        times = _times(dataset["time"], steps, config)
        predicted = predicted if times is None else predicted.assign_coords(time=times)
    return predicted


def _by_role(
    dataset: xr.Dataset, config: BundleConfig
) -> Mapping[str, tuple[Channels, ...]]:
    """Return the variables by role, with the places of nodes where they are given."""
    axes = config.shape.point_axes
    if not axes or POINTS not in dataset:
        return config.by_role
    return {
        **config.by_role,
        "points": (Channels(name=POINTS, units="1", channels=axes),),
    }


def _call(
    predict: Callable[[Inputs], Tensor],
    values: tuple[Array, ...],
    by_role: Mapping[str, tuple[Channels, ...]],
    core_in: list[list[str]],
    core_out: list[list[str]],
    config: BundleConfig,
    kind: np.dtype[Any],
) -> Array | tuple[Array, ...]:
    """Join variables along the channel axis, predict, and take them apart again."""
    lead = np.broadcast_shapes(
        *(v.shape[: v.ndim - len(d)] for v, d in zip(values, core_in, strict=True))
    )
    frame = int(bool(config.history))
    remaining = iter(zip(values, core_in, strict=True))
    roles: dict[str, Tensor] = {}
    for role, variables in by_role.items():
        axis = 1 + (frame if role == "fields" else 0)
        parts = []
        for variable in variables:
            value, dims = next(remaining)
            core = value.shape[value.ndim - len(dims) :]
            flat = np.broadcast_to(value, (*lead, *core)).reshape(-1, *core)
            tensor = torch.from_numpy(np.array(flat, dtype=kind))
            whole = role == "points" or variable.channels > 1
            parts.append(tensor if whole else tensor.unsqueeze(axis))
        if parts:
            roles[role] = torch.cat(parts, axis)
    if POINTS in roles:
        refuse_folds(config, roles[POINTS])
    if "fields" not in roles:
        roles["fields"] = no_fields(roles, config)
    result = predict(Inputs(**roles)).detach()
    axis = 1 + frame
    if frame and core_out[0][0] != "time":  # one frame, without an axis
        result, axis = result[:, 0], 1
    arrays = [
        plain.reshape(*lead, *plain.shape[1:]).numpy()
        for plain in by_name(result, config, axis).values()
    ]
    return tuple(arrays) if len(arrays) > 1 else arrays[0]


def _sizes_of_readouts(config: BundleConfig) -> dict[str, int]:
    """Return the lengths of the dims of outputs that are no fields."""
    vectors = [v for v in config.outputs if v.kind == "numbers" and v.channels > 1]
    sizes = {f"{v.name}_component": v.channels for v in vectors}
    return sizes | ({"time": len(config.times)} if config.times else {})


def _dims(variable: Channels, role: str, config: BundleConfig, time: bool) -> list[str]:
    """Return the dims of a variable after those of the batch."""
    if role == "points":
        return [*config.axes, f"{POINTS}_component"]
    if role == "series" or variable.kind == "series":
        return [AFTER if config.history else "time"]
    if role == "parameters" or variable.kind == "numbers":
        return [f"{variable.name}_component"] if variable.channels > 1 else []
    places = {"boundary": ("boundary",), "outputs": config.axes}.get(
        role, config.shape.input_axes(config.axes)
    )
    layer = ["layer"] if variable.channels > 1 else []
    return [*(["time"] if time else []), *layer, *places]


def _times(
    axis: xr.DataArray, steps: int, config: BundleConfig
) -> tuple[str, Array, Mapping[Any, Any]] | None:
    """Continue the time axis of the inputs by the spacing of its last two frames.

    Of one frame by the time between the training frames; None where that is not known.

    Raises:
        OpkitInputError: one date, of a surrogate whose units of time are no duration.
    """
    values = np.asarray(axis.values)
    if len(values) > 1:
        step = values[-1] - values[-2]
    else:
        parameters = config.case.get("solver", {}).get("parameters", {})
        known = config.time_step or parameters.get("record_interval")
        if known is None:
            return None
        step = known if values.dtype.kind in "fiu" else _duration(known, values, config)
    return "time", values[-1] + step * np.arange(1, steps + 1), axis.attrs


def _duration(step: float, dates: Array, config: BundleConfig) -> Any:
    """Return a step of time that can be added to dates."""
    units = config.axis_units.get("time", "")
    length = seconds_of(units)
    if length is None:
        raise OpkitInputError(
            f"time holds dates, and the surrogate makes steps of {step:g} in units "
            f"{units or '1'!r}: give times as numbers, or leave the coordinate out"
        )
    duration = timedelta(seconds=step * length)
    return np.timedelta64(duration, "ns") if dates.dtype.kind in "mM" else duration


def _float(dtype: Any) -> Any:
    if dtype.kind not in "fiub":
        raise OpkitInputError(f"inputs of type {dtype}: give real numbers")
    return dtype if dtype in (np.float32, np.float64) else np.dtype(np.float32)


def _check_chunks(array: xr.DataArray, dims: list[str]) -> None:
    cut = [d for d in dims if len(array.chunksizes.get(d, ())) > 1]
    if cut:
        whole = ", ".join(f"{d}=-1" for d in cut)
        raise OpkitInputError(
            f"{array.name} is cut into chunks along {', '.join(cut)}: a surrogate "
            f"needs whole fields, so rechunk with .chunk({whole})"
        )


def _check_coordinates(coords: Mapping[Any, Any], config: BundleConfig) -> None:
    """Refuse coordinates of another domain, order, unit or step than the training's.

    Raises:
        DataError: an axis decreases, is not evenly spaced, is in other units, or spans
            a length that differs by more than one part in a thousand; times have other
            steps.
    """
    shape = config.shape
    closed = dict(zip(config.axes, shape.periodic, strict=True))
    spans: dict[str, Span] = {}
    for axis in (*config.axes, *(["time"] if config.history else [])):
        if axis not in coords or coords[axis].size < 2:
            continue
        units = coords[axis].attrs.get("units")
        units = None if units is None else str(units)
        if axis != "time":
            values = np.asarray(coords[axis].values, float)
            spans[axis] = span_of(axis, values, units, closed[axis])
            continue
        times, units = _numbers(coords[axis].values, units, config)
        if times is None:
            continue
        if config.history:
            span = span_of(axis, times, units, False)
            spans[axis] = Span(None, units, span.step)
        else:
            spans[axis] = Span(float(times[-1] - times[0]), units)
    refuse_other(config.stated, Stated({}, spans), TRAINED)
    if config.times and "time" in coords and coords["time"].ndim:
        units = coords["time"].attrs.get("units")
        times, _ = _numbers(coords["time"].values, units and str(units), config)
        if times is not None:
            check_times(times.tolist(), config)


def _numbers(
    values: Array, units: str | None, config: BundleConfig
) -> tuple[NDArray[np.float64] | None, str | None]:
    """Return times as numbers, and their units; dates from the first one on.

    Dates of a surrogate whose units of time are no duration give None.
    """
    if values.dtype.kind in "fiu":
        return np.asarray(values, float), units and units.partition(" since ")[0]
    own = config.axis_units.get("time", "")
    length = seconds_of(own)
    if length is None:
        return None, None
    elapsed = values - values[0]
    if values.dtype.kind in "mM":
        seconds = elapsed / np.timedelta64(1, "s")
    else:  # of cftime
        seconds = np.array([delta.total_seconds() for delta in elapsed])
    return np.asarray(seconds, float) / length, own


def seconds_of(units: str) -> float | None:
    """Return how long a unit of time is; None of what is none.

    Args:
        units: such as ``"s"`` or ``"hours"``.
    """
    word = units.strip().lower()
    return SECONDS.get(word, SECONDS.get(word.removesuffix("s")))
