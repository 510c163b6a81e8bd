"""Read a data file lazily: its header at once, samples when asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from opkit.base.files import real
from opkit.base.sandbox import run_limited
from opkit.base.show import Shown, grid
from opkit.base.thumbnail import pictures
from opkit.datasets.audit import audit
from opkit.datasets.chunks import ChunkReader
from opkit.datasets.digest import content_digest, sample_digest
from opkit.datasets.header import SPLITS, Mesh, VariableSpec
from opkit.datasets.ragged import (
    FlatReader,
    fault_of,
    mesh_of,
    part_names,
    read_sample,
)
from opkit.datasets.stored_header import read_header, text
from opkit.errors import DataError

VERIFY_BYTES = 4 << 20
MOST_DRAWN = 1_000_000
"""Values of a field of one sample above which notebooks show no picture of it."""


class DataFile(Shown):
    """An opkit data file, open for reading.

    The handles belong to the process that uses them: they are not pickled, and a forked
    child opens its own. Checksums are verified when a sample is first read.

    Args:
        path: the file.
        trusted: skip opening it first in a limited child process. For files that this
            program has just written or already checked.

    Raises:
        DataError: missing, damaged, hostile, or not of this format.
    """

    def __init__(self, path: str | Path, trusted: bool = False) -> None:
        self.path = Path(path)
        if not trusted:
            open_guarded(self.path)
        self._forget()
        with explained(self.path):
            audit(self._file)
            self.header = read_header(self._file, str(self.path))

    def _forget(self) -> None:
        self._handle: h5py.File | None = None
        self._owner = -1
        self._descriptor = -1
        self._chunks: ChunkReader | None = None
        self._flat: FlatReader | None = None
        self._numbers: dict[str, NDArray[Any]] = {}
        self._seals: _Seals | None = None

    @property
    def _file(self) -> h5py.File:
        if self._handle is None or self._owner != os.getpid():
            self._forget()  # after a fork the handles are the parent's
            self._handle = open_hdf5(self.path)
            self._descriptor = os.open(self.path, os.O_RDONLY)
            self._owner = os.getpid()
        return self._handle

    @property
    def handle(self) -> h5py.File:
        """The open HDF5 file, for looking at attributes; audited."""
        return self._file

    def __getstate__(self) -> dict[str, Any]:
        """Leave the handles behind: each process opens the file itself."""
        return {"path": self.path, "header": self.header}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over path and header; the file is opened at the first reading."""
        self.__dict__.update(state)
        self._forget()

    def close(self) -> None:
        """Close the file; reading opens it again."""
        if self._handle is not None and self._owner == os.getpid():
            self._handle.close()
            os.close(self._descriptor)
        self._forget()

    def __del__(self) -> None:
        """Close the file when nobody can read it any more."""
        if getattr(self, "_owner", -1) == os.getpid():
            self.close()

    def __enter__(self) -> DataFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self.header.samples

    def _facts(self) -> dict[str, Any]:
        variables = {
            v.name: f"{v.role} {_size(v)} {v.dtype}" for v in self.header.variables
        }
        return {
            "file": self.path,
            "case": self.header.case.get("name", "imported data"),
            "samples": len(self),
            "splits": {k: len(rows) for k, rows in self.header.splits.items()},
            **variables,
        }

    def _pictures(self) -> dict[str, str]:
        """Draw the fields of the first sample on a grid, if they are not large."""
        drawn = [
            v.name
            for v in self.header.variables
            if v.is_field and len(v.shape) > 1 and np.prod(v.shape) <= MOST_DRAWN
        ]
        if not len(self) or self.header.shapes is not None or not drawn:
            return {}
        try:
            return pictures(self.read_samples(drawn, np.array([0])))
        except DataError:  # a damaged sample: the table has no picture of it
            return {}

    def indices(self, split: str) -> NDArray[np.int64]:
        """Return the rows of a split, increasing.

        Raises:
            DataError: the file has no such split.
        """
        if split not in self.header.splits or not len(self.header.splits[split]):
            splits = [s for s in SPLITS if len(self.header.splits.get(s, ()))]
            raise DataError(
                f"{self.path}: no split {split!r}; it has {splits}: `opkit import` "
                f"takes --{split} FILES, or --split for a share of the training data"
            )
        return self.header.splits[split]

    def read(self, name: str, rows: int | slice | NDArray[np.integer]) -> NDArray[Any]:
        """Return rows of a variable in its stored type.

        Args:
            name: a variable.
            rows: one row (no batch dimension then), a slice, or a list of rows.

        Raises:
            DataError: a checksum does not match, no such variable, or several rows of
                a field whose length differs from sample to sample.
        """
        if isinstance(rows, int | np.integer) and self.header.ragged:
            self.header.variable(name)
            return np.asarray(self.sample(int(rows), [name])[name])
        if isinstance(rows, int | np.integer):
            one: NDArray[Any] = self.read_together([name], np.array([rows]))[name][0]
            return one
        if isinstance(rows, slice):
            rows = np.arange(len(self))[rows]
        return self.read_together([name], rows)[name]

    def read_together(
        self, names: Sequence[str], rows: NDArray[np.integer]
    ) -> dict[str, NDArray[Any]]:
        """Return rows of several variables, fetched in the order they lie on disk.

        Args:
            names: of the variables.
            rows: (row,) in any order.

        Raises:
            DataError: a checksum does not match, or no such variable.
        """
        variables = [self.header.variable(name) for name in names]
        if self.header.ragged:
            flat = next((v.name for v in variables if not v.is_whole), None)
            if flat is not None:
                raise DataError(
                    f"{self.path}: {flat} has another length in each sample: read one "
                    "row at a time"
                )
        with explained(self.path):
            file = self._file
            if self._chunks is None:
                self._chunks = ChunkReader(file, self._descriptor)
            return self._chunks.read(names, np.asarray(rows, np.int64))

    def read_samples(
        self, names: Sequence[str], rows: NDArray[np.integer]
    ) -> dict[str, NDArray[Any]]:
        """Return rows of several variables; a sample is compared with its SHA-256 once.

        Args:
            names: of the variables.
            rows: (row,) in any order.

        Raises:
            DataError: a sample, or what is said of all of them, is damaged.
        """
        if self._seals is None:
            self._seals = self._checked_seals()
        seals = self._seals
        if seals.compared[rows].all():
            return self.read_together(names, rows)
        fields = self.read_together([v.name for v in self.header.variables], rows)
        for k, row in enumerate(rows):
            if not seals.compared[row]:
                seals.compare(
                    self.path, int(row), {name: v[k] for name, v in fields.items()}
                )
        return {name: fields[name] for name in names}

    def sample(
        self, row: int, names: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Return one sample of a ragged file; it is compared with its SHA-256 once.

        Args:
            row: of the sample.
            names: of variables, or of ``points`` (node, d), ``weights`` (node,),
                ``cell_nodes`` (cell, corner), ``facet_nodes``, ``facet_part``; all
                that there are where not given.

        Raises:
            DataError: the sample is damaged.
        """
        if not 0 <= row < len(self):
            raise DataError(f"{self.path}: no row {row}; it has {len(self)}")
        if self._seals is None:
            self._seals = self._checked_seals()
        seals = self._seals  # of this process: reading after a fork forgets them
        assert self.header.shapes is not None
        everything = [v.name for v in self.header.variables]
        everything += part_names(self.header.shapes)
        if seals.compared[row]:
            return self._read_sample(row, everything if names is None else names)
        arrays = self._read_sample(row, everything)
        seals.compare(self.path, row, arrays)
        fault = fault_of(arrays)
        if fault:
            raise DataError(f"{self.path}: sample {row}: {fault}: damaged or hostile")
        return arrays if names is None else {name: arrays[name] for name in names}

    def mesh(self, row: int) -> Mesh:
        """Return the mesh of a sample; the one of all samples where it is common.

        Raises:
            DataError: the file has no mesh, or the sample is damaged.
        """
        shapes = self.header.shapes
        if shapes is not None:
            return mesh_of(self.sample(row, part_names(shapes)), shapes)
        if self.header.mesh is None:
            raise DataError(f"{self.path}: has no mesh")
        return self.header.mesh

    def _read_sample(self, row: int, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        with explained(self.path):
            file = self._file
            if self._flat is None:
                self._flat = FlatReader(file, self._descriptor)
                self._numbers = {
                    v.name: np.asarray(file[v.name][:])
                    for v in self.header.variables
                    if v.is_whole
                }
            return read_sample(self._flat, self.header, row, names, self._numbers)

    def check_seal(self) -> None:
        """Compare header, axes, splits and digests with the hash of the file.

        Raises:
            DataError: they differ.
        """
        if self.content_hash() != self.stored_hash():
            raise DataError(
                f"{self.path}: the content hash does not match: damaged: copy or "
                "generate the file again"
            )

    def _checked_seals(self) -> _Seals:
        self.check_seal()
        with explained(self.path):
            digests = self._file["sha256"][:]
        return _Seals(digests, self.diagnostics(), np.zeros(len(self), bool))

    def diagnostics(self) -> dict[str, NDArray[np.float64]]:
        """Return the solver's numbers for each sample; ``error`` is its measure."""
        with explained(self.path):
            return {
                name.removeprefix("solver_"): np.asarray(self._file[name][:])
                for name in self._file
                if name.startswith("solver_")
            }

    @property
    def measure(self) -> str:
        """What the solver's ``error`` is; empty where there is none."""
        if "solver_error" not in self._file:
            return ""
        with explained(self.path):
            return text(self._file["solver_error"].attrs["long_name"])

    @property
    def index(self) -> NDArray[np.int64]:
        """The number i of each row's random stream."""
        with explained(self.path):
            return np.asarray(self._file["sample"][:])

    def stored_hash(self) -> str:
        """The content hash the file claims."""
        with explained(self.path):
            return text(self._file.attrs["content_hash"])

    def content_hash(self) -> str:
        """Content hash from the header and the stored digests of the samples.

        Equal for equal content, whoever wrote it in whatever order. `verify` compares
        the digests with the data.
        """
        with explained(self.path):
            return content_digest(self.header, self.index, self._file["sha256"][:])

    def verify(self) -> Iterator[int]:
        """Read everything and yield the number of each row as it is found intact.

        Raises:
            DataError: at the first row whose digest differs, or if the hash does.
        """
        with explained(self.path):
            digests = self._file["sha256"][:]
        seals = _Seals(digests, self.diagnostics(), np.zeros(len(self), bool))
        if self.header.shapes is not None:
            names = [v.name for v in self.header.variables]
            names += part_names(self.header.shapes)
            for k in range(len(self)):
                seals.compare(self.path, k, self._read_sample(k, names))
                yield k
            self.check_seal()
            return
        names = [v.name for v in self.header.variables]
        block = max(1, VERIFY_BYTES // self.header.sample_nbytes)
        for first in range(0, len(self), block):
            rows = np.arange(first, min(first + block, len(self)))
            fields = self.read_together(names, rows)
            for k, row in enumerate(rows):
                sample = {name: values[k] for name, values in fields.items()}
                seals.compare(self.path, int(row), sample)
                yield int(row)
        self.check_seal()


@dataclass
class _Seals:
    """Digests of the samples of a file.

    Args:
        digests: (sample, 32) as stored.
        numbers: the solver's numbers, which are part of a sample.
        compared: (sample,) which samples were found intact.
    """

    digests: NDArray[np.uint8]
    numbers: dict[str, NDArray[np.float64]]
    compared: NDArray[np.bool_]

    def compare(self, path: Path, row: int, fields: dict[str, NDArray[Any]]) -> None:
        """Compare a sample with its digest.

        Raises:
            DataError: it is damaged.
        """
        numbers = {name: float(n[row]) for name, n in self.numbers.items()}
        if sample_digest(fields, numbers) != self.digests[row].tobytes():
            raise DataError(
                f"{path}: sample {row} is damaged: copy or generate the file again"
            )
        self.compared[row] = True


def open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file for reading.

    Raises:
        DataError: missing, or not HDF5.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with explained(path):
        return h5py.File(path, "r")


def is_data_file(path: Path) -> bool:
    """Whether a file says that it is opkit's; look into strangers' in a child first.

    Netcdf libraries leave a mark in what they write: a copy that xarray made of a data
    file has its attributes, and is none.
    """
    if not h5py.is_hdf5(path):
        return False
    with explained(path), h5py.File(path, "r") as file:
        return "opkit_header" in file.attrs and "_NCProperties" not in file.attrs


def hdf5_version() -> str:
    """Version of the HDF5 library that h5py uses."""
    return str(h5py.version.hdf5_version)


class explained:
    """Turn what h5py raises on damaged files into a `DataError` with the path."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, (OSError, RuntimeError, KeyError, ValueError, TypeError)):
            if isinstance(error, DataError):
                return
            reason = " ".join(str(error).split()) or type(error).__name__
            if "unable to lock file" in reason:
                raise DataError(
                    f"{self._path}: this file system cannot lock files, or another "
                    "program writes it: HDF5_USE_FILE_LOCKING=FALSE reads without locks"
                ) from error
            raise DataError(
                f"{self._path}: damaged or not a data file ({reason[:160]})"
            ) from error


def _size(variable: VariableSpec) -> str:
    return "".join(variable.dims) if 0 in variable.shape else grid(variable.shape)


FOREIGN = (".npz", ".npy", ".mat", ".pt", ".pth", ".csv", ".parquet", ".zarr")
"""Endings of files that hold arrays and are no data files."""

_sound: set[tuple[str, int, int, int]] = set()
"""Files that a child process has read: path, inode, size, time of the last change."""


def open_guarded(path: Path) -> None:
    """Return if a limited child process could open and audit the opkit data file.

    Raises:
        DataError: it could not; the message is the child's, or says which limit it hit.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    key = (str(real(path)), status.st_ino, status.st_size, status.st_mtime_ns)
    if path.is_dir() or path.suffix in FOREIGN:
        raise DataError(
            f"{path}: not an opkit data file; make one of its arrays: opkit import "
            f"OUT.h5 --train {path} --input NAME=ARRAY --output NAME=ARRAY"
        )
    if key not in _sound:
        run_limited("opkit.datasets.read_child", [str(path)], str(path))
        _sound.add(key)
