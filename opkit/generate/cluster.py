"""The same tasks on Dask: a cluster that runs already, or one on this machine."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from opkit.errors import OpkitInputError, require
from opkit.generate.worker import run_task

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
        self._cluster = None
        if address == "local":
            subprocesses = require("distributed.deploy.subprocess", "cluster")
            self._cluster = subprocesses.SubprocessCluster(
                n_workers=count,
                worker_kwargs={"nthreads": 1, "dashboard": False},
                scheduler_kwargs={"dashboard": False},
            )
            address = self._cluster.scheduler_address
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
            self._cluster.close()
