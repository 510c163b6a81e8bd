"""Threads that step one trajectory together, meeting between passes.

A pass over 64² points takes some 20 µs, less than waking a thread: members keep running
compiled code and wait for each other by looking at counters.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from llvmlite import binding
from numba import njit, types
from numba.extending import intrinsic

_YIELD = "opkit_sched_yield"
_yield = types.ExternalFunction(_YIELD, types.int32())


def can_meet() -> bool:
    """Whether threads can give way to each other here; makes `meet` usable.

    False on systems without ``sched_yield``: a team then has one member.
    """
    function = getattr(ctypes.CDLL(None), "sched_yield", None)
    if function is None:
        # Compiled code needs the name all the same; a team of one never calls it.
        function = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 0)
        _kept.append(function)
    address = ctypes.cast(function, ctypes.c_void_p).value
    binding.add_symbol(_YIELD, address)
    return not _kept


_kept: list[Any] = []


@intrinsic  # type: ignore[untyped-decorator]
def _fence(typing_context: Any) -> Any:
    """Order memory accesses, for the compiler and for the processor."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def meet(arrivals: Any, me: int) -> None:
    """Wait until every member has arrived as often as this one.

    Args:
        arrivals: (members, 8) counters, a cache line each.
        me: number of this member.
    """
    members = arrivals.shape[0]
    if members == 1:
        return
    _fence()
    arrivals[me, 0] += 1
    _fence()
    for other in range(members):
        while arrivals[other, 0] < arrivals[me, 0]:
            _yield()
            _fence()


def counters(members: int) -> Any:
    """Make the counters of `meet`."""
    return np.zeros((members, 8), np.int64)
