"""Ragged files: how the meshes or clouds of all samples lie one after another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Offsets = NDArray[np.int64]
PLACES = ("node", "cell", "facet")
"""Dimensions whose length differs from sample to sample."""
FLAT_NAMES = {
    *("node_x", "node_y", "node_z", "weights", "cell_nodes", "facet_nodes"),
    *("facet_part", "node_offset", "cell_offset", "facet_offset", "facet", "bound"),
    "facet_corner",
}
"""Names of data sets that variables of a ragged file may not have."""


def _start() -> dict[str, Offsets]:
    return {}


@dataclass(frozen=True, eq=False)
class Shapes:
    """What the meshes of all samples have in common, and where each of them begins.

    Args:
        dimension: of space, 2 or 3.
        corners: nodes of a cell; 0 of clouds without cells.
        facet_corners: nodes of a facet of the boundary; 0 where none are stored.
        parts: names of the parts of the boundary.
        weights: whether the weights of nodes follow from the cells, or are equal and
            sum to 1.
        offsets: place to (sample + 1,) where the rows of each sample begin and end;
            empty while a file is being made.
    """

    dimension: int
    corners: int = 0
    facet_corners: int = 0
    parts: tuple[str, ...] = ()
    weights: Literal["cells", "equal"] = "cells"
    offsets: Mapping[str, Offsets] = field(default_factory=_start)

    @property
    def places(self) -> tuple[str, ...]:
        """Those of `PLACES` that the file has."""
        there = (True, self.corners > 0, self.facet_corners > 0)
        return tuple(p for p, has in zip(PLACES, there, strict=True) if has)

    def describe(self) -> dict[str, Any]:
        """Return what is stored as JSON."""
        return {
            "dimension": self.dimension,
            "corners": self.corners,
            "facet_corners": self.facet_corners,
            "parts": list(self.parts),
            "weights": self.weights,
        }

    def rows(self, place: str, sample: int) -> slice:
        """Return the rows of a sample."""
        offsets = self.offsets[place]
        return slice(int(offsets[sample]), int(offsets[sample + 1]))

    def count(self, place: str) -> int:
        """Number of nodes, cells or facets of all samples."""
        return int(self.offsets[place][-1]) if place in self.offsets else 0

    @property
    def nbytes(self) -> int:
        """Bytes of the meshes of all samples, as they are stored."""
        columns = {
            "node": self.dimension + 1,
            "cell": self.corners,
            "facet": self.facet_corners + 1,
        }
        return sum(8 * columns[place] * self.count(place) for place in self.places)

    def fault(self, samples: int) -> str:
        """Say what contradicts itself; empty where nothing does."""
        if self.dimension not in (2, 3):
            return f"meshes of {self.dimension} dimensions: 2 or 3 there can be"
        if (self.weights == "cells") != (self.corners > 0):
            return f"weights {self.weights!r} with cells of {self.corners} corners"
        if self.facet_corners and not self.corners:
            return "boundary facets without cells"
        for place, offsets in self.offsets.items():
            if offsets.shape != (samples + 1,):
                return (
                    f"{place}_offset has {len(offsets)} numbers, {samples} samples "
                    f"need {samples + 1}"
                )
            if offsets[0] != 0:
                return f"{place}_offset begins at {offsets[0]}, not at 0"
            # no differences: of hostile numbers they would overflow
            before, after = offsets[:-1], offsets[1:]
            short = after < before if place == "facet" else after <= before
            if short.any():
                k = int(short.argmax())
                return (
                    f"{place}_offset: sample {k} reaches from {offsets[k]} to "
                    f"{offsets[k + 1]}"
                )
        return ""
