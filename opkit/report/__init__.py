"""Reports: everything about a run in one HTML page that needs nothing else."""

from typing import TYPE_CHECKING

from opkit.base.face import call_as, late

if TYPE_CHECKING:
    from opkit.report.page import report

_MODULES = {
    "report": "opkit.report.page",
}
__all__ = ["report"]
__getattr__, __dir__ = late(__name__, _MODULES)
call_as(__name__, "report")
