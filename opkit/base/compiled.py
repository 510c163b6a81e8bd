"""Compilation of loops by Numba, kept on disk where there is room."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """Compile a function of arrays and numbers, without the interpreter's lock.

    Sums may be reordered into fused multiplications and additions, and in no other way.
    """
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    try:
        return cast(F, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # no folder that can be written to
        return cast(F, numba.njit(**options)(function))
