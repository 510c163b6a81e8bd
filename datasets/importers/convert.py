"""Bring other people's data into the format: a map of arrays and dims, then a copy."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from opkit.base.files import appearing
from opkit.base.sandbox import run_limited
from opkit.datasets.header import SPLITS, Axis, Header, VariableSpec
from opkit.datasets.importers import pdebench
from opkit.datasets.importers.fieldmap import FieldMap
from opkit.datasets.importers.source import Source
from opkit.datasets.write import LIBVER, Writer
from opkit.errors import DataError, nearest

__all__ = ["FORMATS", "FieldMap", "import_data", "list_arrays", "open_source"]

FORMATS = {
    "npz": "opkit.datasets.importers.npz",
    "pt": "opkit.datasets.importers.pt",
    "mat": "opkit.datasets.importers.mat",
    "hdf5": "opkit.datasets.importers.hdf5",
    "pdebench": "opkit.datasets.importers.pdebench",
    "well": "opkit.datasets.importers.well",
}
SUFFIXES = {
    ".npz": "npz", ".npy": "npz", ".pt": "pt", ".pth": "pt", ".mat": "mat",
    ".nc": "hdf5", ".nc4": "hdf5", ".cdf": "hdf5", ".h5": "hdf5", ".hdf5": "hdf5",
}  # fmt: skip
BLOCK_BYTES = 32 << 20


def import_data(
    files: str | Path | Mapping[str, str | Path],
    out: str | Path,
    fields: Sequence[FieldMap],
    format: str | None = None,
    held_out: Mapping[str, int] | None = None,
    coordinates: Mapping[str, Sequence[float] | NDArray[Any]] | None = None,
    like: Header | None = None,
    dtype: Literal["float32", "float64"] = "float32",
) -> Path:
    """Copy arrays out of foreign files into one data file.

    Args:
        files: one file for training, or split name to file.
        out: the file to make; it appears whole or not at all.
        fields: which arrays become which variables.
        format: one of `FORMATS`; None to tell by suffix and content.
        held_out: how many samples of the training file go to other splits; its last.
        coordinates: dimension name to (low, high) of evenly spaced values, both ends
            included, or to all values. Default: what the file says, else 0 to 1.
        like: header of the case these data belong to, which must have the same
            variables; case, axes, units and names are taken from it.
        dtype: stored type.

    Raises:
        DataError: not readable, dims that do not fit, values that are not finite.
    """
    target = Path(out)
    if target.exists():
        raise DataError(f"{target}: exists already: choose another name or delete it")
    given = files if isinstance(files, Mapping) else {"train": files}
    unknown = sorted({*given, *(held_out or {})} - set(SPLITS))
    if unknown or not given:
        raise DataError(f"split {unknown[:1]}: choose from {', '.join(SPLITS)}")
    paths: dict[str, Path] = {s: Path(given[s]) for s in SPLITS if s in given}
    sources = {split: open_source(path, format) for split, path in paths.items()}
    counts = {s: _samples(paths[s], source, fields) for s, source in sources.items()}
    header = Header(
        case={},
        variables=_variables(paths, sources, fields, dtype),
        coordinates={},
        splits=_splits(counts, held_out or {}),
        provenance={
            "imported": {split: path.name for split, path in paths.items()},
            "source": {s: dict(source.provenance) for s, source in sources.items()},
        },
    )
    first = next(iter(sources.values()))
    header = _with_coordinates(header, first, fields, coordinates or {})
    if like is not None:
        header = _fitted(header, like, {*first.coordinates, *(coordinates or {})})
    with (
        appearing(target) as temporary,
        h5py.File(temporary, "w", libver=LIBVER) as file,
    ):
        writer = Writer(file, header)
        start = 0
        for split, source in sources.items():
            for rows, values in _blocks(header, source, fields, counts[split]):
                _check_finite(paths[split], rows, values)
                here = slice(start + rows.start, start + rows.stop)
                writer.put(here, np.arange(here.start, here.stop), values)
            start += counts[split]
        writer.finish()
    return target


def open_source(path: Path, format: str | None = None) -> Source:
    """Open a foreign file, first in a child process with limits if it is HDF5.

    Raises:
        DataError: missing, unknown format, damaged or hostile.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if format is None:
        format = SUFFIXES.get(path.suffix.lower())
    if format not in FORMATS:
        hint = nearest(format or path.suffix, [*FORMATS, *SUFFIXES])
        raise DataError(
            f"{path}: unknown format.{hint} Name one of {', '.join(FORMATS)}"
        )
    if h5py.is_hdf5(path):
        run_limited("opkit.datasets.importers.hdf5_child", [str(path)], str(path))
        format = _layout(path) if format == "hdf5" else format
    source: Source = importlib.import_module(FORMATS[format]).open_source(path)
    if not source.arrays:
        raise DataError(f"{path}: holds no arrays of numbers")
    return source


def _layout(path: Path) -> str:
    with h5py.File(path, "r") as file:
        if "t0_fields" in file:
            return "well"
        return "pdebench" if pdebench.layout(file) else "hdf5"


def _samples(path: Path, source: Source, fields: Sequence[FieldMap]) -> int:
    counts = {n for f in fields if (n := f.samples(path, source)) is not None}
    if len(counts) != 1:
        raise DataError(f"{path}: arrays with {sorted(counts)} samples do not belong")
    return counts.pop()


