"""Control of fields: systems under forces, regulators, environments of Gymnasium.

    system = system_of(load_case("advection-diffusion"))
    best = regulator(system)          # of linear systems, or about an equilibrium
    env = environment(load_case("kuramoto-sivashinsky"), horizon=200)

Any step from states to later states will do: a solver's, a surrogate's, or that of a
surrogate that falls back on its solver (`opkit.assimilate.surrogate_step`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from opkit.control.regulator import Regulator, regulator
from opkit.control.system import System, boxes, system_of
from opkit.errors import require

if TYPE_CHECKING:
    from opkit.control.field_control import FieldControl, environment

__all__ = [
    "FieldControl",
    "Regulator",
    "System",
    "boxes",
    "environment",
    "regulator",
    "system_of",
]


def __getattr__(name: str) -> Any:
    if name in ("FieldControl", "environment"):
        require("gymnasium", "control")
        return getattr(import_module("opkit.control.field_control"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
