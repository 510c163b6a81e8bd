"""Threads of the libraries that compute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch, BLAS and OpenMP compute on one thread; restore their numbers after.

    Two methods that are timed in turn then do not wait for one another's idle threads,
    which keep a core busy for some milliseconds before they sleep.
    """
    before = torch.get_num_threads()
    with threadpool_limits(1):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)
