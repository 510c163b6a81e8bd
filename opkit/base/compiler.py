"""The C++ compiler that torch.compile and AOTInductor run."""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import tempfile
from pathlib import Path


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


def private_cache() -> None:
    """Have torch keep what it compiles where nobody else can have put anything.

    torch loads pickled programs and libraries from a folder of a known name among the
    temporary files. Others can make it first; and where nothing can be written to
    ``/tmp``, the current folder stands for it.
    """
    if os.environ.get("TORCHINDUCTOR_CACHE_DIR"):
        return
    temporary = Path(tempfile.gettempdir()).resolve()
    folder = temporary / f"torchinductor_{os.geteuid()}"
    here = Path.cwd().resolve()
    if here in (temporary, *temporary.parents) or not _own(folder):
        folder = Path(tempfile.mkdtemp(prefix="torchinductor-"))
        atexit.register(_remove, folder, os.getpid())
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)


def _own(folder: Path) -> bool:
    """Whether a folder, made if it is missing, belongs to this user alone."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        state = folder.lstat()
    except OSError:
        return False
    writers = stat.S_IWGRP | stat.S_IWOTH
    return (
        stat.S_ISDIR(state.st_mode)
        and state.st_uid == os.geteuid()
        and not state.st_mode & writers
    )


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
