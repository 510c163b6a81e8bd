"""Predictions from file to file."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from opkit.base.files import appearing, check_target
from opkit.datasets.agreement import refuse_units
from opkit.datasets.disk import QuietFile
from opkit.datasets.exporters import vtu
from opkit.datasets.field_dataset import FieldDataset, alone
from opkit.datasets.header import Axis
from opkit.datasets.importers.convert import open_source
from opkit.datasets.importers.source import Coordinate, LazyArray
from opkit.datasets.modes import need_steps
from opkit.datasets.read import DataFile, is_data_file
from opkit.errors import DataError, OpkitInputError, instead
from opkit.operators.inputs import Inputs
from opkit.operators.shapes import Packing
from opkit.surrogate.adapters import mesh_files as mesh_output
from opkit.surrogate.adapters.refuse import POINTS, TRAINED, WEIGHTS, with_finite
from opkit.surrogate.bundle.outputs import by_name
from opkit.surrogate.bundle.record import BundleConfig, Channels
from opkit.surrogate.bundle.run_directory import files_of
from opkit.surrogate.surrogate import Surrogate, load

ARRAYS = (".npz", ".npy")
NETCDF = (".h5", ".hdf5", ".nc")


def predict(
    run: Path,
    source: Path,
    target: Path,
    split: str | None = None,
    device: str = "cpu",
    force: bool = False,
    steps: int | None = None,
    subsample: int | None = None,
) -> tuple[int, ...]:
    """Apply a surrogate to the inputs in one file and write its outputs to another.

    Of a data file inputs are taken as in training: the frames that a rollout starts
    from, at the recipe's stride where that gives the training grid. Other files hold
    the inputs alone, by name: arrays ([sample,] [time,] *space) with as many frames as
    the surrogate is given.

    Args:
        run: run directory or bundle.
        source: an opkit data file; any netCDF or HDF5 file with the inputs by name;
            .npz with one array a variable, or .npy.
        target: .nc or .h5 (netCDF-4), .npz, or .npy; for surrogates on a mesh also
            .vtu or .xdmf with inputs and outputs; appears whole or not at all. Of
            samples that have a mesh each, ``NAME.vtu`` stands for a file each, called
            ``NAME_`` and the sample's row of six digits.
        split: of a data file; all samples where not given.
        device: ``"cpu"`` or ``"cuda"``.
        force: replace ``target`` if it exists; never the input.
        steps: frames to roll out; where not given those that the data file has after
            the given ones, one for other files.
        subsample: stride in space, of a data file.

    Returns:
        The shape of the first output.

    Raises:
        BundleError: the bundle is missing or damaged.
        DataError: a file that cannot be read, or of an unknown kind.
        OpkitInputError: variables, axes or extent that do not fit the surrogate; steps
            of a surrogate that makes none.
    """
    if target.suffix not in ARRAYS + NETCDF + mesh_output.SUFFIXES:
        raise DataError(f"{target}: write to .nc, .h5, .npz, .npy, .vtu or .xdmf")
    check_target(target, [source, *files_of(Path(run))], force)
    surrogate = load(run, device)
    mesh = None
    if target.suffix in mesh_output.SUFFIXES and not surrogate.config.shape.ragged:
        mesh = surrogate.mesh
    if steps is not None:
        need_steps(surrogate.config.recipe.arrangement)
        if steps < 1:
            raise OpkitInputError(f"{steps} steps: roll out one at least")
    if _is_data_file(source):
        samples = _samples(surrogate, source, split, subsample)
        if samples.header.ragged and target.suffix == ".vtu":
            _refuse_no_fields(surrogate.config, target)
            return _vtu_files(surrogate, samples, target, force)
        if samples.header.ragged:
            return _write(target, _ragged(surrogate, samples, target), force)
        inputs = _inputs_of(surrogate, samples)
        count = steps or len(samples.times) if surrogate.config.history else None
        outputs = _timed(_outputs(surrogate, inputs, count), samples, count)
    else:
        if split is not None or subsample is not None:
            raise OpkitInputError(
                f"{source} is no opkit data file: leave --split and --subsample away"
            )
        inputs = _read(surrogate, source)
        if source.suffix in NETCDF and surrogate.config.history:
            steps = steps or 1
        outputs = _outputs(surrogate, inputs, steps)
    if mesh is not None:
        _refuse_no_fields(surrogate.config, target)
    if mesh is None:
        if not isinstance(outputs, xr.Dataset) and target.suffix != ".npy":
            outputs = _named(outputs, surrogate.config, inputs, steps is not None)
        return _write(target, outputs, force)
    config = surrogate.config
    fields = _fields(inputs, config.inputs) | _fields(outputs, config.outputs)
    mesh_output.write(target, mesh.points, mesh.cells, fields, replace=force)
    return tuple(fields[config.outputs[0].name].shape)


def _ragged(surrogate: Surrogate, samples: FieldDataset, target: Path) -> xr.Dataset:
    """Predict for samples of several lengths, which are laid one after another.

    ``node_offset`` (or ``cell_offset``) says where each begins, as in a ragged file.

    Raises:
        DataError: a target that can hold no such thing.
    """
    if target.suffix not in (*NETCDF, ".npz"):
        raise DataError(
            f"{target}: write samples of several lengths to .nc or .npz, or each to a "
            ".vtu"
        )
    (place,) = surrogate.config.axes
    answers = (
        with_finite(surrogate.predict)(Inputs.of(alone(samples[index])))
        for index in range(len(samples))
    )
    config, packing = surrogate.config, surrogate.config.shape.packing
    whole = xr.Dataset()
    if packing is not None:
        parts = list(answers)
        brief = by_name(torch.cat([packing.shorten(p) for p in parts]), config)
        others = [v for v in config.outputs if v.kind != "field"]
        named = _of_kinds({v.name: brief[v.name] for v in others}, config, others)
        whole = _timed(named.assign_coords(sample=samples.rows), samples, None)
        if not packing.ragged:
            return whole
        answers = (_fields_of(packing, part) for part in parts)
    rows, lengths = [], []
    for answer in answers:
        outputs = answer[0]
        rows.append(outputs.numpy())
        lengths.append(outputs.shape[-1])
    flat = np.concatenate(rows, -1)
    fields = [v for v in config.outputs if v.kind == "field"]
    ends = np.cumsum([v.channels for v in fields])[:-1]
    arrays: dict[str, Any] = {
        f"{place}_offset": ("offset", np.cumsum([0, *lengths])),
        "sample": ("sample", samples.rows),
    }
    for v, values in zip(fields, np.split(flat, ends), strict=True):
        dims = ["layer", place] if v.channels > 1 else [place]
        rows_of = values if v.channels > 1 else values[0]
        arrays[v.name] = (dims, rows_of, {"units": v.units})
    return xr.Dataset(arrays).merge(whole)


def _fields_of(packing: Packing, answer: torch.Tensor) -> torch.Tensor:
    """Return the fields (1, channel, node) of an answer (1, 1, value)."""
    return packing.at(answer.shape[-1]).split(answer)[0]


def _refuse_no_fields(config: BundleConfig, target: Path) -> None:
    """Refuse to write numbers and series to a file of meshes.

    Raises:
        DataError: names the first.
    """
    for v in config.outputs:
        if v.kind != "field":
            raise DataError(
                f"{target}: {v.name} has no places on the mesh: write to .nc"
            )


def _vtu_files(
    surrogate: Surrogate, samples: FieldDataset, target: Path, force: bool
) -> tuple[int, ...]:
    """Write inputs and predictions of each sample on its own mesh, a file each.

    Returns:
        Number of the files.

    Raises:
        DataError: one of them exists.
    """
    config = surrogate.config
    paths = [
        target.with_name(f"{target.stem}_{int(row):06d}.vtu") for row in samples.rows
    ]
    for path in paths:
        check_target(path, [], force)
    for index, path in enumerate(paths):
        item = samples[index]
        outputs = with_finite(surrogate.predict)(Inputs.of(alone(item)))[0].numpy()
        fields = _rows_of(item["inputs"].numpy(), config.inputs)
        fields |= _rows_of(outputs, config.outputs)
        mesh = samples.file.mesh(int(samples.rows[index]))
        places = (fields, {}) if samples.place == "node" else ({}, fields)
        with appearing(path, replace=force) as temporary:
            vtu.write_one(temporary, mesh, *places)
    return (len(paths),)


def _rows_of(
    values: np.ndarray[Any, Any], variables: tuple[Channels, ...]
) -> dict[str, np.ndarray[Any, Any]]:
    """Variables of one sample (channel, node) as a .vtu has them."""
    fields = _fields(values[None], variables) if variables else {}
    return {name: mesh_output.vector(field[0]) for name, field in fields.items()}


def _outputs(surrogate: Surrogate, inputs: Any, steps: int | None) -> Any:
    return surrogate(inputs) if steps is None else surrogate.rollout(inputs, steps)


def _fields(
    content: Any, variables: tuple[Channels, ...]
) -> dict[str, np.ndarray[Any, Any]]:
    """Variables as arrays (sample, [component,] node or cell)."""
    if isinstance(content, np.ndarray) and len(variables) == 1:
        content = {variables[0].name: content}
    elif isinstance(content, np.ndarray):  # channels of all variables
        ends = np.cumsum([v.channels for v in variables])[:-1]
        parts = np.split(content, ends, axis=-2)
        content = {
            v.name: part if v.channels > 1 else part.squeeze(-2)
            for v, part in zip(variables, parts, strict=True)
        }
    fields = {}
    for variable in variables:
        array = np.asarray(content[variable.name])
        single = array.ndim == 1 + (variable.channels > 1)
        fields[variable.name] = array[None] if single else array
    return fields


def _is_data_file(source: Path) -> bool:
    """Whether a file is opkit's own, sound, and opened under limits before.

    Raises:
        DataError: missing, damaged or hostile.
    """
    if source.suffix not in NETCDF:
        return False
    try:
        DataFile(source).close()
    except DataError:
        with closing(open_source(source)):  # says better what is wrong with others
            if is_data_file(source):
                raise
        return False
    return True


def _samples(
    surrogate: Surrogate, source: Path, split: str | None, subsample: int | None
) -> FieldDataset:
    """Open a data file at the stride asked for, or the one of the training grid."""
    config = surrogate.config
    if subsample is None:
        whole = surrogate.samples(source, split, 1, trusted=True)
        stride = config.recipe.subsample
        sizes = [
            len(whole.axis(axis)[:: 1 if axis == "time" else stride])
            for axis in config.axes
            if axis in whole.header.coordinates
        ]
        subsample = stride if tuple(sizes) == config.shape.shape else 1
    return surrogate.samples(source, split, subsample, trusted=True)


def _inputs_of(surrogate: Surrogate, samples: FieldDataset) -> xr.Dataset:
    """Return what a surrogate is given for samples of a data file, by name."""
    config, header = surrogate.config, samples.header
    items = samples.__getitems__(list(range(len(samples))))
    history = ["time"] if config.history else []
    places = list(config.shape.input_axes(config.axes))
    roles = {
        "inputs": (samples.input_channels, [*history, "layer"], places),
        "parameters": (samples.parameter_channels, ["layer"], []),
        "static": (samples.static_channels, ["layer"], list(config.axes)),
        "boundary": (samples.boundary_channels, ["layer"], ["boundary"]),
        "series": (samples.series_channels, ["layer"], ["time"]),
    }
    arrays = {}
    for role, (channels, lead, space) in roles.items():
        if not channels:
            continue
        values = torch.stack([item[role] for item in items]).numpy()
        names = list(dict.fromkeys(c.partition("[")[0] for c in channels))
        for name in names:
            rows = [k for k, c in enumerate(channels) if c.partition("[")[0] == name]
            dims = ["sample", *lead, *space]
            axis = dims.index("layer")
            part = np.take(values, rows, axis)
            if role == "inputs" and config.history and samples.series_channels:
                part = _lengthened(part, len(items[0]["series"][0]))
            variable = header.variable(name)
            if "component" in variable.dims:
                dims[axis] = variable.stored_dims[-1]
            elif "layer" not in variable.dims:
                dims.remove("layer")
                part = part.squeeze(axis)
            arrays[name] = xr.Variable(
                dims, part, {"units": header.variable(name).units}
            )
    if config.shape.point_axes:
        points = torch.stack([item[POINTS] for item in items]).numpy()
        dims = ["sample", *config.axes, f"{POINTS}_component"]
        arrays[POINTS] = xr.Variable(dims, points)
    timed = samples.series_channels and samples.series_times
    axes = {
        axis: (axis, samples.axis(axis), _labels(header.coordinates[axis]))
        for axis in (*config.axes, *(["time"] if timed else []))
        if axis in header.coordinates
    }
    return xr.Dataset(arrays, {"sample": samples.rows, **axes})


def _lengthened(frames: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    """Fill frames (sample, time, ...) up with NaN to the times of what drives them."""
    after = [(0, 0)] * frames.ndim
    after[1] = (0, count - frames.shape[1])
    return np.pad(frames, after, constant_values=np.nan)


def _timed(outputs: xr.Dataset, samples: FieldDataset, steps: int | None) -> xr.Dataset:
    """Say at which times the predicted frames are."""
    header = samples.header
    if not any("time" in v.dims for v in header.outputs):
        return outputs
    labels, times = _labels(header.coordinates["time"]), samples.times
    if samples.series_times and "time" in outputs.dims:
        return outputs.assign_coords(time=("time", samples.axis("time"), labels))
    if steps is None:
        if "time" not in outputs.dims:
            return outputs.assign_coords(time=((), times[-1], labels))
    elif steps > len(times):
        every = samples.axis("time")
        step = every[-1] - every[-2] if len(every) > 1 else every[0]
        more = times[-1] + step * np.arange(1, steps - len(times) + 1)
        times = np.concatenate([times, more])
    outputs = outputs.assign_coords(time=("time", times[:steps], labels))
    return outputs.transpose("sample", "time", ...)


def _labels(axis: Axis | Coordinate) -> dict[str, str]:
    labels = {
        "units": axis.units,
        "long_name": axis.long_name,
        "calendar": axis.calendar,
    }
    return {name: value for name, value in labels.items() if value}


def _read(surrogate: Surrogate, source: Path) -> Any:
    if source.suffix in NETCDF:
        return _read_plain(surrogate, source)
    if source.suffix not in ARRAYS:
        raise DataError(f"{source}: give a data file, .nc, .h5, .npz or .npy")
    with closing(open_source(source)) as opened:
        if source.suffix == ".npy":
            return _whole(opened.arrays["array"])
        names = {v.name for v in surrogate.config.all_inputs}
        if surrogate.config.shape.point_axes:
            names |= {POINTS, WEIGHTS}
        given = {n: _whole(a) for n, a in opened.arrays.items() if n in names}
        wanted = [v.name for v in surrogate.config.all_inputs]
        missing = [name for name in wanted if name not in given]
        if missing:
            others = [name for name in opened.arrays if name not in names]
            raise OpkitInputError(
                f"{source} lacks {', '.join(missing)}: give {', '.join(wanted)}."
                + instead(missing, others)
            )
        return given


def _whole(array: LazyArray) -> np.ndarray[Any, Any]:
    return np.asarray(array.read((slice(None),) * len(array.shape)))


def _read_plain(surrogate: Surrogate, source: Path) -> Any:
    """Read the inputs of any netCDF or HDF5 file, decoded as for an import."""
    names = [v.name for v in surrogate.config.all_inputs]
    with closing(open_source(source)) as file:
        missing = [name for name in names if name not in file.arrays]
        if missing:
            others = [name for name in file.arrays if name not in names]
            raise OpkitInputError(
                f"{source} lacks {', '.join(missing)}: give {', '.join(names)}."
                + instead(missing, others)
            )
        arrays = {}
        for name in names:
            array = file.arrays[name]
            values = _whole(array)
            units = {"units": array.units} if array.units else {}
            arrays[name] = (array.dims, values, units)
        if any(dims is None for dims, _, _ in arrays.values()):
            for variable in surrogate.config.all_inputs:
                own_units = file.arrays[variable.name].units or None
                refuse_units(variable.name, own_units, variable.units, TRAINED)
            return {name: values for name, (_, values, _) in arrays.items()}
        used = {d for dims, _, _ in arrays.values() for d in dims or ()}
        axes = dict(file.coordinates)
        for name in names:
            axes.update(file.arrays[name].axes)
        for name, axis in axes.items():
            if name in used and axis.fault:
                raise DataError(f"{source}: axis {name} {axis.fault}")
        coordinates = {
            name: (name, axis.values, _labels(axis))
            for name, axis in axes.items()
            if name in used and axis.values is not None
        }
    return xr.Dataset(arrays, coordinates)


def _write(target: Path, outputs: Any, replace: bool) -> tuple[int, ...]:
    if isinstance(outputs, np.ndarray):
        first = outputs
    else:
        first = np.asarray(next(iter(outputs.values())))
    with appearing(target, replace=replace) as temporary:
        if target.suffix in NETCDF:
            with QuietFile(temporary, "w+b") as raw, raw.raising_refusals():
                outputs.to_netcdf(raw, engine="h5netcdf")
        elif target.suffix == ".npy":
            if not isinstance(outputs, np.ndarray) and len(outputs) != 1:
                raise OpkitInputError(f"{target}: several outputs need .npz or .nc")
            with temporary.open("wb") as file:
                np.save(file, first)
        else:
            with temporary.open("wb") as file:
                arrays: dict[str, Any] = {k: np.asarray(v) for k, v in outputs.items()}
                np.savez(file, **arrays)
    return tuple(first.shape)


def _of_kinds(
    outputs: Any, config: BundleConfig, chosen: Sequence[Channels] | None = None
) -> xr.Dataset:
    """Give arrays of outputs of several kinds their names, dims and units."""
    variables = {}
    for v in config.outputs if chosen is None else chosen:
        if v.kind == "series":
            dims = ["time"]
        elif v.kind == "numbers":
            dims = [f"{v.name}_component"] if v.channels > 1 else []
        else:
            dims = [*(["layer"] if v.channels > 1 else []), *config.axes]
        array = np.asarray(outputs[v.name])
        lead = ["sample"] if array.ndim > len(dims) else []
        variables[v.name] = xr.Variable([*lead, *dims], array, {"units": v.units})
    times = {"time": ("time", list(config.times))} if config.times else {}
    dims_there = {d for v in variables.values() for d in v.dims}
    return xr.Dataset(variables, times if "time" in dims_there else {})


def _named(outputs: Any, config: BundleConfig, inputs: Any, timed: bool) -> xr.Dataset:
    """Give arrays the names, dims and units of the outputs."""
    space = len(config.axes)
    if config.shape.packing is not None:
        return _of_kinds(outputs, config)
    if isinstance(outputs, np.ndarray):
        channels = sum(v.channels for v in config.inputs)
        plain = np.ndim(inputs) in (space, space + 1)
        alone = sum(v.channels for v in config.outputs) == 1
        if not config.history and channels == 1 and plain and alone:
            outputs = np.expand_dims(outputs, -space - 1)
        ends = np.cumsum([v.channels for v in config.outputs])[:-1]
        parts = np.split(outputs, ends, axis=-space - 1)
        outputs = {
            v.name: part if v.channels > 1 else part.squeeze(-space - 1)
            for v, part in zip(config.outputs, parts, strict=True)
        }
    variables = {}
    for v in config.outputs:
        layer = ["layer"] if v.channels > 1 else []
        dims = [*(["time"] if timed else []), *layer, *config.axes]
        array = np.asarray(outputs[v.name])
        lead = ["sample"] if array.ndim > len(dims) else []
        variables[v.name] = xr.Variable([*lead, *dims], array, {"units": v.units})
    return xr.Dataset(variables)
