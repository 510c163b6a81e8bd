"""The folder in which FEniCSx keeps what it compiled: usable, without broken entries.

FEniCSx compiles every form once and loads it from ``$XDG_CACHE_HOME/fenics``. A process
that is ended while it compiles leaves a source without a library there, on which every
later process waits and fails; and a home that is read-only has no such folder.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

PATIENCE = 120
"""Seconds for which a process waits for what another one compiles."""


def prepare() -> None:
    """Name a folder that can be written, and clear it of compilations that ended early.

    Where the usual one cannot be written, a folder of this process and its children
    takes its place, which ends with this process.
    """
    root = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    folder = Path(root) / "fenics"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:
        own = tempfile.mkdtemp(prefix="opkit-forms-")
        os.environ["XDG_CACHE_HOME"] = own
        atexit.register(_remove, own, os.getpid())
        return
    clear(folder)


def clear(folder: Path) -> None:
    """Remove sources that nothing was compiled from within `PATIENCE`.

    Args:
        folder: of compiled forms.
    """
    oldest = time.time() - PATIENCE
    for source in folder.glob("libffcx_*.c"):
        with contextlib.suppress(OSError):  # another process may be at it, too
            ready = source.with_name(source.name + ".cached").exists()
            if not ready and source.stat().st_mtime < oldest:
                source.unlink()


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
