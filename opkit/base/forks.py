"""Forks of a process in which torch has threads.

A forked child has none of its parent's threads, and OpenMP waits for them for ever when
the child next works in parallel. Such a child works with one thread, and the parent
says so once.
"""

from __future__ import annotations

import os
import warnings
from functools import cache

import torch

NOTE = (
    "this process forks after a surrogate was loaded, with {} threads of torch: the "
    "child works with one thread, as it would hang otherwise. Start processes by spawn "
    "or forkserver, or call torch.set_num_threads(1) before"
)
_said = False


@cache
def watch_forks() -> None:
    """Look after forks from now on."""
    os.register_at_fork(before=_say, after_in_child=_one_thread)


def _say() -> None:
    global _said
    if torch.get_num_threads() > 1 and not _said:
        _said = True
        warnings.warn(NOTE.format(torch.get_num_threads()), RuntimeWarning, 2)


def _one_thread() -> None:
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)
