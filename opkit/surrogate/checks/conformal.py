"""Split-conformal prediction: quantiles and p-values with finite-sample guarantees.

If calibration scores s_1, ..., s_n and the score s of a new sample are exchangeable,

    P(s <= s_(k)) >= 1 - α   with k = ⌈(n + 1)(1 - α)⌉,
    P(p <= α) <= α           with p = (1 + #{i: s_i >= s}) / (n + 1),

whatever their distribution. The probability is over calibration samples and the new one
together; given the calibration samples, the coverage is Beta(k, n + 1 - k) distributed.

Source: Vovk, Gammerman, Shafer, Algorithmic learning in a random world, 2005; Lei et
al., J. Am. Stat. Assoc. 113 (2018), doi:10.1080/01621459.2017.1307116.
"""

from __future__ import annotations

import math

import numpy as np

from opkit.base.arrays import Array
from opkit.errors import OpkitInputError


def rank(samples: int, coverage: float) -> int:
    """Return k, from 1, of the calibration score that bounds a new one.

    k = samples + 1 where there are too few samples for this coverage.

    Raises:
        OpkitInputError: coverage not strictly between 0 and 1.
    """
    number = isinstance(coverage, int | float | np.number)
    if not number or not 0 < coverage < 1:
        raise OpkitInputError(f"coverage {coverage}: give a number between 0 and 1")
    # rounding must not push an exact product such as 0.9 * 20 to the next integer
    return math.ceil((samples + 1) * coverage - 1e-9)


def quantile(scores: Array, coverage: float) -> Array:
    """Return the bound of a new score, for each row of calibration scores.

    Args:
        scores: (..., n), any order.
        coverage: 1 - α.

    Returns:
        (...,); infinite where n is too small for the coverage.
    """
    ordered = np.sort(scores, axis=-1)
    k = rank(ordered.shape[-1], coverage)
    if k > ordered.shape[-1]:
        return np.full(ordered.shape[:-1], np.inf)
    return np.asarray(ordered[..., k - 1])


def p_value(scores: Array, values: Array) -> Array:
    """Return the p-value of each value: large values are strange.

    Args:
        scores: (n,) of the calibration samples.
        values: (batch,); not finite counts as stranger than all.
    """
    ordered = np.sort(scores)
    values = np.where(np.isfinite(values), values, np.inf)
    above = len(ordered) - np.searchsorted(ordered, values, side="left")
    return np.asarray((1.0 + above) / (len(ordered) + 1.0), np.float64)


def samples_needed(coverage: float) -> int:
    """Return the fewest calibration samples that give a finite bound."""
    return math.ceil(coverage / (1 - coverage) - 1e-9)
