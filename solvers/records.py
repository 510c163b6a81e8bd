"""The residual of what evolves in time: each record advanced again from the one before.

    max_k |u_k - S u_{k-1}| / |u_k|,   k = 1, ..., K

S: the solver over one interval; u_0: the initial state; |·|: root mean square over all
that a state consists of (layers together).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np

from opkit.base.arrays import Array

State = TypeVar("State")


def largest_change(
    states: Callable[[int], State],
    change: Callable[[State, State], Array],
    which: Iterable[int],
) -> Array:
    """Return the largest change over some records, (batch,).

    Args:
        states: number of a record to the state of every sample; 0 is the initial one.
        change: of a record's state from what the one before it (first argument) becomes
            in one interval, (batch,).
        which: numbers of the records, from 1 on; one at least.
    """
    changes = [change(states(k - 1), states(k)) for k in which]
    largest: Array = np.max(changes, axis=0)
    return largest


def re_advanced(
    initial: Array, records: Array, advance: Callable[[Array], Array]
) -> Array:
    """Return the residual of records, (batch,), by the formula above.

    Args:
        initial: (batch, ...).
        records: (batch, record, ...).
        advance: states (batch, ...) to those one interval later.
    """
    return largest_change(
        lambda k: records[:, k - 1] if k else initial,
        lambda before, after: relative_change(advance(before), after),
        range(1, records.shape[1] + 1),
    )


def relative_change(values: Array, reference: Array) -> Array:
    """Return |values - reference| / |reference|, (batch,).

    The distance itself where the reference is zero; infinite where it is not a number.

    Args:
        values: (batch, ...).
        reference: (batch, ...).
    """
    flat = reference.reshape(len(reference), math.prod(reference.shape[1:]))
    # a march with too few steps leaves values whose squares no number holds
    with np.errstate(over="ignore", invalid="ignore"):
        distance = np.linalg.norm(values.reshape(flat.shape) - flat, axis=1)
        size = np.linalg.norm(flat, axis=1)
        relative = np.divide(distance, size, out=distance.copy(), where=size > 0)
    return np.where(np.isfinite(relative), relative, np.inf)
