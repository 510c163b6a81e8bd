"""What the solver solved in place of predictions, kept as a data file.

A store is an ordinary data file of the surrogate's case: training goes on with it. Its
provenance says ``kept_by: surrogate.solve``; of five inputs, four are training samples
and one is for validation, which one follows from the input itself. Equal inputs are
kept once. Processes and threads that keep into one file wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opkit.base.files import check_target, locked, real
from opkit.case.contract import check_solution, points_of
from opkit.case.data import (
    DType,
    arrays_of,
    header_of,
    mesh_among,
    outputs_of,
    provenance,
)
from opkit.datasets.append import NewSamples, append
from opkit.datasets.digest import sample_digest
from opkit.datasets.header import (
    GENERATION_SECONDS,
    KEPT_BY,
    POINTS,
    Header,
    Split,
    is_store,
)
from opkit.datasets.read import DataFile
from opkit.datasets.rounding import rounded
from opkit.errors import CaseError, DataError, NonFiniteError
from opkit.solvers.interface import MESH_ARRAYS, MovesNodes, Solution
from opkit.surrogate.checks.case_solver import Answer

WAIT = 60.0
"""Seconds that a process waits for another one that keeps into the same file."""
VALIDATION = 0.2
"""Part of the inputs that are for validation."""

_Stamp = tuple[int, int, int]
_known: dict[str, tuple[_Stamp, set[bytes]]] = {}
"""Digests of the inputs in files, by path, with the state of the file."""


@dataclass
class Store:
    """A data file that takes what a solver solved.

    Args:
        path: the file; made when there is something to keep.
        surrogate: SHA-256 of the weights whose predictions were not accepted.
    """

    path: Path
    surrogate: str = ""
    _solved: list[tuple[Answer, float]] = field(default_factory=list)

    def check(self) -> None:
        """Refuse a path that cannot be a store, before anything is solved.

        Raises:
            DataError: a file of another kind is there, or its folder is missing.
        """
        check_target(self.path, force=True)
        if not self.path.parent.is_dir():
            raise DataError(f"{self.path}: its folder is missing: make it first")
        if self.path.exists():
            with _opened(self.path) as file:
                _refuse_other_kind(file)

    def add(self, answer: Answer, seconds: float) -> None:
        """Take solutions of a batch; `keep` writes them.

        Args:
            answer: with inputs and solution.
            seconds: of processor that solving took.
        """
        batches = answer.batches
        self._solved += [(batch, seconds / len(batches)) for batch in batches]

    def keep(self) -> tuple[int, int]:
        """Write what was added since the last time.

        Returns:
            How many samples were written, and how many the file held already.

        Raises:
            DataError: the file is of another case, grid or kind, the disk is full, or
                another process holds the file for longer than `WAIT`.
            NonFiniteError: NaN or infinity in what the solver gives.
        """
        solved, self._solved = self._solved, []
        if not solved:
            return 0, 0
        lock = self.path.with_name(f".{self.path.name}.lock")
        with locked(lock, f"keeps into {self.path.name}", WAIT):
            return self._keep(solved)

    def _keep(self, solved: Sequence[tuple[Answer, float]]) -> tuple[int, int]:
        old = _opened(self.path) if self.path.exists() else None
        try:
            header = _header(solved[0][0], old)
            known = _digests(old) if old is not None else set()
            new: list[NewSamples] = []
            spent, held, fault = 0.0, 0, None
            for answer, seconds in solved:
                try:
                    stored = _stored(answer, header)
                except (CaseError, DataError, NonFiniteError) as error:
                    fault = error  # those before it are kept
                    break
                digests = _input_digests(stored, header)
                rows = [
                    k
                    for k, key in enumerate(digests)
                    if key not in known and key not in digests[:k]
                ]
                spent += seconds if rows else 0.0
                held += len(digests) - len(rows)
                if rows:
                    keys = [digests[k] for k in rows]
                    new.append(_new(answer, stored, rows, keys, header))
                known |= set(digests)
            if new:
                append(self.path, header, old, new, self._provenance(old, spent))
                _known[str(real(self.path))] = (_stamp(self.path), known)
            if fault is not None:
                raise fault
        finally:
            if old is not None:
                old.close()
        return sum(len(batch.splits) for batch in new), held

    def _provenance(self, old: DataFile | None, seconds: float) -> dict[str, Any]:
        before = {} if old is None else dict(old.header.provenance)
        surrogates = list(before.get("surrogates", []))
        if self.surrogate and self.surrogate not in surrogates:
            surrogates.append(self.surrogate)
        spent = float(before.get(GENERATION_SECONDS, 0.0)) + seconds
        return {
            **provenance(),
            **KEPT_BY,
            "surrogates": surrogates,
            GENERATION_SECONDS: round(spent, 6),
        }


def _opened(path: Path) -> DataFile:
    """Open a store; one that this process wrote is not looked at by a child first."""
    known = _known.get(str(real(path)))
    return DataFile(path, trusted=known is not None and known[0] == _stamp(path))


def _refuse_other_kind(file: DataFile) -> None:
    if not is_store(file.header):
        raise DataError(
            f"{file.path}: is a data file of another origin: name another file to keep "
            "solutions in"
        )


def _header(answer: Answer, old: DataFile | None) -> Header:
    """Return the header of new samples, of the old file's types where there is one.

    Raises:
        DataError: the file holds samples of another case, grid or variables.
    """
    case, solver = answer.case, answer.solver
    dtype: DType = "float64" if answer.double else "float32"
    if old is not None:
        _refuse_other_kind(old)
        if old.header.dtype == "float64":
            dtype = "float64"
    header = replace(header_of(case, solver, 0, None, dtype), seed=None)
    if old is None:
        return header
    difference = _difference(old.header, header)
    if difference:
        raise DataError(f"{old.path}: {difference}: name another file to keep in")
    return header


def _difference(old: Header, new: Header) -> str:
    """Say in which way two headers are not of one problem; empty if they are."""
    names = [case.get("name", "imported data") for case in (old.case, new.case)]
    if names[0] != names[1]:
        return f"holds samples of {names[0]}, not of {names[1]}"
    if old.case.get("solver") != new.case.get("solver"):
        return f"its solver of {names[0]} has other parameters"
    if old.dtype != new.dtype:
        return f"holds {old.dtype}, and these inputs are {new.dtype}"
    ours, its = ({v.name: v for v in h.variables} for h in (old, new))
    if ours != its:
        return "holds other variables, or on another grid"
    for name, axis in new.coordinates.items():
        if not np.array_equal(old.coordinates[name].values, axis.values):
            return f"its axis {name} has other values"
    if (old.mesh is None) != (new.mesh is None):
        return "holds samples on another mesh"
    if (old.shapes is None) != (new.shapes is None):
        return "holds samples on another mesh"
    shapes = [h.shapes.describe() for h in (old, new) if h.shapes is not None]
    if shapes[:1] != shapes[1:]:
        return "holds meshes of another kind"
    if old.mesh is not None and new.mesh is not None:
        same = np.array_equal(old.mesh.cells, new.mesh.cells)
        if not same or not np.array_equal(old.mesh.points, new.mesh.points):
            return "holds samples on another mesh"
    return ""


def _stored(answer: Answer, header: Header) -> dict[str, np.ndarray[Any, Any]]:
    """Return all variables (batch, ...) in their stored types, with a mesh of its own.

    Raises:
        CaseError: the solution does not have the outputs of the case.
        NonFiniteError: NaN or infinity in the solution.
        DataError: the stored type cannot hold a value.
    """
    inputs, solution = answer.inputs, answer.solution
    batch = len(solution.error)
    check_solution(answer.solver, solution, outputs_of(header, inputs), batch)
    for values in (*solution.outputs.values(), solution.error, *_numbers(solution)):
        if not np.isfinite(np.asarray(values)).all():
            raise NonFiniteError("NaN or infinity in the solution")
    fields = {**inputs, **solution.outputs}
    if isinstance(answer.solver, MovesNodes):
        fields[POINTS] = points_of(answer.solver, inputs, batch)
    stored = {
        v.name: rounded(v.name, np.asarray(fields[v.name]), v.dtype)
        for v in header.variables
    }
    return stored | {name: inputs[name] for name in _shape_names(header)}


def _shape_names(header: Header) -> tuple[str, ...]:
    """Names of what says the shape of a sample, where each has its own."""
    return MESH_ARRAYS if header.ragged else ()


def _numbers(solution: Solution) -> Sequence[Any]:
    return list(solution.details.values())


def _new(
    answer: Answer,
    stored: Mapping[str, np.ndarray[Any, Any]],
    rows: list[int],
    digests: list[bytes],
    header: Header,
) -> NewSamples:
    solution = answer.solution
    mesh = None
    if header.shapes is not None:
        one = {name: stored[name][0] for name in MESH_ARRAYS}
        mesh = mesh_among(one, header.shapes)
    numbers = {**solution.details, "error": solution.error}
    return NewSamples(
        fields={v.name: stored[v.name][rows] for v in header.variables},
        numbers={k: np.asarray(v, np.float64)[rows] for k, v in numbers.items()},
        measure=solution.measure,
        splits=[_split(key) for key in digests],
        mesh=mesh,
    )


def _split(digest: bytes) -> Split:
    """Return the split of an input, a function of its digest alone."""
    part = int.from_bytes(digest[:4], "big") / 2**32
    return "validation" if part < VALIDATION else "train"


def _input_digests(
    stored: Mapping[str, np.ndarray[Any, Any]], header: Header
) -> list[bytes]:
    """Return a digest of the inputs of each sample, the same for both float types."""
    # -0.0 + 0.0 is 0.0: equal numbers have equal bytes
    names = [*(v.name for v in header.inputs), *_shape_names(header)]
    exact = {name: stored[name].astype(np.float64) + 0.0 for name in names}
    batch = len(next(iter(exact.values())))
    return [
        sample_digest({name: values[k] for name, values in exact.items()}, {})
        for k in range(batch)
    ]


def _digests(file: DataFile) -> set[bytes]:
    """Return the digests of the inputs in a file, read once for each state of it."""
    name, stamp = str(real(file.path)), _stamp(file.path)
    if name in _known and _known[name][0] == stamp:
        return set(_known[name][1])
    names = [v.name for v in file.header.inputs]
    digests: set[bytes] = set()
    for start in range(0, len(file), 64):
        rows = np.arange(start, min(start + 64, len(file)))
        for batch in _read(file, names, rows):
            digests |= set(_input_digests(batch, file.header))
    _known[name] = (stamp, digests)
    return set(digests)


def _read(
    file: DataFile, names: Sequence[str], rows: NDArray[np.int64]
) -> Iterator[dict[str, Any]]:
    """Yield inputs in batches of samples that fit together."""
    if not file.header.ragged:
        yield file.read_samples(names, rows)
        return
    for row in rows:
        sample = file.sample(int(row), names) | arrays_of(file.mesh(int(row)))
        yield {name: np.asarray(values)[None] for name, values in sample.items()}


def _stamp(path: Path) -> _Stamp:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
