"""Predictions from file to file."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from opkit.datasets.files import appearing
from opkit.datasets.read import DataFile
from opkit.errors import DataError, OpkitInputError
from opkit.surrogate import Surrogate, load

ARRAYS = (".npz", ".npy")
NETCDF = (".h5", ".hdf5", ".nc")


def predict(
    run: Path,
    source: Path,
    target: Path,
    split: str | None = None,
    device: str = "cpu",
) -> tuple[int, ...]:
    """Apply a surrogate to the inputs in one file and write its outputs to another.

    Args:
        run: run directory or bundle.
        source: an opkit data file; or .npz with one array a variable, or .npy, each
            (batch, *space) or (*space).
        target: .nc or .h5 (netCDF-4), .npz, or .npy; appears whole or not at all.
        split: of a data file; all samples where not given.
        device: ``"cpu"`` or ``"cuda"``.

    Returns:
        The shape of the first output.

    Raises:
        BundleError: the bundle is missing or damaged.
        DataError: a file that cannot be read, or of an unknown kind.
        OpkitInputError: variables, axes or extent that do not fit the surrogate.
    """
    if target.suffix not in ARRAYS + NETCDF:
        raise DataError(f"{target}: write to .nc, .h5, .npz or .npy")
    surrogate = load(run, device)
    inputs = _read(surrogate, source, split)
    return _write(target, surrogate(inputs))


def _read(surrogate: Surrogate, source: Path, split: str | None) -> Any:
    if source.suffix in NETCDF:
        return _read_data_file(surrogate, source, split)
    if split is not None:
        raise OpkitInputError(f"{source} has no splits: leave --split away")
    if source.suffix not in ARRAYS:
        raise DataError(f"{source}: give an opkit data file, .npz or .npy")
    try:
        loaded = np.load(source, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except FileNotFoundError:
        raise DataError(f"{source}: no such file") from None
    except (OSError, ValueError, zipfile.BadZipFile, MemoryError) as error:
        raise DataError(f"{source}: {str(error).splitlines()[0]}") from None


def _read_data_file(surrogate: Surrogate, source: Path, split: str | None) -> Any:
    import xarray as xr

    with DataFile(source) as file:
        rows = np.arange(len(file)) if split is None else file.indices(split)
        config = surrogate.config
        names = {v.name for v in (*config.inputs, *config.boundary)}
        found = [v for v in file.header.variables if v.name in names]
        arrays = {v.name: (("sample", *v.dims), file.read(v.name, rows)) for v in found}
        coordinates = {
            name: (name, axis.values, {"units": axis.units})
            for name, axis in file.header.coordinates.items()
            if any(name in v.dims for v in found)
        }
    return xr.Dataset(arrays, {"sample": rows, **coordinates})


def _write(target: Path, outputs: Any) -> tuple[int, ...]:
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
    with appearing(target) as temporary:
        if target.suffix in NETCDF:
            outputs.to_netcdf(temporary, engine="h5netcdf")
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
