"""A worker process: reads tasks as JSON lines, answers each with a JSON line.

Run as ``python -m opkit.generate.serve``. It ends when its input closes, so that none
outlives the process that started it. Under ``mpiexec``, with ``--ranks``, the first
rank does so, and the others solve along with it.
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

from opkit.errors import OpkitError
from opkit.generate.shard import Task, crumb_path, follow
from opkit.generate.worker import run_task


def main() -> None:
    """Serve tasks until standard input closes."""
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
            if crumb_path(Task(**task)).exists():
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
