"""The Well's HDF5 files: ``t0_fields``, ``t1_fields``, ``t2_fields``, ``dimensions``.

Axes are (sample, time, x, y, component[, component]); a field that does not vary over
one of them lacks it (attributes ``sample_varying``, ``time_varying``, ``dim_varying``).
Along axes of space such a field is repeated. Axes with a periodic boundary condition
close.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from opkit.datasets.importers.hdf5 import audited, axis, lazy
from opkit.datasets.importers.pdebench import _plain
from opkit.datasets.importers.source import LazyArray, Source
from opkit.datasets.read import explained
from opkit.errors import DataError

COMPONENTS = ("x", "y", "z")


def open_source(path: Path) -> Source:
    """Open a file; components are called ``name_x``, of tensors ``name_xy``.

    Raises:
        DataError: it lacks the groups of The Well.
    """
    file = audited(path)
    with explained(path):
        if "dimensions" not in file or "t0_fields" not in file:
            raise DataError(f"{path}: not in The Well's layout (no t0_fields)")
        axes = [_plain(a) for a in file["dimensions"].attrs["spatial_dims"]]
        closed = _periodic(file)
        coordinates = {
            name: replace(axis(file["dimensions"][name]), periodic=name in closed)
            for name in ("time", *axes)
            if file["dimensions"][name].ndim == 1
        }
        lengths = {name: len(file["dimensions"][name]) for name in axes}
        arrays: dict[str, LazyArray] = {}
        for order in (0, 1, 2):
            for item in file.get(f"t{order}_fields", {}).values():
                if isinstance(item, h5py.Dataset):
                    arrays |= _components(item, lengths, order)
        leads = [
            a.shape[0] for a in arrays.values() if (a.dims or ("",))[0] == "sample"
        ]
        for item in file.get("scalars", {}).values():
            if isinstance(item, h5py.Dataset):
                name = item.name.rsplit("/", 1)[-1]
                arrays.setdefault(name, _scalar(item, max(leads, default=1)))
        about = {
            name: _plain(value)
            for name, value in file.attrs.items()
            if name in ("dataset_name", "grid_type", "simulation_parameters")
        }
    return Source(arrays, coordinates, {"attributes": about}, close=file.close)


def _periodic(file: h5py.File) -> set[str]:
    """Axes whose boundary conditions are periodic."""
    conditions = file.get("boundary_conditions", {}).values()
    return {
        str(_plain(name))
        for condition in conditions
        if str(_plain(condition.attrs.get("bc_type", ""))).upper() == "PERIODIC"
        for name in np.atleast_1d(condition.attrs.get("associated_dims", []))
    }


def _components(
    item: h5py.Dataset, lengths: Mapping[str, int], order: int
) -> dict[str, LazyArray]:
    """The components of a scalar, a vector or a tensor, by name."""
    varying = np.atleast_1d(item.attrs.get("dim_varying", np.ones(len(lengths), bool)))
    stored = [a for a, does in zip(lengths, varying, strict=True) if does]
    lead = [
        dim
        for dim, says in (("sample", "sample_varying"), ("time", "time_varying"))
        if item.attrs.get(says, True)
    ]
    name, whole = item.name.rsplit("/", 1)[-1], lazy(item)
    if len(whole.shape) != len(lead) + len(stored) + order:
        raise DataError(
            f"{item.file.filename}: {name} has shape {whole.shape}, not the axes "
            f"{','.join((*lead, *stored))} and {order} of components"
        )
    counts = whole.shape[len(whole.shape) - order :]
    result = {}
    for place in np.ndindex(*counts):
        letters = "".join(COMPONENTS[k] if k < 3 else str(k) for k in place)
        called = f"{name}_{letters}" if letters else name
        result[called] = _component(whole, lead, stored, lengths, place)
    return result


def _scalar(item: h5py.Dataset, samples: int) -> LazyArray:
    """A number or series per sample; what is the same for all samples is repeated."""
    whole, varying = lazy(item), bool(item.attrs.get("sample_varying", False))
    dims = ("sample", *(["time"] if item.attrs.get("time_varying", False) else []))
    if len(whole.shape) != len(dims) - (not varying):
        raise DataError(
            f"{item.file.filename}: {item.name} has shape {whole.shape}, not the axes "
            f"{','.join(dims if varying else dims[1:]) or 'of one number'}"
        )
    if varying:
        return replace(whole, dims=dims)
    shape = (samples, *whole.shape)

    def read(index: tuple[slice, ...]) -> NDArray[Any]:
        count = len(range(shape[0])[index[0]])
        values = whole.read(tuple(index[1:]))
        return np.broadcast_to(values, (count, *values.shape))

    return LazyArray(shape, whole.dtype, read, dims, whole.units)


def _component(
    whole: LazyArray,
    lead: Sequence[str],
    stored: Sequence[str],
    lengths: Mapping[str, int],
    place: tuple[int, ...],
) -> LazyArray:
    """One component, repeated along the axes of space over which it is constant."""
    dims = (*lead, *lengths)
    there = (*lead, *stored)
    shape = tuple(lengths.get(d, n) for d, n in zip(lead, whole.shape, strict=False))
    shape += tuple(lengths.values())

    def read(index: tuple[slice, ...]) -> NDArray[Any]:
        of_dim = dict(zip(dims, index, strict=True))
        cut = tuple(of_dim[d] for d in there)
        values = whole.read((*cut, *(slice(k, k + 1) for k in place)))
        values = values.reshape(values.shape[: len(there)])
        for k, dim in enumerate(dims):
            if dim not in there:
                values = np.expand_dims(values, k)
        counts = [len(range(n)[s]) for n, s in zip(shape, index, strict=True)]
        return np.broadcast_to(values, counts)

    return LazyArray(shape, whole.dtype, read, dims, whole.units)
