"""The groups of a mesh: numbered subdomains and named parts of its boundary."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class MeshGroups:
    """What a solver must know of a mesh from a file, beyond points and cells.

    Args:
        subdomains: (cell,) the number of each cell's subdomain.
        facets: (facet, d) nodes of the boundary's edges or triangles.
        parts: (facet,) index into names.
        names: of the parts of the boundary.
    """

    subdomains: NDArray[np.int64]
    facets: NDArray[np.int64]
    parts: NDArray[np.int64]
    names: tuple[str, ...]

    def fault(self, nodes: int, dimension: int, cells: int) -> str:
        """Say what does not fit a mesh of that size; empty if all does."""
        facets, parts = self.facets, self.parts
        if self.subdomains.shape != (cells,):
            return f"subdomains {self.subdomains.shape} are not one for each cell"
        if facets.ndim != 2 or facets.shape[1] != dimension:
            return f"boundary facets {facets.shape} are not (facet, {dimension})"
        if facets.min(initial=0) < 0 or facets.max(initial=0) >= nodes:
            return "boundary facets point beyond the last node"
        if parts.shape != (len(facets),):
            return f"boundary parts {parts.shape} are not one for each facet"
        if parts.min(initial=0) < 0 or parts.max(initial=0) >= len(self.names):
            return "boundary parts point beyond the last name"
        return ""
