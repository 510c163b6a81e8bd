"""opkit: from a partial differential equation to a surrogate in a pipeline."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from opkit.case import Case, list_cases, load_case
    from opkit.surrogate import Surrogate, load

_PUBLIC = {
    "Case": "opkit.case",
    "load_case": "opkit.case",
    "list_cases": "opkit.case",
    "Surrogate": "opkit.surrogate",
    "load": "opkit.surrogate",
}

__all__ = ["Case", "Surrogate", "__version__", "list_cases", "load", "load_case"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'opkit' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
