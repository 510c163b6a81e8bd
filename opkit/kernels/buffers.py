"""Room for large results on a CPU, in huge pages.

glibc maps a block above 32 MB anew at each call, and the kernel then fills it page by
page, 4 KB at a time, at the first touch: several times the cost of writing it.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Sequence
from functools import cache

from torch import Tensor

_LEAST_BYTES = 2**21  # one huge page


@cache
def _advise() -> Callable[[int, int], object] | None:
    """Return madvise(address, size, MADV_HUGEPAGE), or None where there is none."""
    advice = getattr(mmap, "MADV_HUGEPAGE", None)
    try:
        function = ctypes.CDLL(None).madvise
    except (OSError, AttributeError, TypeError):
        return None
    if advice is None:
        return None
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return lambda address, size: function(address, size, advice)


def empty(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return an uninitialised tensor of this shape, of the type and device of ``like``.

    The advice is a hint: where the system does not take it, nothing else changes.
    """
    out = like.new_empty(shape)
    size = out.numel() * out.element_size()
    if size >= _LEAST_BYTES and out.device.type == "cpu":
        advise = _advise()
        if advise is not None:
            first = -(-out.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
            advise(first, out.data_ptr() + size - first)
    return out
