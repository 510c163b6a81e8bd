"""Be in opkit's own folder while a library looks for settings in the current one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGE = Path(__file__).absolute().parents[1]


@contextmanager
def elsewhere(*names: str) -> Iterator[None]:
    """Be in opkit's own folder for the block if the current one holds such a file.

    Args:
        names: of settings files that a library would obey on its first import.
    """
    if not any(os.path.lexists(name) for name in names):
        yield
        return
    here = os.open(os.curdir, os.O_RDONLY)
    os.chdir(PACKAGE)
    try:
        yield
    finally:
        os.fchdir(here)
        os.close(here)
