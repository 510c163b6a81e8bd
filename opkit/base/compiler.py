"""The C++ compiler that torch.compile and AOTInductor run."""

from __future__ import annotations

import os
import shutil
import tempfile


def compiler_fault() -> str | None:
    """Say what keeps torch from compiling here, and the remedy; None if nothing does.

    The compiler is ``CXX``, g++ or clang++. Its command line is split at spaces, so a
    cache under a folder with a space in its name fails.
    """
    name = os.environ.get("CXX", "g++")
    if shutil.which(name) is None and shutil.which("clang++") is None:
        return (
            f"needs a C++ compiler and {name} is not on PATH: install g++ "
            "(apt-get install g++), or set CXX"
        )
    cache = os.environ.get("TORCHINDUCTOR_CACHE_DIR") or tempfile.gettempdir()
    if len(cache.split()) > 1:
        return (
            f"cannot compile in {cache!r}, whose name has a space: set "
            "TORCHINDUCTOR_CACHE_DIR to a folder without one"
        )
    return None
