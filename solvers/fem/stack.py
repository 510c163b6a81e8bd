"""FEniCSx, imported here and nowhere else, in the one order that works.

The dolfinx wheel carries an HDF5 library of its own. h5py cannot be imported after
it, but works beside it when imported before, and so does netCDF4, which xarray reads
netCDF files with where it is installed; and the wheel's libraries are found only
once ``dolfinx_solver`` is imported. torch, imported after it, has ended in segmentation
faults; before it, it works. conda's ``fenics-dolfinx`` needs none of this.

    from opkit.solvers.fem.stack import MPI, PETSc, fem, mesh, ufl

Raises:
    MissingExtraError: FEniCSx is not installed.
"""

from __future__ import annotations

from importlib.util import find_spec

from opkit.base.elsewhere import elsewhere
from opkit.errors import require
from opkit.solvers.fem.form_cache import PATIENCE, prepare

SETTINGS = (".petscrc", "petscrc", "dolfinx_jit_options.json", "ffcx_options.json")
"""What PETSc and FEniCSx obey in a folder: names of libraries, compiler flags."""

with elsewhere(*SETTINGS):
    for _name in ("h5py", "netCDF4", "torch", "dolfinx_solver"):
        if find_spec(_name) is not None:
            require(_name, "fem")

    prepare()
    dolfinx = require("dolfinx", "fem")
    basix_ufl = require("basix.ufl", "fem")
    fem = require("dolfinx.fem", "fem")
    fem_petsc = require("dolfinx.fem.petsc", "fem")
    mesh = require("dolfinx.mesh", "fem")
    ufl = require("ufl", "fem")
    MPI = require("mpi4py.MPI", "fem")
    PETSc = require("petsc4py.PETSc", "fem")
    _options = require("dolfinx.jit", "fem").DOLFINX_DEFAULT_JIT_OPTIONS
    _options["timeout"] = (PATIENCE, _options["timeout"][1])
    for _module in ("dolfinx.jit", "ffcx.options"):  # each reads its files once
        require(_module, "fem").get_options()

__all__ = ["MPI", "PETSc", "basix_ufl", "dolfinx", "fem", "fem_petsc", "mesh", "ufl"]
