"""Threads that compute, one job after the other, beside the loop that talks."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any

MOST_WAITING = 64
"""Jobs that wait for a thread; more are refused, as their answers would come late."""


class Full(Exception):
    """As many jobs wait as may."""


class Worker:
    """One thread. Jobs of one worker never run at the same time.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]]]
        self._jobs = queue.SimpleQueue()
        self._waiting = 0
        # a thread that computes for ever does not keep the process from ending
        threading.Thread(target=self._work, name=name, daemon=True).start()

    async def run(self, job: Callable[[], Any]) -> Any:
        """Run a job, and wait for it; a job that is cancelled while it waits is left.

        Raises:
            Full: too many wait.
        """
        if self._waiting >= MOST_WAITING:
            raise Full
        future = asyncio.get_running_loop().create_future()
        self._waiting += 1
        try:
            self._jobs.put((future, job))
            return await future
        finally:
            self._waiting -= 1

    def _work(self) -> None:
        while True:
            future, job = self._jobs.get()
            if future.cancelled():
                continue
            result, error = None, None
            try:
                result = job()
            except BaseException as raised:
                error = raised
            try:
                future.get_loop().call_soon_threadsafe(_end, future, result, error)
            except RuntimeError:  # the loop is closed
                return


def _end(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
