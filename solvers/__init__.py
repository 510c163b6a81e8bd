"""Classical solvers, one folder or file per PDE.

`TARGETS` is the allow-list of built-in solvers that a case may name. Others come from
installed packages through the entry-point group ``opkit.solvers``.
"""

from __future__ import annotations

import importlib
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from opkit.errors import CaseError, OpkitError, nearest

TARGETS = frozenset(
    {
        "opkit.solvers.bracket.solver:Bracket3D",
        "opkit.solvers.burgers:Burgers",
        "opkit.solvers.conductivity_cell:ConductivityCell",
        "opkit.solvers.cylinder_wake:CylinderWake",
        "opkit.solvers.darcy.parametric:ParametricDarcy",
        "opkit.solvers.darcy.source:DarcySource",
        "opkit.solvers.darcy:Darcy",
        "opkit.solvers.elliptic_boundary:EllipticBoundary",
        "opkit.solvers.euler.airfoil:Airfoil",
        "opkit.solvers.fem.darcy_mesh:DarcyMesh",
        "opkit.solvers.fem.elasticity:Cantilever",
        "opkit.solvers.heat_rod:DrivenRod",
        "opkit.solvers.heat_rod:HeatRod",
        "opkit.solvers.helmholtz.scattering:HelmholtzScattering",
        "opkit.solvers.hyperelastic.cell:HyperelasticCell",
        "opkit.solvers.hyperelastic.cell_strain:HyperelasticCellStrain",
        "opkit.solvers.linear_pde:LinearPDE",
        "opkit.solvers.manufactured:Manufactured",
        "opkit.solvers.navier_stokes:NavierStokes",
        "opkit.solvers.plates.solver:HoledPlate",
        "opkit.solvers.quantum_well:QuantumWell",
        "opkit.solvers.quasi_geostrophic:QuasiGeostrophic",
        "opkit.solvers.semilinear:Semilinear",
        "opkit.solvers.steady_flow.channel_bumps:ChannelBumps",
        "opkit.solvers.steady_flow.pipe:Pipe",
    }
)


def solver_class(target: str) -> Any:
    """Return the class that a case names as ``"module:Name"``.

    Raises:
        CaseError: neither built in nor an installed entry point of ``opkit.solvers``.
        CaseError: an entry point whose module cannot be imported or lacks the class.
        MissingExtraError: the solver needs a package that is not installed.
    """
    module, _, name = target.partition(":")
    if target in TARGETS:  # without a look at every installed package
        return getattr(importlib.import_module(module), name)
    points = {point.value: point for point in entry_points(group="opkit.solvers")}
    allowed = TARGETS | points.keys()
    if target not in allowed:
        raise CaseError(
            f"solver {target!r} is not allowed.{nearest(target, allowed)} "
            "Built-in solvers and installed entry points of opkit.solvers are."
        )
    members = vars(_imported(points[target], module))
    if not callable(members.get(name)):
        raise CaseError(
            f"solver {target!r}: module {module} has no class {name!r}."
            f"{nearest(name, members)} Correct {_owner(points[target])}"
        )
    return members[name]


def _imported(point: EntryPoint, module: str) -> ModuleType:
    """Import another package's module; whatever stops it becomes one line."""
    try:
        return importlib.import_module(module)
    except OpkitError:
        raise
    except ModuleNotFoundError as error:
        remedy = f"install {error.name}, which it imports"
        if error.name is not None and (module + ".").startswith(error.name + "."):
            remedy = f"install that module, or correct {_owner(point)}"
        raise CaseError(
            f"solver {point.value!r}: no module named {error.name!r}: {remedy}"
        ) from error
    except Exception as error:
        raise CaseError(
            f"solver {point.value!r}: importing {module} raised "
            f"{type(error).__name__}: {' '.join(str(error).split())}"
        ) from error


def _owner(point: EntryPoint) -> str:
    package = "its package" if point.dist is None else f"package {point.dist.name}"
    return f"entry point {point.name!r} of {package}"
