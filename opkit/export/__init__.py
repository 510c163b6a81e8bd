"""Surrogates as files that run without opkit: torch.export, AOTInductor, ONNX."""

from typing import TYPE_CHECKING

from opkit.base.face import call_as, late

if TYPE_CHECKING:
    from opkit.export.main import export
    from opkit.export.report import Report
    from opkit.export.sources import native
    from opkit.export.targets import TARGETS

_MODULES = {
    "TARGETS": "opkit.export.targets",
    "Report": "opkit.export.report",
    "export": "opkit.export.main",
    "native": "opkit.export.sources",
}
__all__ = ["TARGETS", "Report", "export", "native"]
__getattr__, __dir__ = late(__name__, _MODULES)
call_as(__name__, "export")
