"""A Dask cluster on this machine, which lives as long as the process that started it.

Run as ``python -P -m opkit.generate.dask_child COUNT``. It listens on the loopback
interface alone, has no dashboard, writes its address as one JSON line, and ends with
all its workers when its input closes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import Any

LOOPBACK = "127.0.0.1"
NO_PAGES: dict[str, Any] = {
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.nanny.preload": [],
}


def main() -> None:
    """Start workers and wait until standard input closes."""
    os.setsid()  # the workers are in this group, and Ctrl-C is the parent's
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def listen() -> None:
        sys.stdin.read()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=listen, daemon=True).start()
    import dask
    from distributed import LocalCluster

    with dask.config.set(NO_PAGES):
        cluster = LocalCluster(
            n_workers=int(sys.argv[1]),
            threads_per_worker=1,
            processes=True,
            host=LOOPBACK,
            dashboard_address=None,
            scheduler_kwargs={"http_prefix": "", "dashboard": False},
        )
    print(json.dumps({"address": cluster.scheduler_address}), file=answers, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
