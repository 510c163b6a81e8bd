"""Data generation: a case and a seed become one data file."""

from typing import TYPE_CHECKING

from opkit.base.face import call_as, late

if TYPE_CHECKING:
    from opkit.generate.planning import Plan, plan
    from opkit.generate.run import Progress, generate

_MODULES = {
    "Plan": "opkit.generate.planning",
    "plan": "opkit.generate.planning",
    "Progress": "opkit.generate.run",
    "generate": "opkit.generate.run",
}
__all__ = ["Plan", "Progress", "generate", "plan"]
__getattr__, __dir__ = late(__name__, _MODULES)
call_as(__name__, "generate")
