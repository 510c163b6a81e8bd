"""Read mesh files with meshio, in a child process that cannot do harm.

Mesh files are not trusted, and readers of many formats trust them: counts of 10¹²
nodes, ends of the interpreter, other files read on the way. The child has limits on
memory, processor and wall time, writes plain arrays, and what it wrote is checked
again here. Formats that name other files (XDMF, HDF5-based ones) are not read at all.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from opkit.base.arrays import Indices
from opkit.base.files import real
from opkit.base.sandbox import run_limited
from opkit.errors import DataError, require
from opkit.solvers.fem.embedding import check_embedding
from opkit.solvers.fem.read_mesh_child import limits_of
from opkit.solvers.fem.simplex_mesh import (
    MeshError,
    SimplexMesh,
    boundary_facets,
    build,
)

GMSH, VTK = (".msh",), (".vtk", ".vtu")
OTHERS = (".bdf", ".fem", ".inp", ".mesh", ".nas", ".obj", ".off", ".ply", ".stl")
SUFFIXES = (*GMSH, *VTK, *OTHERS, ".su2", ".ugrid")
LARGEST_FILE = 512 << 20
CHILD = "opkit.solvers.fem.read_mesh_child"


def read_mesh(path: Path) -> SimplexMesh:
    """Read triangles or tetrahedra with their physical groups.

    Quadrilaterals become two triangles. Cells of higher order keep their corners;
    curved ones are refused. Group numbers of cells become subdomains, groups of facets
    the parts of the boundary, called ``group-7`` by their number without a name.
    Groups of numbers alone may lie inside the domain, where they have no part in it.

    Raises:
        MeshError: no such file, a format that is not read, a file that cannot be read
            within the limits, or a mesh that `build` or `check_embedding` refuses.
        MissingExtraError: meshio is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise MeshError(f"{path}: not read; formats are {' '.join(SUFFIXES)}")
    if not path.is_file():
        raise MeshError(f"{path}: no such file")
    if not path.stat().st_size:
        raise MeshError(f"{path}: is empty: write it again")
    if path.stat().st_size > LARGEST_FILE:
        raise MeshError(f"{path}: larger than {LARGEST_FILE >> 20} MiB")
    require("meshio", "fem")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "mesh.npz"
        try:
            words = [str(real(path)), str(out)]
            run_limited(CHILD, words, str(path), limits_of(words[0]))
        except DataError as error:
            raise MeshError(str(error)) from None
        with np.load(out, allow_pickle=False) as arrays:
            points, cells = arrays["points"], arrays["cells"]
            groups = arrays["subdomains"]
            tagged: dict[str, Indices] = {
                str(name): arrays[f"facets_{i}"]
                for i, name in enumerate(arrays["names"])
            }
            numbered = [str(n) for n in arrays["names"][~arrays["named"]]]
    for name in numbered:
        on_boundary = _on_boundary(tagged.pop(name), cells)
        if len(on_boundary):
            tagged[name] = on_boundary
    try:
        mesh = build(points, cells, groups, tagged)
        check_embedding(mesh)
        return mesh
    except MeshError as error:
        raise MeshError(f"{path}: {error}") from None


def _on_boundary(some: Indices, cells: Indices) -> Indices:
    known = {tuple(facet) for facet in boundary_facets(cells).tolist()}
    keep = [tuple(facet) in known for facet in np.sort(some, axis=1).tolist()]
    on: Indices = some[np.array(keep, dtype=bool)]
    return on
