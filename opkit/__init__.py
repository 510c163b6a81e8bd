"""opkit: from a partial differential equation to a surrogate in a pipeline."""

import sys
from typing import TYPE_CHECKING

if sys.platform == "win32":
    raise ImportError(
        "opkit runs on Linux and macOS (it locks files and limits processes as POSIX "
        "does): on Windows use it in WSL 2"
    )

from opkit.base.children import drop_odd_ranks, drop_odd_threads
from opkit.base.environment import VERSION
from opkit.base.face import late

if TYPE_CHECKING:
    from opkit import errors
    from opkit.case import Case, list_cases, load_case
    from opkit.datasets.importers.arrays import save, save_meshes
    from opkit.evaluate import evaluate
    from opkit.export import export
    from opkit.generate import generate
    from opkit.hypino import solve as solve_pde
    from opkit.report import report
    from opkit.surrogate import Surrogate, load
    from opkit.train import train
    from opkit.train.adaptive import Adaptive

drop_odd_threads()  # before torch, numba and others read them
drop_odd_ranks()
__version__ = VERSION
__all__ = [
    "Adaptive",
    "Case",
    "Surrogate",
    "__version__",
    "errors",
    "evaluate",
    "export",
    "generate",
    "list_cases",
    "load",
    "load_case",
    "report",
    "save",
    "save_meshes",
    "solve_pde",
    "train",
]
__getattr__, __dir__ = late(
    __name__,
    {
        "Adaptive": "opkit.train.adaptive",
        "Case": "opkit.case",
        "Surrogate": "opkit.surrogate",
        "errors": "opkit.errors",
        "evaluate": "opkit.evaluate",
        "export": "opkit.export",
        "generate": "opkit.generate",
        "list_cases": "opkit.case",
        "load": "opkit.surrogate",
        "load_case": "opkit.case",
        "report": "opkit.report",
        "save": "opkit.datasets.importers.arrays",
        "save_meshes": "opkit.datasets.importers.arrays",
        "solve_pde": "opkit.hypino:solve",
        "train": "opkit.train",
    },
)
