"""Classical solvers, one folder or file per PDE.

`TARGETS` is the allow-list of built-in solvers that a case may name. Others come from
installed packages through the entry-point group ``opkit.solvers``.
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import Any

from opkit.errors import CaseError, nearest

TARGETS = frozenset(
    {
        "opkit.solvers.burgers:Burgers",
        "opkit.solvers.darcy:Darcy",
        "opkit.solvers.elliptic_boundary:EllipticBoundary",
        "opkit.solvers.fem.darcy_mesh:DarcyMesh",
        "opkit.solvers.fem.elasticity:Cantilever",
        "opkit.solvers.linear_pde:LinearPDE",
        "opkit.solvers.manufactured:Manufactured",
        "opkit.solvers.navier_stokes:NavierStokes",
        "opkit.solvers.quasi_geostrophic:QuasiGeostrophic",
    }
)


def solver_class(target: str) -> Any:
    """Return the class that a case names as ``"module:Name"``.

    Raises:
        CaseError: neither built in nor an installed entry point of ``opkit.solvers``.
        MissingExtraError: the solver needs a package that is not installed.
    """
    allowed = TARGETS | {point.value for point in entry_points(group="opkit.solvers")}
    if target not in allowed:
        raise CaseError(
            f"solver {target!r} is not allowed.{nearest(target, allowed)} "
            "Built-in solvers and installed entry points of opkit.solvers are."
        )
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
