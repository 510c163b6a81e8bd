"""Random choices that depend on a seed alone."""

from __future__ import annotations

import numpy as np
import torch


def generator(seed: int, epoch: int, purpose: int) -> torch.Generator:
    """Random generator of one purpose in one epoch."""
    word = np.random.SeedSequence([seed, epoch, purpose]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(word[0] >> np.uint64(1)))


def apart(count: int, part: float, seed: int) -> tuple[list[int], list[int]]:
    """Return the rows that stay, and a random part of so many rows that is held out.

    The same for the same seed; both increase.
    """
    held = round(part * count)
    order = torch.randperm(count, generator=generator(seed, 0, 0))
    rest, chosen = order[held:].sort().values, order[:held].sort().values
    return rest.tolist(), chosen.tolist()
