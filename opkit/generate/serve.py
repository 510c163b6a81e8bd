"""A worker process: reads tasks as JSON lines, answers each with a JSON line.

Run as ``python -m opkit.generate.serve``. It ends when its input closes, so that none
outlives the process that started it.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading

from opkit.generate.worker import run_task


def main() -> None:
    """Serve tasks until standard input closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides on Ctrl-C
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a solver prints must not mix with the answers
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            tasks.put(line)
        os._exit(3)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        answer = run_task(json.loads(tasks.get()))
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
