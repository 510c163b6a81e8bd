"""Reports: everything about a run in one HTML page that needs nothing else."""

from opkit.report.page import report

__all__ = ["report"]