def _variables(
    paths: Mapping[str, Path],
    sources: Mapping[str, Source],
    fields: Sequence[FieldMap],
    dtype: Literal["float32", "float64"],
) -> tuple[VariableSpec, ...]:
    made = []
    for f in fields:
        shapes = {s: f.shape(paths[s], source) for s, source in sources.items()}
        if len(set(shapes.values())) > 1:
            raise DataError(f"{f.name}: the files disagree about its shape: {shapes}")
        split, source = next(iter(sources.items()))
        dims, units = f.target_dims(paths[split], source), source.arrays[f.source].units
        made.append(
            VariableSpec(
                f.name,
                f.role,
                dims,
                shapes[split],
                dtype,
                f.units or units,
                f.long_name,
            )
        )
    return tuple(made)


def _splits(
    counts: Mapping[str, int], held_out: Mapping[str, int]
) -> dict[str, NDArray[np.int64]]:
    """Rows by split: files one after the other; held-out rows end the training file."""
    rows, start = {}, 0
    for split, count in counts.items():
        rows[split] = np.arange(start, start + count)
        start += count
    for split, count in held_out.items():
        if not count:
            continue
        if "train" not in rows or split in rows:
            raise DataError(f"held_out: {split} is a file of its own, or train is none")
        if not 0 < count < len(rows["train"]):
            raise DataError(f"held_out: {count} of {len(rows['train'])} samples")
        rows["train"], rows[split] = rows["train"][:-count], rows["train"][-count:]
    return rows


def _with_coordinates(
    header: Header,
    source: Source,
    fields: Sequence[FieldMap],
    wanted: Mapping[str, Sequence[float] | NDArray[Any]],
) -> Header:
    axes = {}
    for dim, length in header.sizes.items():
        values = np.asarray(wanted.get(dim, ()), np.float64)
        if dim not in wanted and dim in source.coordinates:
            values = source.coordinates[dim]
            cuts = {f.frames for f in fields if f.role == "output" and f.has_time}
            if dim == "time" and len(cuts) == 1:
                values = values[cuts.pop()]
        if not len(values):
            values = np.linspace(0.0, 1.0, length)
        elif len(values) == 2 and length > 2:
            values = np.linspace(values[0], values[1], length)
        axes[dim] = Axis(values, "1", dim)
    return Header(**{**vars(header), "coordinates": axes})


def _fitted(header: Header, like: Header, known: set[str]) -> Header:
    """Return the header with the case of another one, if both agree.

    Args:
        header: of the data.
        like: of the case.
        known: axes whose values the data bring along.
    """
    name = like.case.get("name", "the case")
    found = {v.name: (v.role, v.dims, v.shape) for v in header.variables}
    wanted = {v.name: (v.role, v.dims, v.shape) for v in like.variables}
    for variable in sorted(found.keys() | wanted.keys()):
        here, there = found.get(variable), wanted.get(variable)
        if here != there:
            raise DataError(
                f"case {name}: {variable} is {_said(there)} there and {_said(here)} "
                "here: name the variables as in the case, and set its resolution"
            )
    for dim in known & like.coordinates.keys() & header.coordinates.keys():
        ours, its = header.coordinates[dim].values, like.coordinates[dim].values
        if not np.allclose(ours, its, rtol=1e-5, atol=1e-6 * np.ptp(its)):
            raise DataError(
                f"case {name}: axis {dim} is from {its[0]:g} to {its[-1]:g} there "
                f"and from {ours[0]:g} to {ours[-1]:g} here"
            )
    return replace(
        header, case=like.case, variables=like.variables, coordinates=like.coordinates
    )


def _said(what: tuple[str, tuple[str, ...], tuple[int, ...]] | None) -> str:
    if what is None:
        return "missing"
    role, dims, shape = what
    return f"{role} {','.join(dims)} {'x'.join(map(str, shape))}"


def _blocks(
    header: Header, source: Source, fields: Sequence[FieldMap], samples: int
) -> Iterator[tuple[slice, dict[str, NDArray[Any]]]]:
    block = max(1, BLOCK_BYTES // header.sample_nbytes)
    for first in range(0, samples, block):
        rows = slice(first, min(first + block, samples))
        values = {}
        for f in fields:
            spec = header.variable(f.name)
            values[f.name] = f.read(source, rows, spec.dims).astype(spec.dtype)
        yield rows, values


def _check_finite(path: Path, rows: slice, values: Mapping[str, NDArray[Any]]) -> None:
    for name, array in values.items():
        wrong = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
        if wrong.any():
            raise DataError(
                f"{path}: {name} of sample {rows.start + int(np.argmax(wrong))} has "
                "values that are not finite: remove the sample"
            )


@dataclass(frozen=True)
class Listing:
    """One array of a foreign file, for a user who wonders what to map."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    dims: tuple[str, ...] | None


def list_arrays(path: str | Path, format: str | None = None) -> list[Listing]:
    """Return the arrays of a foreign file.

    Raises:
        DataError: see `open_source`.
    """
    source = open_source(Path(path), format)
    return [
        Listing(name, array.shape, str(array.dtype), array.dims)
        for name, array in source.arrays.items()
    ]
