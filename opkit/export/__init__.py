"""Surrogates as files that run without opkit: torch.export, AOTInductor, ONNX."""

from opkit.export.main import export
from opkit.export.report import Report
from opkit.export.targets import TARGETS

__all__ = ["TARGETS", "Report", "export"]
