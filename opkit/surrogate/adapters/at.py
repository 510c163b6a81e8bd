"""Points in place of the axes of space, as outputs show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class At:
    """Points in place of the axes of space, as xarray shows them.

    Args:
        coordinates: name to (dims, values).
        attributes: of the outputs.
    """

    coordinates: Mapping[str, Any]
    attributes: Mapping[str, str]

    @property
    def count(self) -> int:
        """Number of points."""
        return len(next(iter(self.coordinates.values()))[1])
