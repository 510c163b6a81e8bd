"""Data in Python, xarray's or NumPy's, into a data file in one call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from opkit.base.mesh_groups import MeshGroups
from opkit.datasets.header import DIMENSIONS, POINTS, SPLITS, Header, Mesh
from opkit.datasets.importers.agree import AxisOptions
from opkit.datasets.importers.convert import convert
from opkit.datasets.importers.dataset import from_dataset
from opkit.datasets.importers.fieldmap import FieldMap
from opkit.datasets.importers.meshes import (
    Sample,
    Wanted,
    mesh_of,
    sample_of,
    write,
)
from opkit.datasets.importers.source import MASKED, Source, fault_of
from opkit.datasets.importers.source import in_memory as wrapped
from opkit.errors import DataError, nearest

Arrays = Mapping[str, Any]


def save(
    data: xr.Dataset | Arrays | Mapping[str, xr.Dataset | Arrays],
    out: str | Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    split: Mapping[str, float] | None = None,
    seed: int = 0,
    axes: Mapping[str, Sequence[float] | NDArray[Any]] | None = None,
    units: Mapping[str, str] | None = None,
    periodic: Sequence[str] = (),
    mesh: tuple[NDArray[Any], NDArray[Any]] | None = None,
    points: Sequence[str] = (),
    like: Header | None = None,
    dtype: Literal["float32", "float64"] = "float32",
) -> Path:
    """Write an xarray Dataset, or arrays with named axes, as a data file.

    Args:
        data: a Dataset; or name to ``(dims, array)`` or ``(dims, array, attributes)``
            as `xarray.Dataset` takes them; or split name (``"train"``,
            ``"validation"``, ``"test"``) to either. Units are those of the attributes
            ``units``. Without an axis ``sample`` it is one sample.
        out: the file to make; it appears whole or not at all.
        inputs: variables given to a surrogate: names, or maps as on the command line,
            ``"temperature=t:sample,y,x@0"``.
        outputs: variables asked of it.
        split: split name to the share of ``train`` that goes there, drawn at random.
        seed: of that draw.
        axes: dimension to (low, high) or to all values, where ``data`` has none.
        units: variable or dimension to units, where ``data`` has none.
        periodic: dimensions whose value after the last is the first again.
        mesh: points (node, 2 or 3) and cells (cell, corner), counted from 0, of
            variables on ``node`` or ``cell``.
        points: where the nodes of each sample lie, if that differs: one array per
            coordinate x, y (and z), or one with the axis ``component``, as
            ``"points:sample,y,x,component"``.
        like: header of the case these data belong to.
        dtype: stored type.

    Returns:
        The path of the file.

    Raises:
        DataError: as of `opkit.datasets.importers.convert.import_data`.

    Example:
        >>> opkit.save(dataset, "heat.h5", ["conductivity"], ["temperature"],
        ...            split={"validation": 0.1, "test": 0.1})  # doctest: +SKIP
    """
    splits = _by_split(data)
    record = None
    if mesh is not None:
        nodes, cells = (np.asarray(part) for part in mesh)
        record = Mesh(nodes.astype(np.float64), cells.astype(np.int64))
    sources: dict[str, list[tuple[Path, Source]]] = {}
    for name in SPLITS:
        if name in splits:
            where = Path("data" if len(splits) == 1 else name)
            source = from_dataset(_dataset(splits[name], where), stored=False)
            sources[name] = [(where, replace(source, mesh=record))]
    fields = [_field(text, "input") for text in inputs]
    fields += [_field(text, "output") for text in outputs]
    options = AxisOptions(axes or {}, units or {}, frozenset(periodic))
    places = [FieldMap.parse(f"points={text}", "input") for text in points]
    return convert(
        sources,
        Path(out),
        fields,
        options,
        None,
        like,
        dtype,
        split,
        seed,
        points=places,
    )


def save_meshes(
    samples: Iterable[Arrays],
    out: str | Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    splits: Mapping[str, int],
    axes: Mapping[str, Sequence[float] | NDArray[Any]] | None = None,
    units: Mapping[str, str] | None = None,
    parts: Sequence[str] = (),
    dtype: Literal["float32", "float64"] = "float32",
) -> Path:
    """Write samples that have a mesh or cloud each as a ragged data file.

    Args:
        samples: one mapping a sample, such as a generator gives them; only one is held
            at a time. Each has ``points`` (node, 2 or 3), ``cells`` (cell, corner)
            counted from 0 unless it is a cloud, with ``parts`` also ``facets`` (facet,
            corner) and ``facet_part`` (facet,), and the variables: (node,), (cell,),
            numbers, or functions of time.
        out: the file to make; it appears whole or not at all.
        inputs: names of variables given to a surrogate, functions of time as
            ``"inflow=inflow:time"``; none where shapes are enough.
        outputs: names of variables asked of it.
        splits: split name to how many samples; they come in this order.
        axes: ``time`` to (low, high) or to all values, of functions of time.
        units: variable or ``time`` to units.
        parts: names of the parts of the boundary, which ``facet_part`` counts from 0.
        dtype: stored type of the fields.

    Returns:
        The path of the file.

    Raises:
        DataError: meshes that are not sound or of several kinds, values that are
            missing, more or fewer samples than the splits say.

    Example:
        >>> opkit.save_meshes(
        ...     ({"points": p, "cells": c, "u": u} for p, c, u in solve_all()),
        ...     "plates.h5", [], ["u"], splits={"train": 90, "test": 10},
        ... )  # doctest: +SKIP
    """
    unknown = sorted(set(splits) - set(SPLITS))
    if unknown or not splits or min(splits.values()) < 1:
        raise DataError(
            f"splits {dict(splits)}: give the number of samples of {', '.join(SPLITS)}"
        )
    ends = np.cumsum([0, *splits.values()])
    rows = {
        name: np.arange(start, stop)
        for name, start, stop in zip(splits, ends, ends[1:], strict=False)
    }
    fields = [_field(text, "input") for text in inputs]
    fields += [_field(text, "output") for text in outputs]
    target = Path(out)
    own = (
        (Path(f"sample {k}"), _sample(k, arrays, fields, tuple(parts)))
        for k, arrays in enumerate(samples)
    )
    options = AxisOptions(axes or {}, units or {})
    wanted = Wanted(target, fields, "each", rows, units or {}, dtype, axes=options)
    write(own, wanted)
    return target


def _sample(
    k: int, arrays: Arrays, fields: Sequence[FieldMap], parts: tuple[str, ...]
) -> Sample:
    """Return one sample of what a user gave."""
    needed = [POINTS, *(f.source for f in fields)]
    needed += ["facets", "facet_part"] if parts else []
    for name in needed:
        if name not in arrays:
            raise DataError(f"sample {k}: lacks {name}.{nearest(name, arrays)}")
    held = {name: wrapped(np.asarray(array)) for name, array in arrays.items()}
    path = Path(f"sample {k}")
    mesh = mesh_of(path, Source(held))
    if parts:
        groups = MeshGroups(
            subdomains=np.zeros(len(mesh.cells), np.int64),
            facets=np.asarray(arrays["facets"], np.int64),
            parts=np.asarray(arrays["facet_part"], np.int64),
            names=parts,
        )
        mesh = replace(mesh, groups=groups)
    return sample_of(path, Source(held, mesh=mesh), fields)


def _by_split(data: Any) -> dict[str, Any]:
    if not isinstance(data, xr.Dataset) and isinstance(data, Mapping):
        if not data:
            raise DataError("save: no data")
        if set(data) <= set(SPLITS) and all(
            isinstance(part, Mapping) for part in data.values()
        ):
            return dict(data)
    return {"train": data}


def _dataset(data: Any, where: Path) -> xr.Dataset:
    if not isinstance(data, xr.Dataset):
        if not isinstance(data, Mapping):
            raise DataError(
                f"{where}: a {type(data).__name__} is not taken: give an "
                "xarray.Dataset, or name to (dims, array)"
            )
        for name, value in data.items():
            array = value[1] if isinstance(value, tuple) and len(value) > 1 else value
            if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
                raise DataError(f"{where}: {name} {MASKED}")
            if isinstance(array, np.ndarray) and array.dtype.kind in "cOV":
                raise DataError(f"{where}: {name} {fault_of(array.dtype)}")
        try:
            return xr.Dataset({n: _own_component(n, v) for n, v in data.items()})
        except (ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:160]
            raise DataError(
                f"{where}: not arrays with named axes ({reason}): give name to "
                "(dims, array)"
            ) from error
    return data


def _own_component(name: str, value: Any) -> Any:
    """Give each vector components of its own: others may be longer."""
    if not isinstance(value, tuple) or not value or isinstance(value[0], str):
        return value
    own = [f"{name}_component" if dim == "component" else dim for dim in value[0]]
    return (own, *value[1:])


def _field(text: str, role: Literal["input", "output"]) -> FieldMap:
    if "=" not in text:
        name = text.partition("@")[0].partition(":")[0]
        if name in DIMENSIONS:
            raise DataError(f"{name} is an axis: name a variable")
        text = f"{name}={text}"
    return FieldMap.parse(text, role)
