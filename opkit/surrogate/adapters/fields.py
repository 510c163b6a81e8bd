"""Fields of samples that have none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from opkit.surrogate.adapters.refuse import POINTS
from opkit.surrogate.bundle.record import BundleConfig


def no_fields(tensors: Mapping[str, Tensor], config: BundleConfig) -> Tensor:
    """Return (batch, 0, *space): fields of samples whose inputs are of other kinds.

    Args:
        tensors: other inputs by role.
        config: record of the surrogate.
    """
    rows = next(iter(tensors.values()))
    space: Sequence[int] = config.shape.shape
    if config.shape.ragged and POINTS in tensors:
        space = tensors[POINTS].shape[1:-1]
    return rows.new_zeros(len(rows), 0, *space)
