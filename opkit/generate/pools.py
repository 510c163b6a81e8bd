"""Where tasks run: worker processes on this machine, or a Dask cluster.

A local process is replaced when it dies; a cluster may run already, or is started here.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from opkit.base.children import environment, python
from opkit.errors import OpkitError, OpkitInputError, require
from opkit.generate.worker import run_task

DEATHS = 10
ONE_THREAD = {
    name: "1"
    for name in (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    )
}


class LocalWorkers:
    """A pool of ``python -P -m opkit.generate.worker`` with the submit of an executor.

    Each thread of a pool owns one worker process. Tasks and answers are JSON lines, so
    a user's script needs no ``__main__`` guard and nothing is unpickled.

    Args:
        count: number of processes, each with one BLAS and FFT thread.
        ranks: MPI ranks of which each of them consists.

    Raises:
        OpkitInputError: there is no mpiexec to start ranks with.
    """

    def __init__(self, count: int, ranks: int = 1) -> None:
        self._command = python("opkit.generate.worker")
        if ranks > 1:
            self._command = [_mpiexec(), "-n", str(ranks), *self._command, "--ranks"]
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="worker")
        self._mine = threading.local()
        self._guard = threading.Lock()
        self._alive: set[subprocess.Popen[str]] = set()
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """Process numbers of the workers now alive."""
        with self._guard:
            return [process.pid for process in self._alive]

    def submit(self, task: dict[str, Any]) -> Future[dict[str, Any]]:
        """Do a task in one of the workers."""
        return self._threads.submit(self._run, task)

    def close(self) -> None:
        """End every worker at once; what they were at is lost."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._guard:
            for process in self._alive:
                process.kill()
        self._threads.shutdown(wait=True)
        for process in list(self._alive):
            self._bury(process)

    def _run(self, task: dict[str, Any]) -> dict[str, Any]:
        line = json.dumps(task)
        for _ in range(DEATHS):
            process = self._process()
            assert process.stdin is not None and process.stdout is not None
            try:
                print(line, file=process.stdin, flush=True)
                answer = process.stdout.readline()
            except OSError:
                answer = ""
            if answer.startswith("{") and answer.endswith("\n"):  # mpiexec says more
                result: dict[str, Any] = json.loads(answer)
                return result
            self._bury(process)
            if self._closed:
                break
        raise OpkitError(
            f"{DEATHS} workers died over the same task: see their messages"
        )

    def _process(self) -> subprocess.Popen[str]:
        process: subprocess.Popen[str] | None = getattr(self._mine, "process", None)
        if process is None or process.poll() is not None:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment(ONE_THREAD),
            )
            self._mine.process = process
            with self._guard:
                self._alive.add(process)
                if self._closed:
                    process.kill()
        return process

    def _bury(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        process.wait()
        with self._guard:
            self._alive.discard(process)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self._mine.process = None


def _mpiexec() -> str:
    """Return the launcher of this environment, or else of the system."""
    beside = shutil.which("mpiexec", path=os.path.dirname(sys.executable))
    launcher = beside or shutil.which("mpiexec")
    if launcher is None:
        raise OpkitInputError("no mpiexec on PATH: install MPI, or leave out --ranks")
    return launcher


TIMEOUT = "20s"


class DaskWorkers:
    """Workers of a Dask cluster; they must see the output folder under the same path.

    A worker that dies has its task done again by the scheduler. Dask starts workers
    with one BLAS thread unless told otherwise.

    Args:
        address: ``"local"``, or a scheduler's address such as ``"tcp://node17:8786"``.
        count: worker processes to start for ``"local"``.

    Raises:
        OpkitInputError: no scheduler answers there.
        MissingExtraError: Dask is not installed.
    """

    def __init__(self, address: str, count: int) -> None:
        distributed = require("distributed", "cluster")
        self._cluster: subprocess.Popen[str] | None = None
        if address == "local":
            self._cluster = subprocess.Popen(
                python("opkit.generate.dask_child", str(count)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment(ONE_THREAD),
            )
            address = self._address(self._cluster)
        try:
            self._client = distributed.Client(
                address, timeout=TIMEOUT, set_as_default=False
            )
        except (OSError, ValueError):
            raise OpkitInputError(
                f"no Dask scheduler answers at {address}: start one with "
                "`dask scheduler`, or use --scheduler local"
            ) from None
        self._executor = self._client.get_executor(pure=False)

    def submit(self, task: dict[str, Any]) -> Future[dict[str, Any]]:
        """Do a task on one of the workers."""
        future: Future[dict[str, Any]] = self._executor.submit(run_task, task)
        return future

    def close(self) -> None:
        """Cancel what is under way and disconnect."""
        self._executor.shutdown(wait=False)
        self._client.close()
        if self._cluster is not None:
            self._cluster.communicate()  # it ends when its input closes

    @staticmethod
    def _address(cluster: subprocess.Popen[str]) -> str:
        assert cluster.stdout is not None
        answer = cluster.stdout.readline()
        if not answer.startswith("{"):
            cluster.communicate()
            raise OpkitInputError(
                "the local Dask cluster ended as it started: see its message above"
            )
        return str(json.loads(answer)["address"])
