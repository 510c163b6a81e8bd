"""The Well's layout: groups by tensor rank, axes (sample, time, x, y, z).

Inputs without time become fields that do not vary in time; layers become fields of
their own. Numbers and series per sample become scalars, of vectors one each; where the
points of each sample lie is a vector field. Everything is float32 there.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from opkit.datasets.disk import written
from opkit.datasets.header import VariableSpec
from opkit.datasets.read import DataFile
from opkit.errors import DataError

SPACE = ("x", "y", "z")
GROUPS = ("scalars", "t0_fields", "t1_fields", "t2_fields")


def write(file: DataFile, split: str, path: Path) -> None:
    """Write one split into one HDF5 file.

    Raises:
        DataError: variables on a mesh, for which The Well has no place.
    """
    header = file.header
    if header.mesh is not None:
        raise DataError(f"{file.path}: The Well's layout has no meshes")
    rows = file.indices(split)
    axes = [a for a in SPACE if a in header.sizes]
    with written(path, libver="earliest") as out:
        out.attrs["dataset_name"] = str(header.case.get("name", "imported"))
        out.attrs["grid_type"] = "cartesian"
        out.attrs["n_spatial_dims"] = len(axes)
        out.attrs["n_trajectories"] = len(rows)
        out.attrs["simulation_parameters"] = np.array([], "S1")
        dimensions = out.create_group("dimensions")
        dimensions.attrs["spatial_dims"] = axes
        for name in ("time", *axes):
            axis = header.coordinates.get(name)
            values = np.zeros(1) if axis is None else axis.values
            dataset = dimensions.create_dataset(name, data=values.astype(np.float32))
            dataset.attrs["sample_varying"] = dataset.attrs["time_varying"] = False
        _boundary(out, header.case.get("boundary", {}), header.sizes, axes)
        names: dict[str, list[str]] = {name: [] for name in GROUPS}
        for name in GROUPS:
            out.create_group(name)
        for variable in header.variables:
            group = "t0_fields" if variable.is_field else "t1_fields"
            group = "scalars" if variable.is_whole else group
            names[group] += _write(out[group], file, variable, rows, axes)
        for group, fields in names.items():
            out[group].attrs["field_names"] = fields or np.array([], "S1")


def _write(
    group: h5py.Group,
    file: DataFile,
    variable: VariableSpec,
    rows: np.ndarray,
    axes: list[str],
) -> list[str]:
    """Write a variable, or each of its layers or numbers, sample by sample."""
    apart = "component" if variable.is_whole else "layer"
    dims = [d for d in variable.dims if d != apart]
    order = [d for d in ("time", *axes, "component") if d in dims]
    sizes = dict(zip(variable.dims, variable.shape, strict=True))
    shape = (len(rows), *(sizes[d] for d in order))
    parts = range(sizes[apart]) if apart in variable.dims else [None]
    names = []
    for part in parts:
        name = variable.name if part is None else f"{variable.name}_{part}"
        dataset = group.create_dataset(name, shape, "f4", chunks=(1, *shape[1:]))
        if not variable.is_whole:
            dataset.attrs["dim_varying"] = [a in dims for a in axes]
        dataset.attrs["sample_varying"] = True
        dataset.attrs["time_varying"] = "time" in dims
        dataset.attrs["units"] = variable.units
        for k, row in enumerate(rows):
            values = file.read(variable.name, int(row))
            if part is not None:
                values = values.take(part, variable.dims.index(apart))
            dataset[k] = values.transpose([dims.index(d) for d in order])
        names.append(name)
    return names


def _boundary(
    out: h5py.File,
    sides: dict[str, dict[str, str]],
    sizes: dict[str, int],
    axes: list[str],
) -> None:
    ends = {"x": ("left", "right"), "y": ("bottom", "top"), "z": ("back", "front")}
    kinds = {"periodic": "PERIODIC", "dirichlet": "WALL", "neumann": "OPEN"}
    group = out.create_group("boundary_conditions")
    for axis in axes:
        kind = sides.get(ends[axis][0], {}).get("kind", "dirichlet")
        label = kinds.get(kind, "WALL")
        side = group.create_group(f"{axis}_{label.lower()}")
        side.attrs["bc_type"] = label
        side.attrs["associated_dims"] = [axis]
        side.attrs["associated_fields"] = np.array([], "S1")
        side.attrs["sample_varying"] = side.attrs["time_varying"] = False
        mask = np.zeros(sizes[axis], bool)
        mask[[0, -1]] = True
        side.create_dataset("mask", data=mask)
        side.create_dataset("values", data=np.zeros(2, np.float32))
