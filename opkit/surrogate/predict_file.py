"""Predictions from file to file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from opkit.base.files import appearing, check_target
from opkit.datasets.disk import Patient
from opkit.datasets.importers.convert import open_source
from opkit.datasets.importers.source import LazyArray
from opkit.datasets.read import DataFile
from opkit.errors import DataError, OpkitInputError
from opkit.surrogate.adapters import mesh_files as mesh_output
from opkit.surrogate.bundle.record import Channels
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
) -> tuple[int, ...]:
    """Apply a surrogate to the inputs in one file and write its outputs to another.

    Args:
        run: run directory or bundle.
        source: an opkit data file; or .npz with one array a variable, or .npy, each
            (batch, *space) or (*space).
        target: .nc or .h5 (netCDF-4), .npz, or .npy; for surrogates on a mesh also
            .vtu or .xdmf with inputs and outputs; appears whole or not at all.
        split: of a data file; all samples where not given.
        device: ``"cpu"`` or ``"cuda"``.
        force: replace ``target`` if it exists; never the input.

    Returns:
        The shape of the first output.

    Raises:
        BundleError: the bundle is missing or damaged.
        DataError: a file that cannot be read, or of an unknown kind.
        OpkitInputError: variables, axes or extent that do not fit the surrogate.
    """
    if target.suffix not in ARRAYS + NETCDF + mesh_output.SUFFIXES:
        raise DataError(f"{target}: write to .nc, .h5, .npz, .npy, .vtu or .xdmf")
    check_target(target, [source], force)
    surrogate = load(run, device)
    mesh = None
    if target.suffix in mesh_output.SUFFIXES:
        mesh = surrogate.mesh
    inputs = _read(surrogate, source, split)
    outputs = surrogate(inputs)
    if mesh is None:
        return _write(target, outputs, force)
    config = surrogate.config
    fields = _fields(inputs, config.inputs) | _fields(outputs, config.outputs)
    mesh_output.write(target, mesh.points, mesh.cells, fields, replace=force)
    return tuple(fields[config.outputs[0].name].shape)


def _fields(
    given: Any, variables: tuple[Channels, ...]
) -> dict[str, np.ndarray[Any, Any]]:
    """Variables as arrays (sample, [component,] node or cell)."""
    if isinstance(given, np.ndarray) and len(variables) == 1:
        given = {variables[0].name: given}
    elif isinstance(given, np.ndarray):  # channels of all variables
        ends = np.cumsum([v.channels for v in variables])[:-1]
        parts = np.split(given, ends, axis=-2)
        given = {
            v.name: part if v.channels > 1 else part.squeeze(-2)
            for v, part in zip(variables, parts, strict=True)
        }
    fields = {}
    for variable in variables:
        array = np.asarray(given[variable.name])
        single = array.ndim == 1 + (variable.channels > 1)
        fields[variable.name] = array[None] if single else array
    return fields


def _read(surrogate: Surrogate, source: Path, split: str | None) -> Any:
    if source.suffix in NETCDF:
        return _read_data_file(surrogate, source, split)
    if split is not None:
        raise OpkitInputError(f"{source} has no splits: leave --split away")
    if source.suffix not in ARRAYS:
        raise DataError(f"{source}: give an opkit data file, .npz or .npy")
    opened = open_source(source)
    if source.suffix == ".npy":
        return _whole(opened.arrays["array"])
    config = surrogate.config
    asked = {v.name for v in (*config.inputs, *config.boundary)}
    return {n: _whole(array) for n, array in opened.arrays.items() if n in asked}


def _whole(array: LazyArray) -> np.ndarray[Any, Any]:
    return np.asarray(array.read((slice(None),) * len(array.shape)))


def _read_data_file(surrogate: Surrogate, source: Path, split: str | None) -> Any:
    import xarray as xr

    with DataFile(source) as file:
        rows = np.arange(len(file)) if split is None else file.indices(split)
        config = surrogate.config
        names = {v.name for v in config.asked}
        found = [v for v in file.header.variables if v.name in names]
        arrays = {v.name: (("sample", *v.dims), file.read(v.name, rows)) for v in found}
        coordinates = {
            name: (name, axis.values, {"units": axis.units})
            for name, axis in file.header.coordinates.items()
            if any(name in v.dims for v in found)
        }
    return xr.Dataset(arrays, {"sample": rows, **coordinates})


def _write(target: Path, outputs: Any, replace: bool) -> tuple[int, ...]:
    import xarray as xr

    if isinstance(outputs, np.ndarray):
        outputs = {"prediction": outputs}
    if not isinstance(outputs, xr.Dataset):
        first: np.ndarray[Any, Any] = next(iter(outputs.values()))
        if target.suffix in NETCDF:
            outputs = xr.Dataset(
                {
                    name: ([f"{name}_{i}" for i in range(array.ndim)], array)
                    for name, array in outputs.items()
                }
            )
    else:
        first = next(iter(outputs.data_vars.values())).values
    with appearing(target, replace=replace) as temporary:
        if target.suffix in NETCDF:
            with Patient(temporary, "w+b") as raw, raw.told():
                outputs.to_netcdf(raw, engine="h5netcdf")
        elif target.suffix == ".npy":
            if len(outputs) != 1:
                raise OpkitInputError(f"{target}: several outputs need .npz or .nc")
            with temporary.open("wb") as file:
                np.save(file, first)
        else:
            with temporary.open("wb") as file:
                arrays: dict[str, Any] = {k: np.asarray(v) for k, v in outputs.items()}
                np.savez(file, **arrays)
    return tuple(first.shape)
