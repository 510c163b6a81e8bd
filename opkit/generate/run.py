"""Generate a data file: shards by many workers, a manifest, one file at the end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from opkit.base.files import locked, make_folder, read_regular, sweep, why
from opkit.base.notebook import notebook_bar
from opkit.case.data import DType
from opkit.case.record import Case
from opkit.datasets.read import DataFile
from opkit.errors import DataError, Interrupted, OpkitInputError
from opkit.generate.assemble import Assembler
from opkit.generate.manifest import Manifest, fingerprint, refuse_foreign
from opkit.generate.planning import Plan, plan
from opkit.generate.shard import Shard, Task, note_path
from opkit.generate.worker import raise_failure
from opkit.solvers.interface import Parallel

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Progress:
    """How far a generation is.

    Args:
        done: samples solved so far, those of earlier runs included.
        resumed: samples taken over from earlier runs.
        total: samples asked for.
        worst: largest solver error so far.
        stage: what is being done.
    """

    done: int
    resumed: int
    total: int
    worst: float
    stage: str = "solving"


def _notebook_progress(target: Path) -> Callable[[Progress], None] | None:
    bar = notebook_bar(f"generating {target}", "samples")
    if bar is None:
        return None
    return lambda p: bar.update(p.done, p.total, f"solver error up to {p.worst:.1e}")


class Workers(Protocol):
    """What carries out tasks, elsewhere."""

    def submit(self, task: dict[str, Any]) -> Future[dict[str, Any]]:
        """Start a task."""
        ...

    def close(self) -> None:
        """Stop everything at once."""
        ...


def generate(
    case: Case,
    out: str | Path,
    seed: int = 0,
    samples: int | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    dtype: DType = "float32",
    gzip: int = 0,
    picked: Sequence[int] | None = None,
    marks: Mapping[str, Any] | None = None,
    ranks: int = 1,
) -> Path:
    """Solve the case for random inputs and write one data file.

    Sample i depends on (seed, i) alone, so the content is the same for any number of
    workers, any order and any interruption. Finished shards lie in ``out + ".parts"``
    until the file is complete; what is interrupted goes on with ``resume=True``.

    Args:
        case: the problem.
        out: the file to make.
        seed: of the data set.
        samples: total number over all splits; None for the case's own numbers.
        workers: processes on this machine (or of ``scheduler="local"``).
        scheduler: None for processes, ``"local"`` or ``"tcp://..."`` for Dask.
        resume: go on with what an earlier run left.
        progress: called with `Progress` now and then; where none is given, a notebook
            shows a bar.
        dtype: stored type; solvers compute in float64.
        gzip: compression level, 0 for none.
        picked: numbers i of the samples to solve, one for each row; None for 0, 1, ...
        marks: added to the file's provenance.
        ranks: MPI ranks of each worker that share its samples, for a solver with
            ``parallel``; its sums, and so the content, then differ by rounding errors
            from run to run.

    Returns:
        The path of the file.

    Raises:
        SolverError: a sample could not be solved; the error has its seed.
        DataError: the output exists, is locked, or cannot be written.
        CaseError: the case does not fit its solver.
    """
    target = Path(out)
    if workers < 1:
        raise OpkitInputError(f"workers {workers}: at least one is needed")
    if not 0 <= gzip <= 9:
        raise OpkitInputError(f"gzip {gzip}: levels are 0 to 9")
    planned = plan(case, seed, samples, dtype)
    progress = progress or _notebook_progress(target)
    if ranks > 1:
        _check_ranks(case, ranks, scheduler)
        marks = {**(marks or {}), "ranks": ranks}
    if picked is not None and len(picked) != planned.samples:
        raise OpkitInputError(f"{len(picked)} samples picked for {planned.samples}")
    mark = fingerprint(planned, gzip, picked, ranks)
    if target.exists():
        return _finished(target, planned, resume, picked)
    folder = target.with_name(target.name + ".parts")
    _make_folder(folder, target, resume, planned)
    with locked(folder / "lock"), _delete_if_empty(folder, target, planned.shards):
        manifest = Manifest(folder, mark, picked)
        manifest.resume() if resume else manifest.create()
        tasks = _tasks(case, planned, folder, manifest, gzip)
        provenance = {**planned.header.provenance, **(marks or {})}
        header = replace(planned.header, provenance=provenance)
        with (
            Assembler(target, folder, header, gzip, ranks) as file,
            _workers(scheduler, workers, ranks) as pool,
        ):
            if not tasks and progress:
                progress(_all_solved(planned, list(manifest.shards.values())))
            for shard in manifest.shards.values():
                file.add(shard)
            _solve_all(pool, tasks, file, manifest, planned, progress)
            file.finish()
        shutil.rmtree(folder)
    return target


@contextmanager
def _delete_if_empty(folder: Path, target: Path, shards: int) -> Iterator[None]:
    """After an error, delete a folder without a finished shard: nothing to resume.

    Raises:
        Interrupted: instead of a KeyboardInterrupt; it says what was kept.
    """
    try:
        yield
    except BaseException as error:
        finished = len(list(folder.glob("shard-*.h5")))
        if not finished:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            sweep(folder)  # what workers were writing when they were ended
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted(
                f"{finished} of {shards} shards are kept in {folder}, go on with the "
                "same command and --resume"
                if finished
                else f"no shard was finished, nothing is kept of {target}"
            ) from None
        raise


def _check_ranks(case: Case, ranks: int, scheduler: str | None) -> None:
    if scheduler is not None:
        raise OpkitInputError(f"ranks {ranks}: not on Dask: leave out the scheduler")
    solver = case.build_solver()
    if not (isinstance(solver, Parallel) and solver.parallel):
        raise OpkitInputError(
            f"ranks {ranks}: case {case.name} has no sample shared between ranks: "
            "set solver.parameters.parallel=true (darcy-mesh takes it)"
        )


def _finished(
    target: Path, planned: Plan, resume: bool, picked: Sequence[int] | None
) -> Path:
    if not resume:
        raise DataError(f"{target}: exists already: choose another name or delete it")
    with DataFile(target) as file:
        same = file.header.describe(), planned.header.describe()
        numbers = range(planned.samples) if picked is None else picked
        alike = list(file.index) == list(numbers)
    for description in same:
        del description["provenance"]
    if same[0] != same[1] or not alike:
        raise DataError(f"{target}: exists and is of another case, seed or size")
    return target


def _make_folder(folder: Path, target: Path, resume: bool, planned: Plan) -> None:
    try:
        make_folder(target.parent)
        if folder.exists() and not resume:
            with locked(folder / "lock"):
                pass
            raise DataError(
                f"{folder}: left by an interrupted run: add --resume to go on, or "
                "delete it"
            )
        folder.mkdir(exist_ok=True)
        refuse_foreign(folder)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise DataError(f"{target}: {why(error)}") from None
    if free < planned.file_bytes:
        raise DataError(
            f"{target}: needs {planned.file_bytes / 1e9:.3g} GB, the disk has "
            f"{free / 1e9:.3g} GB free"
        )


def _tasks(
    case: Case, planned: Plan, folder: Path, manifest: Manifest, gzip: int
) -> list[Task]:
    tasks, picked = [], manifest.picked
    for number in range(planned.shards):
        rows = planned.rows(number)
        name = f"shard-{number:06d}.h5"
        if name in manifest.shards:
            continue
        tasks.append(
            Task(
                case=case.dump(),
                seed=planned.header.seed or 0,
                dtype=planned.header.dtype,
                gzip=gzip,
                first=rows[0],
                last=rows[-1] + 1,
                batch=planned.batch_samples,
                path=str((folder / name).absolute()),
                fingerprint=manifest.mark,
                picked=None if picked is None else [int(picked[row]) for row in rows],
            )
        )
    return tasks


def _solve_all(
    pool: Workers,
    tasks: list[Task],
    file: Assembler,
    manifest: Manifest,
    planned: Plan,
    progress: Callable[[Progress], None] | None,
) -> None:
    """Have all tasks done and listed, unless the file they go into fails.

    That all are solved is told before the last is listed, so before there is a file.
    """
    resumed = sum(shard.last - shard.first for shard in manifest.shards.values())
    running = {pool.submit(asdict(task)): task for task in tasks}

    def report() -> None:
        if progress is None:
            return
        done = sum(shard.last - shard.first for shard in manifest.shards.values())
        worst = max((shard.worst for shard in manifest.shards.values()), default=0.0)
        for task in running.values():
            part, error = _peek(task)
            done, worst = done + part, max(worst, error)
        progress(Progress(done, resumed, planned.samples, worst))

    while running:
        report()
        ends: list[Future[Any]] = [*running, file.future]
        finished, _ = wait(ends, POLL_SECONDS, FIRST_COMPLETED)
        for future in finished:
            if future is file.future:
                file.finish()  # too early: it says what went wrong
                continue
            shard = Shard(**_result(future))
            del running[future]
            if progress and not running:
                progress(_all_solved(planned, [*manifest.shards.values(), shard]))
            manifest.add(shard)
            file.add(shard)


def _all_solved(planned: Plan, shards: list[Shard]) -> Progress:
    n = planned.samples
    return Progress(n, n, n, max(m.worst for m in shards), "writing the file")


def _peek(task: Task) -> tuple[int, float]:
    """Read how far a worker is from the note it leaves."""
    try:
        note = json.loads(read_regular(note_path(task)))
    except (OSError, ValueError):
        return 0, 0.0
    return note["first"] - task.first, note["worst"]


def _result(future: Future[dict[str, Any]]) -> dict[str, Any]:
    answer = future.result()
    if "error" in answer:
        raise_failure(answer["error"])
    result: dict[str, Any] = answer["result"]
    return result


@contextmanager
def _workers(scheduler: str | None, count: int, ranks: int) -> Iterator[Workers]:
    pool: Workers
    if scheduler is None:
        from opkit.generate.pools import LocalWorkers

        pool = LocalWorkers(count, ranks)
    else:
        from opkit.generate.pools import DaskWorkers

        pool = DaskWorkers(scheduler, count)
    try:
        yield pool
    finally:
        pool.close()
