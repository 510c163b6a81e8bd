"""One shard: draw, solve in small batches, refuse what is wrong, write, rename."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opkit.base.files import read_regular, refusals
from opkit.case.contract import blamed, check_solution, points_of
from opkit.case.data import DType, draw, header_of, outputs_of
from opkit.case.record import Case, parse_case
from opkit.datasets.header import POINTS, Header, VariableSpec
from opkit.datasets.rounding import rounded
from opkit.errors import NonFiniteError, SolverError
from opkit.generate.shard_file import ShardFile
from opkit.solvers.interface import (
    MESH_ARRAYS,
    Fields,
    MovesNodes,
    Solution,
    Solver,
)

TRIES = 3


@dataclass(frozen=True)
class Task:
    """What a worker is told: everything it needs, as JSON types.

    ``picked`` are the numbers of the random streams of the rows ``first`` to ``last``,
    where they are not the rows themselves.
    """

    case: dict[str, Any]
    seed: int
    dtype: DType
    gzip: int
    first: int
    last: int
    batch: int
    path: str
    fingerprint: str
    picked: list[int] | None = None

    def streams(self, rows: range) -> list[int]:
        """Numbers i of the random streams of rows; their own unless picked."""
        if self.picked is None:
            return list(rows)
        return [self.picked[row - self.first] for row in rows]


@dataclass(frozen=True)
class Shard:
    """What a worker answers: one line of the manifest.

    Args:
        name: of the file.
        first: number of its first row.
        last: number of the row behind its last.
        sha256: of the file's bytes.
        worst: largest solver error.
        solve_seconds: that the worker drew and solved.
        write_seconds: that the worker waited for rows to be taken and for the end.
        solve_processor_seconds: spent on solving, by the thread that does it.
        write_processor_seconds: spent on writing, by whichever thread.
    """

    name: str
    first: int
    last: int
    sha256: str
    worst: float
    solve_seconds: float = 0.0
    write_seconds: float = 0.0
    solve_processor_seconds: float = 0.0
    write_processor_seconds: float = 0.0


def make_shard(task: Task) -> dict[str, Any]:
    """Make one shard file and return its `Shard` as a dict.

    Raises:
        SolverError: a sample could not be solved; its seed is set.
        DataError: the disk is full or not writable.
    """
    started = time.perf_counter()
    case = parse_case(task.case)
    solver = case.build_solver()
    header = shard_header(header_of(case, solver, task.seed, None, task.dtype), task)
    waited = worst = 0.0
    busy = -time.thread_time()
    with ShardFile(Path(task.path), header, task.gzip, task.fingerprint) as file:
        for streams, fields, solution in _solve_all(task, case, solver, header):
            worst = max(worst, float(solution.error.max()))
            solved = time.perf_counter()
            busy += time.thread_time()
            file.put(np.array(streams, np.int64), fields, solution)
            busy -= time.thread_time()
            waited += time.perf_counter() - solved
        busy += time.thread_time()
        solved = time.perf_counter()
        digest = file.finish()
        waited += time.perf_counter() - solved
    note_path(task).unlink(missing_ok=True)
    shard = Shard(
        name=Path(task.path).name,
        first=task.first,
        last=task.last,
        sha256=digest,
        worst=worst,
        solve_seconds=time.perf_counter() - started - waited,
        write_seconds=waited,
        solve_processor_seconds=busy,
        write_processor_seconds=file.processor_seconds,
    )
    return asdict(shard)


def follow(task: Task) -> None:
    """Solve along with the MPI rank that makes the shard.

    Raises:
        SolverError: a sample could not be solved; the other ranks raise it too.
    """
    case = parse_case(task.case)
    solver = case.build_solver()
    header = header_of(case, solver, task.seed, None, task.dtype)
    for first in range(task.first, task.last, task.batch):
        rows = range(first, min(first + task.batch, task.last))
        inputs = _draw_all(task, case, solver, header, rows)
        solve_checked(solver, inputs, task.seed, task.streams(rows), header.outputs)


def shard_header(header: Header, task: Task) -> Header:
    """Return the header of a shard: its own number of rows, in one split."""
    rows = np.arange(task.last - task.first)
    marks = {**header.provenance, "fingerprint": task.fingerprint}
    return Header(
        header.case,
        header.variables,
        header.coordinates,
        {"train": rows},
        header.seed,
        marks,
        header.mesh,
        shapes=header.shapes,
    )


def _solve_all(
    task: Task, case: Case, solver: Solver, header: Header
) -> Iterator[tuple[list[int], Fields, Solution]]:
    note = ProgressNote(note_path(task), task.seed)
    size = 1 if note.worker_died else task.batch
    worst = 0.0
    for first in range(task.first, task.last, size):
        numbers = range(first, min(first + size, task.last))
        note.write(numbers, worst)
        inputs = _draw_all(task, case, solver, header, numbers)
        streams = task.streams(numbers)
        outputs = outputs_of(header, inputs)
        solution = solve_checked(solver, inputs, task.seed, streams, outputs)
        worst = max(worst, float(solution.error.max()))
        fields = {**inputs, **solution.outputs}
        if isinstance(solver, MovesNodes):
            fields[POINTS] = points_of(solver, inputs, len(numbers))
        stored = {v.name: _stored(v.name, v.dtype, fields, task.seed, streams)
                  for v in header.variables}  # fmt: skip
        if header.ragged:
            stored |= {name: inputs[name] for name in MESH_ARRAYS}
        yield streams, stored, solution


def _draw_all(
    task: Task, case: Case, solver: Solver, header: Header, numbers: range
) -> Fields:
    drawn = []
    for i in task.streams(numbers):
        try:
            drawn.append(draw(case, solver, task.seed, i, task.dtype, header.inputs))
        except SolverError as error:
            error.seed = (task.seed, i)
            raise
    return {name: np.stack([d[name] for d in drawn]) for name in drawn[0]}


def solve_checked(
    solver: Solver,
    inputs: Fields,
    seed: int,
    numbers: Sequence[int],
    outputs: Sequence[VariableSpec],
) -> Solution:
    """Solve a batch; a refusal, or NaN, is an error that carries the seed.

    Raises:
        SolverError: with ``seed`` set to (seed, sample).
        CaseError: the solution does not have the outputs of the case, or no error for
            each sample.
    """
    try:
        with blamed(solver, "solve"):
            solution = solver.solve(inputs)
    except SolverError as error:
        if len(numbers) > 1:  # find the sample: a batch solves as its members do
            for k, i in enumerate(numbers):
                one = {name: values[k : k + 1] for name, values in inputs.items()}
                solve_checked(solver, one, seed, [i], outputs)
        error.seed = (seed, numbers[0])
        raise
    check_solution(solver, solution, outputs, len(numbers))
    for k, i in enumerate(numbers):
        numbers_of = [solution.error, *solution.details.values()]
        for values in (*solution.outputs.values(), *numbers_of):
            if not np.all(np.isfinite(np.asarray(values)[k])):
                raise NonFiniteError("NaN or infinity in the solution", (seed, i))
    return solution


def _stored(
    name: str,
    dtype: str,
    fields: Fields,
    seed: int,
    numbers: Sequence[int],
) -> NDArray[Any]:
    values = rounded(name, np.asarray(fields[name]), dtype)
    for k, i in enumerate(numbers):
        if not np.all(np.isfinite(values[k])):
            raise NonFiniteError(f"{name} is not finite as {dtype}", (seed, i))
    return values


def note_path(task: Task) -> Path:
    """Where a worker notes what it is at, for whoever finds it dead."""
    return Path(task.path).with_suffix(".at")


class ProgressNote:
    """A note of the samples being solved, to find one that kills its worker."""

    def __init__(self, path: Path, seed: int) -> None:
        self._path, self._seed = path, seed
        try:
            self._last = json.loads(read_regular(path))
        except (OSError, ValueError):
            self._last = None

    @property
    def worker_died(self) -> bool:
        """Whether another worker died over this shard."""
        return self._last is not None

    def write(self, numbers: range, worst: float) -> None:
        """Note which samples come next.

        Raises:
            SolverError: a single sample has killed its worker three times.
            DataError: the disk is full.
        """
        tries = 1
        if self._last and self._last["first"] <= numbers[0] < self._last["last"]:
            tries = self._last["tries"] + 1
        if tries > TRIES:
            raise SolverError(
                f"this sample killed its worker {TRIES} times (memory, or a crash in "
                "the solver)",
                (self._seed, numbers[0]),
            )
        note = {"first": numbers[0], "last": numbers[-1] + 1, "tries": tries}
        temporary = self._path.with_suffix(f".at-{os.getpid()}")
        with refusals(self._path):
            temporary.write_text(json.dumps({**note, "worst": worst}))
            temporary.replace(self._path)
