"""FFTW called from compiled code, through the library that pyfftw brings.

At 64² points a loop that calls FFTW from Python would spend a third of its time on the
calls, holding the interpreter's lock. `execute` is FFTW's new-array execution as a
function for numba; `plan` makes batched one-dimensional plans.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
from llvmlite import binding
from numba import types

from opkit.errors import OpkitError, require

_ESTIMATE = 1 << 6  # FFTW's flag: plans by rule, the same ones in every process
_EXECUTE = "opkit_fftw_execute_dft"

execute = types.ExternalFunction(
    _EXECUTE, types.void(types.intp, types.intp, types.intp)
)


@cache
def library() -> Any:
    """Load FFTW, tell numba where its execute function is, and return it.

    Raises:
        MissingExtraError: pyfftw is not installed.
    """
    extension = require("pyfftw.pyfftw", "fast")
    fftw = ctypes.CDLL(extension.__file__)  # symbols of its dependencies included
    fftw.fftw_plan_many_dft.restype = ctypes.c_void_p
    fftw.fftw_make_planner_thread_safe()
    address = ctypes.cast(fftw.fftw_execute_dft, ctypes.c_void_p).value
    binding.add_symbol(_EXECUTE, address)
    return fftw


@cache
def plan(
    length: int,
    count: int,
    source: tuple[int, int],
    target: tuple[int, int],
    sign: int,
) -> int:
    """Plan ``count`` complex transforms of one length, out of place.

    Args:
        length: points of each transform.
        count: number of transforms.
        source: distance, in elements, between points and between transforms.
        target: the same for the results.
        sign: of the exponent, -1 or +1; neither is normalised.

    Returns:
        Address of the plan, for `execute`; it lives as long as the process.
    """
    size = [
        (length - 1) * stride + (count - 1) * distance + 1
        for stride, distance in (source, target)
    ]
    first, second = (np.zeros(n, np.complex128) for n in size)
    address = library().fftw_plan_many_dft(
        ctypes.c_int(1),
        ctypes.byref(ctypes.c_int(length)),
        ctypes.c_int(count),
        ctypes.c_void_p(first.ctypes.data),
        None,
        *(ctypes.c_int(n) for n in source),
        ctypes.c_void_p(second.ctypes.data),
        None,
        *(ctypes.c_int(n) for n in target),
        ctypes.c_int(sign),
        ctypes.c_uint(_ESTIMATE),
    )
    if not address:
        raise OpkitError(f"FFTW has no plan for {count} transforms of {length} points")
    return int(address)
