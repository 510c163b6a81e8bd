"""Meshes with fields of other codes: .vtu and .vtk, one sample a file.

Read by meshio in a child process with limits, as `solvers.fem.read_mesh` reads meshes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from opkit.base.sandbox import Limits, run_limited
from opkit.datasets.header import Mesh
from opkit.datasets.importers.source import LazyArray, Source, in_memory
from opkit.errors import DataError, require

LIMITS = Limits(processor_seconds=60, wall_seconds=60)
LARGEST_FILE = 512 << 20
CHILD = "opkit.datasets.importers.vtk_child"


def open_source(path: Path) -> Source:
    """Open a file; components of a vector are called ``name_x``, ``name_y`` and so on.

    Raises:
        DataError: cannot be read within the limits, or cells of several kinds.
        MissingExtraError: meshio is not installed.
    """
    if path.stat().st_size > LARGEST_FILE:
        raise DataError(f"{path}: larger than {LARGEST_FILE >> 20} MiB")
    require("meshio", "fem")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "fields.npz"
        run_limited(CHILD, [str(path.resolve()), str(out)], str(path), LIMITS)
        with np.load(out, allow_pickle=False) as arrays:
            mesh = Mesh(arrays["points"], arrays["cells"])
            fields: dict[str, LazyArray] = {
                str(name): in_memory(arrays[f"field_{k}"], (str(place),))
                for k, (name, place) in enumerate(
                    zip(arrays["names"], arrays["places"], strict=True)
                )
            }
    return Source(fields, mesh=mesh)
