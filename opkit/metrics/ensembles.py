"""Scores of ensembles: do their spread and their ranks say how wrong they are?

    CRPS = mean_m |x_m − y| − ½ mean_{m ≠ n} |x_m − x_n|

is the integral of (F − 1{x ≥ y})² with F from which the M members are drawn, unbiased
for any M ("fair"), and 0 only where all members are the truth.

Sources: Ferro, Q. J. R. Meteorol. Soc. 140 (2014); Hamill, Mon. Weather Rev. 129
(2001).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from opkit.base.arrays import Array
from opkit.errors import OpkitInputError


def crps(ensemble: ArrayLike, truth: ArrayLike) -> Array:
    """Return the fair continuous ranked probability score of each value.

    Args:
        ensemble: x (member, ...), two members or more.
        truth: y (...).

    Raises:
        OpkitInputError: shapes that do not fit, fewer members, not finite.
    """
    x, y = _checked(ensemble, truth)
    members = len(x)
    error = np.abs(x - y).mean(0)
    # Σ_{m,n} |x_m − x_n| from the order statistics
    factor = 2 * np.arange(1, members + 1) - members - 1
    pairs = 2 * np.tensordot(factor, np.sort(x, 0), 1)
    score: Array = error - pairs / (2 * members * (members - 1))
    return score


def rank_histogram(ensemble: ArrayLike, truth: ArrayLike, seed: int = 0) -> Array:
    """Return how often the truth has each rank among the members, (member + 1,).

    Flat where the truth is like a member; high at both ends where the spread is too
    small, in the middle where it is too large. Ties are broken at random.

    Args:
        ensemble: (member, ...).
        truth: (...).
        seed: of ties.

    Raises:
        OpkitInputError: as `crps`.
    """
    x, y = _checked(ensemble, truth)
    below, equal = (x < y).sum(0), (x == y).sum(0)
    rank = below + np.random.default_rng(seed).integers(0, equal + 1)
    counts: Array = np.bincount(rank.ravel(), minlength=len(x) + 1) / max(y.size, 1)
    return counts


def spread_over_error(ensemble: ArrayLike, truth: ArrayLike) -> float:
    """Return what the spread expects of the error of the mean, over that error.

    √((1 + 1/M) mean variance / mean squared error), 1 where it is calibrated.

    Raises:
        OpkitInputError: as `crps`.
    """
    x, y = _checked(ensemble, truth)
    square = float(((x.mean(0) - y) ** 2).mean())
    variance = float(x.var(0, ddof=1).mean()) * (1 + 1 / len(x))
    return float(np.sqrt(variance / square)) if square > 0 else float("inf")


def _checked(ensemble: ArrayLike, truth: ArrayLike) -> tuple[Array, Array]:
    x, y = np.asarray(ensemble, np.float64), np.asarray(truth, np.float64)
    if x.ndim < 1 or x.shape[1:] != y.shape:
        raise OpkitInputError(
            f"an ensemble of shape {x.shape} and a truth of {y.shape}: give "
            "(member, ...) and (...)"
        )
    if len(x) < 2:
        raise OpkitInputError(
            f"an ensemble of {len(x)}: it has no spread: give 2 members or more"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise OpkitInputError("ensemble or truth are not finite: leave such values out")
    return x, y
