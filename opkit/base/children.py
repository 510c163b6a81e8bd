"""Start Python so that nothing in the current folder becomes code.

Python puts the current folder, or that of a script, first on the path of modules, and a
module there named ``random`` or ``h5py`` runs instead of the real one. A child of opkit
starts with ``-P``, which leaves that folder out, and with this path:

- the absolute folder that holds the package `opkit` of this process;
- what ``PYTHONPATH`` names, as absolute paths; an empty entry (``a::b``) is dropped;
- the installation, its ``.pth`` files and editable installs, and absolute folders that
  a program appended to ``sys.path``.

Other variables ``PYTHON...`` that change what runs (startup, breakpoints, warning
classes) are not handed on, nor are empty entries of lists of folders (``PATH``,
``LD_LIBRARY_PATH``, those of the compiler). Libraries that obey a settings file of the
current folder, some of which name code, are imported under `elsewhere`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

from opkit.base.aside import import_aside, refuse_libraries
from opkit.base.elsewhere import PACKAGE, elsewhere
from opkit.errors import require

KEPT = {
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHASHSEED",
    "PYTHONHOME",
    "PYTHONIOENCODING",
    "PYTHONNOUSERSITE",
    "PYTHONPYCACHEPREFIX",
    "PYTHONUNBUFFERED",
    "PYTHONUSERBASE",
    "PYTHONUTF8",
}
SETTINGS = {"NUMBA_CACHE_DIR": "", "NUMBA_CACHE_LOCATOR_CLASSES": ""}
"""Set to their defaults, these win over a ``.numba_config.yaml`` in the folder, which
could name a cache of pickled code."""
FOLDERS = (
    "PATH",
    "LD_LIBRARY_PATH",
    "LIBRARY_PATH",
    "CPATH",
    "C_INCLUDE_PATH",
    "CPLUS_INCLUDE_PATH",
    "COMPILER_PATH",
)
"""Lists of folders of programs, libraries and headers, in which an empty entry is the
current folder."""
LAUNCHED = ("PMI_", "PMIX_", "OMPI_COMM_", "HYDI_", "MPI_LOCALRANKID", "MPI_LOCALN")
"""Beginnings of the names of variables by which MPI finds its launcher."""
THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "DUCC0_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
MOST_THREADS = 2**15  # more than a machine has; libraries overflow from 2³¹ on
OBEYED = {"matplotlib": ("matplotlibrc",), "cmocean": ("matplotlibrc",)}
"""Package to the settings files that it reads from the current folder."""
RANKS = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "SLURM_PROCID",
    "SLURM_LOCALID",
    "JSM_NAMESPACE_RANK",
)


def _here() -> str:
    """The current folder; the root where somebody removed it."""
    try:
        return os.getcwd()
    except OSError:
        return os.sep


_START = _here()


def python(module: str, *arguments: str) -> list[str]:
    """Return the command line of ``python -P -m module arguments``."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a child: this one, but for what would change its code.

    What an MPI launcher left for this process is not handed on: a child is a process of
    its own, and MPI would wait for, or refuse, a launcher that does not know it.

    Args:
        extra: variables to set.

    Raises:
        DataError: the folder holds a library that the child would run.
    """
    refuse_libraries()
    inherited = {
        name: value
        for name, value in os.environ.items()
        if (not name.startswith("PYTHON") or name in KEPT)
        and not name.startswith(LAUNCHED)
    }
    for name in FOLDERS:
        if name in inherited:
            folders = [entry for entry in inherited[name].split(":") if entry]
            inherited[name] = ":".join(folders)
            if not folders:
                del inherited[name]
    path = os.pathsep.join(module_path())
    own = {"PYTHONSAFEPATH": "1", "PYTHONPATH": path}
    return SETTINGS | inherited | own | dict(extra or {})


def module_path() -> list[str]:
    """Return ``sys.path`` without the folder that Python put there unasked."""
    requested = {
        os.path.abspath(entry)
        for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep)
        if entry
    }
    home = str(PACKAGE.parent)
    unasked = {_START, _here()}
    if sys.argv and not sys.flags.safe_path:
        script = os.path.dirname(os.path.abspath(sys.argv[0]))
        unasked |= {script, os.path.realpath(script)}
    unasked -= {*requested, home}
    path = [p for p in sys.path if os.path.isabs(p) and p not in unasked]
    return path if home in path else [home, *path]


def drop_odd_threads() -> None:
    """Drop numbers of threads that are none, such as an empty OMP_NUM_THREADS.

    Job files set them from variables that are not always there; libraries then end in
    errors of their own, some only after hours. Of a list for nested levels (``4,2``)
    the outer level stays: scipy's transforms take one number.
    """
    for name in THREADS:
        value = os.environ.get(name)
        if value is None:
            continue
        words = [word.strip() for word in value.split(",")]
        if all(w.isdecimal() and 0 < int(w) <= MOST_THREADS for w in words):
            os.environ[name] = str(int(words[0]))
        else:
            del os.environ[name]


def drop_odd_ranks() -> None:
    """Drop numbers of processes that are none, on which torchmetrics and others end."""
    for name in RANKS:
        if not os.environ.get(name, "0").strip().isdecimal():
            del os.environ[name]


def close_folder() -> None:
    """Take the current folder off this process's path of modules, and its children's.

    For processes that are opkit's own: the command line, and children.

    Raises:
        DataError: the folder holds a library that PyTorch would run.
    """
    import_aside()
    variables = environment()
    sys.path[:] = module_path()
    for name in ("PYTHONSAFEPATH", *SETTINGS):
        os.environ[name] = variables[name]
    for name in FOLDERS:
        if os.environ.pop(name, None) is not None and name in variables:
            os.environ[name] = variables[name]
    folders = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if folders != [""]:
        entries = [os.path.abspath(entry) for entry in folders if entry]
        os.environ["PYTHONPATH"] = os.pathsep.join(entries)


@contextmanager
def closed_folder() -> Iterator[None]:
    """Let libraries start processes without the current folder on their path.

    For the time of the block ``PYTHONSAFEPATH`` is set, and ``sys.path`` lacks the
    empty entry that stands for the current folder.
    """
    path, before = list(sys.path), os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    sys.path[:] = [entry for entry in path if entry]
    try:
        yield
    finally:
        sys.path[:] = path
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


def require_aside(module: str, extra: str) -> ModuleType:
    """Import as `require` does a package that would obey a file of the folder."""
    files = OBEYED[module.partition(".")[0]]
    if any(os.path.lexists(name) for name in files):
        with elsewhere(*files):
            _default_drawing(extra)
            return require(module, extra)
    return require(module, extra)


@cache
def _default_drawing(extra: str) -> None:
    """Undo what a file of the folder set if another package imported matplotlib."""
    drawing: Any = require("matplotlib", extra)
    settings = dict(drawing.rc_params_from_file(drawing.matplotlib_fname()))
    settings.pop("backend", None)
    drawing.rcParams.update(settings)
