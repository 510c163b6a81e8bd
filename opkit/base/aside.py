"""What lies in the current folder and libraries would obey, or run as code.

In processes of opkit's own, packages that read a settings file of the folder on their
first import are imported elsewhere. A shared library that the system's loader would
take from the folder cannot be kept from the processes that libraries start, so with one
there nothing is started.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from opkit.base.elsewhere import elsewhere
from opkit.errors import DataError

FILES = {"matplotlib": "matplotlibrc", "numba": ".numba_config.yaml"}
"""Package to the settings file that it reads from the current folder."""
LIBRARIES = ("libcuda.so.1", "libcuda.so")
"""That PyTorch's libraries load by name; NVIDIA's libcusparseLt looks for them in the
current folder, as its list of folders (RUNPATH) ends in an empty one."""
VARIANTS = (
    "aarch64", "atomics", "avx512_1", "glibc-hwcaps", "haswell", "platform", "power9",
    "power10", "tls", "x86-64-v2", "x86-64-v3", "x86-64-v4", "x86_64", "xeon_phi",
)  # fmt: skip
"""Subfolders in which glibc looks before, for builds for one kind of processor."""


LOADER = os.environ.get("LD_LIBRARY_PATH", "")
"""Folders that the system's loader searches, as they were when this process began."""


def empty_entry(folders: str) -> bool:
    """Whether a list of folders has an empty entry, which is the current folder."""
    return bool(folders) and not all(re.split("[:;]", folders))


def refuse_libraries(loader: str = LOADER) -> None:
    """Refuse to go on in a folder that holds a library which would be run.

    Args:
        loader: folders that the system's loader searches.

    Raises:
        DataError: PyTorch would run it; or ``LD_LIBRARY_PATH`` has an empty entry, such
            as ``$LD_LIBRARY_PATH:/x`` leaves where it was unset.
    """
    if empty_entry(loader):
        for path in _libraries(os.curdir, 0, re.compile(r".*\.so(\.[\w.]+)?")):
            raise DataError(
                f"{path}: lies in the current folder, and LD_LIBRARY_PATH has an empty "
                "entry, which is that folder: take the entry out, or start elsewhere"
            )
    for path in _libraries(os.curdir, 0):
        raise DataError(
            f"{path}: lies in the current folder, and the system would load it for "
            "PyTorch's libraries and run it: start from another folder, or move it"
        )


def _libraries(
    folder: str, depth: int, named: re.Pattern[str] | None = None
) -> Iterator[str]:
    names: Sequence[str] = LIBRARIES
    if named is not None:
        with contextlib.suppress(OSError):
            names = [name for name in os.listdir(folder) if named.fullmatch(name)]
    for name in names:
        path = os.path.normpath(os.path.join(folder, name))
        if os.path.lexists(path):
            yield path
    for name in VARIANTS if depth < 4 else ():
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            yield from _libraries(path, depth + 1, named)


def import_aside() -> None:
    """Have the packages of `FILES` not obey the folder, in this process.

    For processes that are opkit's own: in a notebook the files are the user's.
    """
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds what the others find, and changes how it is loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in FILES or not os.path.lexists(FILES[name]):
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _Loader(name, spec.loader)
                return spec
        return None


class _Loader(Loader):
    """Runs a package's code while the process is in opkit's own folder."""

    def __init__(self, name: str, loader: Loader) -> None:
        self._name, self._loader = name, loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        with elsewhere(FILES[self._name]):
            self._loader.exec_module(module)
        if self._name == "numba":  # it looks again before it compiles
            config: Any = sys.modules["numba.core.config"]
            config._config_fname = ""
