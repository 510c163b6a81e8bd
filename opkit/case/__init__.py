"""Cases: a PDE problem as a validated record, where it comes from, what it makes."""

from opkit.case.catalogue import list_cases, load_case
from opkit.case.record import Case, parse_case

__all__ = ["Case", "list_cases", "load_case", "parse_case"]
