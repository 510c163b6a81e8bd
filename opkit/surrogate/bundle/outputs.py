"""The outputs of a surrogate by name, out of the one tensor that an operator gives."""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import Tensor

from opkit.surrogate.bundle.record import BundleConfig


def by_name(outputs: Tensor, config: BundleConfig, axis: int = 1) -> dict[str, Tensor]:
    """Take the outputs of a batch apart.

    Args:
        outputs: (batch, [steps,] channel, *space); of outputs of several kinds
            (batch, 1, value), as `opkit.operators.shapes.Packing` lays them.
        config: record of the surrogate.
        axis: of the channels.

    Returns:
        By name (batch, [steps,] [channel,] *space), without an axis of channels where
        there is one; of numbers (batch, [component]), of a series (batch, time).
    """
    packing = config.shape.packing
    if packing is None:
        counts = [v.channels for v in config.outputs]
        return {
            v.name: part if v.channels > 1 else part.squeeze(axis)
            for v, part in zip(
                config.outputs, torch.split(outputs, counts, axis), strict=True
            )
        }
    packing = packing.at(outputs.shape[-1])
    ends = list(accumulate(packing.sizes, initial=0))
    parts: dict[str, Tensor] = {}
    entry = 0
    for v in config.outputs:
        last = entry + v.channels
        part = outputs[:, 0, ends[entry] : ends[last]]
        if v.kind == "field":
            shape = (v.channels, *packing.fields[1:])
            part = part.reshape(-1, *shape[v.channels == 1 :])
        elif v.kind == "numbers" and v.channels == 1:
            part = part[:, 0]
        parts[v.name] = part
        entry = last
    return parts
