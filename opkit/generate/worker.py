"""A worker process: reads tasks as JSON lines, answers each with a JSON line.

Run as ``python -P -m opkit.generate.worker``. Results and errors travel as JSON types.
The process ends when its input closes, so that none outlives the one that started it.
Under ``mpiexec``, with ``--ranks``, the first rank does so, and the others solve along.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import traceback
from typing import Any, NoReturn

import opkit.errors
from opkit.base.aside import import_aside
from opkit.errors import OpkitError, SolverError
from opkit.generate.shard import Task, follow, make_shard, note_path


def run_task(task: dict[str, Any]) -> dict[str, Any]:
    """Do one task and return its result, or its error, as JSON types."""
    try:
        return {"result": make_shard(Task(**task))}
    except MemoryError:
        return _failure("OpkitInputError", "out of memory: fewer workers need less")
    except OpkitError as error:
        message = error.args[0] if error.args else str(error)
        seed = error.seed if isinstance(error, SolverError) else None
        trace = traceback.format_exc() if error.__cause__ else None
        return _failure(type(error).__name__, message, seed, trace)
    except Exception as error:
        return _failure("OpkitError", _where(error), trace=traceback.format_exc())


def raise_failure(failure: dict[str, Any]) -> None:
    """Raise in this process what `run_task` reported from another.

    Raises:
        OpkitError: of the class that was raised there.
    """
    kind = getattr(opkit.errors, failure["kind"], OpkitError)
    if not (isinstance(kind, type) and issubclass(kind, OpkitError)):
        kind = OpkitError
    error = kind(failure["message"])
    if isinstance(error, SolverError) and failure["seed"]:
        error.seed = tuple(failure["seed"])
    if failure["trace"]:
        error.add_note(failure["trace"])
    raise error


def _where(error: Exception) -> str:
    """Say in one line what a solver raised, and where."""
    lines = str(error).strip().splitlines()
    reason = f": {lines[0]}" if lines else ""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"the solver raised {type(error).__name__}{reason} "
        f"({last.filename}, line {last.lineno}): --debug shows the traceback"
    )


def _failure(
    kind: str,
    message: str,
    seed: tuple[int, int] | None = None,
    trace: str | None = None,
) -> dict[str, Any]:
    return {"error": {"kind": kind, "message": message, "seed": seed, "trace": trace}}


def main() -> None:
    """Serve tasks until standard input closes."""
    import_aside()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides on Ctrl-C
    ranks = None
    if "--ranks" in sys.argv:
        from opkit.solvers.fem.stack import MPI

        ranks = MPI.COMM_WORLD
        if ranks.rank:
            _follow_all(ranks)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a solver prints must not mix with the answers
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            tasks.put(line)
        os._exit(3)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        task = json.loads(tasks.get())
        if ranks is not None:
            if note_path(Task(**task)).exists():
                task["batch"] = 1  # as this rank will do: to find what kills workers
            ranks.bcast(task)
        answer = run_task(task)
        print(json.dumps(answer), file=answers, flush=True)


def _follow_all(ranks: Any) -> NoReturn:
    try:
        while True:
            task = Task(**ranks.bcast(None))
            with contextlib.suppress(OpkitError):  # the first rank reports it
                follow(task)
    except BaseException:
        traceback.print_exc()
        ranks.Abort(3)
        raise


if __name__ == "__main__":
    main()
