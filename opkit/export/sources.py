"""Where the sources of libopkit lie: surrogates from C, C++ and Fortran."""

from __future__ import annotations

from pathlib import Path


def native() -> Path:
    """Return the folder with opkit.h, opkit.cpp, opkit.f90 and CMakeLists.txt.

    They come with the package, and are built against the torch that exports.
    """
    return Path(__file__).parent / "native"
