"""Bring other people's data into the format: a map of arrays and dims, then a copy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from glob import glob
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from opkit.base.files import check_target
from opkit.datasets.disk import hdf5_appearing
from opkit.datasets.header import POINTS, SPLITS, Header, check_header
from opkit.datasets.importers import clouds
from opkit.datasets.importers.agree import (
    AxisOptions,
    Part,
    axes,
    mesh,
    variables,
)
from opkit.datasets.importers.apart import open_apart
from opkit.datasets.importers.apart_child import ANY_HDF5, FORMATS
from opkit.datasets.importers.fieldmap import FieldMap
from opkit.datasets.importers.meshes import Meshes, Wanted, has_mesh, is_cloud, told
from opkit.datasets.importers.meshes import copy as copy_meshes
from opkit.datasets.importers.names import check_once, check_same_names
from opkit.datasets.importers.npy import in_order, is_folder_of_arrays
from opkit.datasets.importers.of_case import fitted
from opkit.datasets.importers.scrutiny import Scrutiny
from opkit.datasets.importers.source import Source, check_expansion
from opkit.datasets.write import Writer
from opkit.errors import DataError, nearest

__all__ = ["FORMATS", "FieldMap", "import_data", "list_arrays", "open_source"]

SUFFIXES = {
    ".npz": "npz", ".npy": "npz", ".pt": "pt", ".pth": "pt", ".mat": "mat",
    ".nc": "hdf5", ".nc4": "hdf5", ".cdf": "hdf5", ".h5": "hdf5", ".hdf5": "hdf5",
    ".csv": "table", ".parquet": "table", ".vtu": "vtk", ".vtk": "vtk",
    ".msh": "vtk", ".cgns": "cgns",
}  # fmt: skip
REFUSED = {
    ".xdmf": "XDMF names other files, which are not followed: write it as .vtu "
    "(meshio convert FILE.xdmf FILE.vtu)",
}
Files = str | Path | Sequence[str | Path]
BLOCK_BYTES = 32 << 20


def import_data(
    files: Files | Mapping[str, Files],
    out: str | Path,
    fields: Sequence[FieldMap],
    format: str | None = None,
    held_out: Mapping[str, int] | None = None,
    coordinates: Mapping[str, Sequence[float] | NDArray[Any]] | None = None,
    like: Header | None = None,
    dtype: Literal["float32", "float64"] = "float32",
    units: Mapping[str, str] | None = None,
    periodic: Sequence[str] = (),
    fractions: Mapping[str, float] | None = None,
    seed: int = 0,
    force: bool = False,
    meshes: Meshes | None = None,
    points: Sequence[FieldMap] = (),
) -> Path:
    """Copy arrays out of foreign files into one data file.

    Args:
        files: what is read for training, or split name to what is read for it: a file,
            a folder, a pattern such as ``"run*.npz"``, or a list of these, in order.
            Files without an axis ``sample`` hold one sample each.
        out: the file to make; it appears whole or not at all.
        fields: which arrays become which variables.
        format: one of `FORMATS`; None to tell by suffix and content.
        held_out: how many samples of the training files go to other splits; the last.
        coordinates: dimension name to (low, high) of evenly spaced values, both ends
            included, or to all values: of the arrays in the files, before frames are
            cut. Of a periodic axis ``high`` is where ``low`` comes again. Default: what
            the files say, which the user may not contradict, else 0 to 1.
        like: header of the case these data belong to, which must have the same
            variables; case, axes, units and names are taken from it.
        dtype: stored type.
        units: variable or dimension name to units, where the files do not say.
        periodic: dimensions whose value after the last is the first again.
        fractions: split name to the share of the training files' samples that go there,
            drawn at random; the rest stays in ``train``.
        seed: of that draw.
        force: replace ``out`` if it exists; never one of the files.
        meshes: of files that hold a mesh and one sample each, whether they have ``one``
            mesh, nodes that are ``moved``, or a mesh ``each``; told by content where
            not given.
        points: arrays of the coordinates x, y (and z) of each sample, or one with an
            axis ``component``: of a grid that is mapped, or of clouds on ``node``.

    Raises:
        DataError: not readable; an output that exists; files that disagree, or that
            the user contradicts; dims that do not fit; values that are missing, not
            finite, beyond the stored type or lost in it; equal inputs in two splits.
    """
    target = Path(out)
    by_split = files if isinstance(files, Mapping) else {"train": files}
    unknown = sorted({*by_split, *(held_out or {}), *(fractions or {})} - set(SPLITS))
    if unknown or not by_split:
        raise DataError(f"split {unknown[:1]}: choose from {', '.join(SPLITS)}")
    paths: dict[str, list[Path]] = {
        s: expanded(by_split[s]) for s in SPLITS if s in by_split
    }
    for split, some in paths.items():
        check_once(split, some)
    options = AxisOptions(coordinates or {}, units or {}, frozenset(periodic))
    if _are_meshes(paths, fields, format, meshes):
        asked: Meshes | None = "one" if like is not None else meshes
        every = [path for some in paths.values() for path in some]
        common = told(every, lambda path: _opened(path, format), asked)
        if common != "one":
            return _import_meshes(
                paths, target, fields, common, format, held_out, fractions, seed,
                options, dtype, force,
            )  # fmt: skip
    sources: dict[str, list[tuple[Path, Source]]] = {}
    try:
        for split, some in paths.items():
            for path in some:
                opened = path, _opened(path, format)
                sources.setdefault(split, []).append(opened)
        return convert(
            sources,
            target,
            fields,
            options,
            held_out,
            like,
            dtype,
            fractions,
            seed,
            force,
            points,
        )
    finally:
        for opened_files in sources.values():
            for _, source in opened_files:
                source.close()


def convert(
    sources: Mapping[str, Sequence[tuple[Path, Source]]],
    target: Path,
    fields: Sequence[FieldMap],
    options: AxisOptions,
    held_out: Mapping[str, int] | None = None,
    like: Header | None = None,
    dtype: Literal["float32", "float64"] = "float32",
    fractions: Mapping[str, float] | None = None,
    seed: int = 0,
    force: bool = False,
    points: Sequence[FieldMap] = (),
) -> Path:
    """Copy arrays out of open sources by split; arguments as of `import_data`."""
    inputs = [path for some in sources.values() for path, _ in some]
    check_target(target, inputs, force)
    parts = {
        split: [_part(path, source, fields, points) for path, source in some]
        for split, some in sources.items()
    }
    every = [part for some in parts.values() for part in some]
    counts = {split: sum(p.samples for p in some) for split, some in parts.items()}
    splits = _splits(counts, held_out or {}, fractions or {}, seed)
    if clouds.are_clouds(every):
        return clouds.copy(
            every, target, splits, _provenance(parts, fractions, seed), options, dtype,
            force,
        )  # fmt: skip
    specs = variables(every, dtype, options)
    header = Header(
        case={},
        variables=(*specs, *clouds.points_of(every, specs, dtype)),
        coordinates=axes(every, options),
        splits=splits,
        provenance=_provenance(parts, fractions, seed),
        mesh=mesh(every, like.mesh if like is not None else None),
    )
    if like is not None:
        header = fitted(header, like, every, options)
    check_header(header, str(target))
    with hdf5_appearing(target, replace=force) as file:
        writer, scrutiny, row = Writer(file, header), Scrutiny(header), 0
        for part in every:
            for rows, block in _blocks(header, part):
                _check_open(header, part.path, block)
                numbers = range(rows.start, rows.stop)
                places = [f"{part.path}: sample {k}" for k in numbers]
                clouds.refuse_folds(header, block, places)
                values = scrutiny.look(places, row, block)
                here = slice(row, row + rows.stop - rows.start)
                writer.put(here, np.arange(here.start, here.stop), values)
                row = here.stop
        scrutiny.finish()
        writer.finish()
    return target


def expanded(files: Files) -> list[Path]:
    """Return the files that a path, a folder, a pattern or a list of them means.

    A folder means its files that can be read, in the order of their names, or itself
    where it holds .npy (see `importers.npy`).

    Raises:
        DataError: a folder or pattern without such files.
    """
    if not isinstance(files, str | Path):
        return [path for some in files for path in expanded(some)]
    path = Path(files)
    if path.is_dir():
        if is_folder_of_arrays(path):
            return [path]
        paths = [p for p in path.iterdir() if p.suffix.lower() in SUFFIXES]
        beside = {p.stem for p in paths if p.suffix.lower() == ".msh"}
        paths = [p for p in paths if p.suffix.lower() != ".npz" or p.stem not in beside]
        paths = paths or list(path.rglob("*.cgns"))  # PLAID has a folder a sample
    elif path.exists() or not set("*?[") & set(str(path)):
        return [path]
    else:
        paths = [Path(name) for name in glob(str(path))]
        numpy = [p for p in paths if p.suffix.lower() == ".npy"]
        if numpy and len(paths) > 1:
            raise DataError(
                f"{path}: name the folder of .npy files instead: arrays are put "
                "together by their names"
            )
    if not paths:
        raise DataError(f"{path}: no files there; formats are {', '.join(SUFFIXES)}")
    return sorted(paths, key=in_order)


def _are_meshes(
    paths: Mapping[str, Sequence[Path]],
    fields: Sequence[FieldMap],
    format: str | None,
    asked: Meshes | None,
) -> bool:
    """Whether these are files of meshes, one sample each."""
    every = [path for some in paths.values() for path in some]
    if any("sample" in (field.dims or ()) for field in fields):
        return False
    alone = asked is None and len(every) < 2
    kinds = ("vtk", "cgns") if alone else ("vtk", "cgns", "npz")
    kind = format or SUFFIXES.get(every[0].suffix.lower())
    if asked is None and kind not in kinds:
        return False  # others are not opened twice
    source = _opened(every[0], format)
    try:
        if alone:
            return is_cloud(source)
        there = has_mesh(source)
    finally:
        source.close()
    if asked is not None and not there:
        raise DataError(
            f"{every[0]}: --meshes is for files that hold a mesh and one sample each"
        )
    return there


def _import_meshes(
    paths: Mapping[str, Sequence[Path]],
    target: Path,
    fields: Sequence[FieldMap],
    meshes: Meshes,
    format: str | None,
    held_out: Mapping[str, int] | None,
    fractions: Mapping[str, float] | None,
    seed: int,
    options: AxisOptions,
    dtype: Literal["float32", "float64"],
    force: bool,
) -> Path:
    every = [path for some in paths.values() for path in some]
    check_target(target, every, force)
    counts = {split: len(some) for split, some in paths.items()}
    provenance: dict[str, Any] = {
        "imported": {split: [p.name for p in some] for split, some in paths.items()}
    }
    if fractions:
        provenance["split"] = {**fractions, "seed": seed}
    splits = _splits(counts, held_out or {}, fractions or {}, seed)
    wanted = Wanted(
        target, fields, meshes, splits, options.units, dtype, provenance, force,
        options,
    )  # fmt: skip
    copy_meshes(every, lambda path: _opened(path, format), wanted)
    return target


def _opened(path: Path, format: str | None) -> Source:
    """Open a file; of a .msh also the arrays in the .npz of the same name."""
    source = open_source(path, format)
    beside = path.with_suffix(".npz")
    if path.suffix.lower() != ".msh" or not beside.is_file():
        return source
    arrays = open_source(beside)

    def close() -> None:
        source.close()
        arrays.close()

    return replace(source, arrays={**source.arrays, **arrays.arrays}, close=close)


def _part(
    path: Path,
    source: Source,
    fields: Sequence[FieldMap],
    points: Sequence[FieldMap] = (),
) -> Part:
    selections = tuple(f.take(path, source) for f in fields)
    places = tuple(f.take(path, source) for f in points)
    for selection in (*selections, *places):
        for dim, length in selection.lengths.items():
            if not length and dim != "sample":
                raise DataError(
                    f"{path}: {selection.field.source} has no points along {dim}"
                )
    check_same_names(path, selections)
    every = (*selections, *places)
    counts = sorted({t.samples for t in every if t.samples is not None}) or [1]
    if len(counts) != 1:
        raise DataError(f"{path}: arrays with {counts} samples do not belong")
    if not counts[0]:
        raise DataError(f"{path}: has no samples")
    return Part(path, source, selections, counts[0], places)


def _provenance(
    parts: Mapping[str, Sequence[Part]],
    fractions: Mapping[str, float] | None,
    seed: int,
) -> dict[str, Any]:
    provenance: dict[str, Any] = {
        "imported": {
            split: some[0].path.name if len(some) == 1 else [p.path.name for p in some]
            for split, some in parts.items()
        },
        "source": {s: dict(some[0].source.provenance) for s, some in parts.items()},
    }
    turned = {
        d
        for some in parts.values()
        for p in some
        for t in p.selections
        for d in t.turned
    }
    if turned:
        provenance["turned"] = sorted(turned)
    if fractions:
        provenance["split"] = {**fractions, "seed": seed}
    return provenance


def open_source(path: Path, format: str | None = None) -> Source:
    """Open a foreign file; a child process with limits reads it.

    Raises:
        DataError: missing, unknown format, damaged or hostile.
    """
    if path.is_dir() and is_folder_of_arrays(path):
        return open_apart(path, "npy")
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    status = path.stat()
    check_expansion(path, "it", 512 * status.st_blocks, status.st_size)
    requested = format
    if format is None:
        if path.suffix.lower() in REFUSED:
            raise DataError(f"{path}: {REFUSED[path.suffix.lower()]}")
        format = SUFFIXES.get(path.suffix.lower())
    if format not in FORMATS:
        hint = nearest(format or path.suffix, [*FORMATS, *SUFFIXES])
        raise DataError(
            f"{path}: unknown format.{hint} Name one of {', '.join(FORMATS)}"
        )
    if requested is None and format == "hdf5" and h5py.is_hdf5(path):
        format = ANY_HDF5
    source = open_apart(path, format)
    if not source.arrays and source.mesh is None:
        why = next((f": {name} {r}" for name, r in source.refused.items()), "")
        raise DataError(f"{path}: holds no arrays of numbers{why}")
    return source


def _splits(
    counts: Mapping[str, int],
    held_out: Mapping[str, int],
    fractions: Mapping[str, float],
    seed: int,
) -> dict[str, NDArray[np.int64]]:
    """Rows by split: files one after the other, then what leaves the training files."""
    rows, start = {}, 0
    for split, count in counts.items():
        rows[split] = np.arange(start, start + count)
        start += count
    if held_out and any(held_out.values()) and fractions:
        raise DataError("held_out and fractions: choose one of them")
    for split in (*(s for s, n in held_out.items() if n), *fractions):
        if "train" not in rows or (split in counts and split != "train"):
            raise DataError(f"held_out: {split} is a file of its own, or train is none")
    for split, count in held_out.items():
        if not count:
            continue
        if not 0 < count < len(rows["train"]):
            raise DataError(f"held_out: {count} of {len(rows['train'])} samples")
        rows["train"], rows[split] = rows["train"][:-count], rows["train"][-count:]
    if fractions:
        rows |= _drawn(rows["train"], fractions, seed)
    return {split: some for split, some in rows.items() if len(some)}


def _drawn(
    rows: NDArray[np.int64], fractions: Mapping[str, float], seed: int
) -> dict[str, NDArray[np.int64]]:
    """Share out rows at random, each share rounded to whole samples."""
    others = {s: f for s, f in fractions.items() if s != "train"}
    total = sum(fractions.values())
    whole = "train" in fractions
    if min(fractions.values()) < 0 or total > 1 + 1e-9 or (whole and total < 1 - 1e-9):
        raise DataError(f"split {dict(fractions)}: give shares that add up to 1")
    order = np.random.default_rng(seed).permutation(rows)
    shares, start = {}, 0
    for split, share in others.items():
        count = round(share * len(rows))
        if share and not count:
            raise DataError(
                f"split {split}={share:g}: no sample of {len(rows)}: give more"
            )
        shares[split] = np.sort(order[start : start + count])
        start += count
    shares["train"] = np.sort(order[start:])
    return shares


def _blocks(
    header: Header, part: Part
) -> Iterator[tuple[slice, dict[str, NDArray[Any]]]]:
    block = max(1, BLOCK_BYTES // header.sample_nbytes)
    for first in range(0, part.samples, block):
        rows = slice(first, min(first + block, part.samples))
        values = {t.field.name: t.read(rows) for t in part.selections}
        if part.points:
            values[POINTS] = clouds.read(part, rows)
        yield rows, values


def _check_open(header: Header, path: Path, values: Mapping[str, NDArray[Any]]) -> None:
    """Refuse data whose periodic axis holds its first point again as its last.

    Raises:
        DataError: all variables repeat themselves there.
    """
    for dim, axis in header.coordinates.items():
        if not axis.periodic:
            continue
        repeated = []
        for v in header.variables:
            if dim in v.dims:
                field = np.moveaxis(values[v.name], 1 + v.dims.index(dim), 0)
                spread = float(np.ptp(field))
                gap = float(np.abs(field[0] - field[-1]).max())
                if spread > 0:
                    repeated.append(gap <= 1e-6 * spread)
        if repeated and all(repeated):
            raise DataError(
                f"{path}: axis {dim} is periodic and its last point repeats the first: "
                "leave the last point out"
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
    source.close()
    return [
        Listing(name, array.shape, str(array.dtype), array.dims)
        for name, array in source.arrays.items()
    ]
