"""Missing terms of a model from the increments between its steps and observations.

    (u(t + Δ) − M u(t)) / Δ = Σ_j c_j ∫₀¹ exp((1 − s) ΔA) φ_j(u(t + sΔ)) ds + O(Δ²)
    ≈ Σ_j c_j { [ϕ₁(ΔA) − ϕ₂(ΔA)] φ_j(u(t)) + ϕ₂(ΔA) φ_j(u(t + Δ)) }

M: the model over one interval Δ; A: its linearisation; φ_j: candidate terms of its rate
of change; ϕ₁, ϕ₂: the functions of exponential integrators. Of A nothing is known but
exp(ΔA) φ = DM(u(t)) φ, by differences of the model itself, which may be a black box; so
ϕ₁ and ϕ₂ are summed as series in X = 1 − exp(ΔA),

    ϕ₁ = −X / log(1 − X),   ϕ₂ = (1 − ϕ₁) / (−log(1 − X)).

With φ_j(u(t)) alone, as published, the error is O(Δ), and large for short waves, which
the model damps within Δ.

Source: Mojgani, Chattopadhyay, Hassanzadeh, Chaos 32, 061105 (2022), MEDIDA, which has
φ_j(u(t)) and the relevance vector machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from opkit.base.arrays import Array
from opkit.discover.library import Library
from opkit.discover.relevance import relevance_vectors
from opkit.errors import NonFiniteError, OpkitInputError

_EPSILON = 1e-6
"""Size of the disturbance by a term, relative to that of the state."""
_SURE = 3.0
"""Standard errors that a coefficient has to be away from zero."""


@dataclass(frozen=True)
class Term:
    """A term that the model lacks.

    Args:
        name: in the library.
        coefficient: to be added to the model's rate of change.
        error: standard error of the coefficient.
        share: size of the term relative to that of the increments (root mean square).
    """

    name: str
    coefficient: float
    error: float
    share: float


@dataclass(frozen=True)
class Discovery:
    """Terms that a model lacks, the largest first.

    Args:
        terms: those found.
        explained: share of the variance of the increments that they explain.
        increment: size of the increments per time (root mean square).
        candidates: number of terms in the library.
    """

    terms: tuple[Term, ...]
    explained: float
    increment: float
    candidates: int

    def rows(self) -> list[dict[str, Any]]:
        """Return the terms as rows of a table."""
        return [
            {
                "term": t.name,
                "coefficient": t.coefficient,
                "standard error": t.error,
                "share": t.share,
            }
            for t in self.terms
        ]


def discover(
    model: Callable[[Array], Array],
    before: ArrayLike,
    after: ArrayLike,
    interval: float,
    library: Library,
    *,
    least: float = 0.01,
    corrections: int = 4,
) -> Discovery:
    """Find the terms that a model lacks.

    Args:
        model: M, states (sample, *space) to those one interval later.
        before: observed states u(t) (sample, *space).
        after: the same samples at t + Δ.
        interval: Δ.
        library: candidate terms φ.
        least: share of the increments below which a term is dropped, as are those
            whose coefficient is below three standard errors.
        corrections: powers of X that are summed, each for two steps of the model a
            term; 0 takes φ_j(u(t)) alone.

    Returns:
        No terms where the increments are zero.

    Raises:
        OpkitInputError: shapes that do not fit, values that are not finite, an empty
            library, more terms than values, or terms that are zero or not finite.
        NonFiniteError: the model returns NaN or infinity.
    """
    u, v = np.asarray(before, np.float64), np.asarray(after, np.float64)
    _check(u, v, interval, library, least)
    if corrections < 0:
        raise OpkitInputError(f"corrections {corrections}: give a number from 0 on")
    base = _advanced(model, u)
    target = ((v - base) / interval).ravel()
    size = float(np.sqrt((target**2).mean()))
    names = list(library)
    if not np.isfinite(size):
        raise OpkitInputError(
            "the squares of the increments are beyond the range of floats: give the "
            "states in other units"
        )
    if size == 0:
        return Discovery((), 1.0, 0.0, len(names))
    columns = np.stack(
        [_column(model, name, library, u, v, base, corrections) for name in names], 1
    )
    chosen = np.arange(len(names))
    while True:
        found = relevance_vectors(columns[:, chosen], target)
        chosen = chosen[found.chosen]
        parts = columns[:, chosen] * found.weights
        shares = np.sqrt((parts**2).mean(0)) / size
        doubtful = (shares < least) | (np.abs(found.weights) < _SURE * found.errors)
        if not doubtful.any() or len(chosen) == 1:
            break
        chosen = np.delete(chosen, np.where(doubtful, shares, np.inf).argmin())
    left = target - parts.sum(1)
    if doubtful.all():
        return Discovery((), 0.0, size, len(names))
    terms = [
        Term(names[j], float(w), float(e), float(s))
        for j, w, e, s in zip(chosen, found.weights, found.errors, shares, strict=True)
    ]
    terms.sort(key=lambda term: -term.share)
    explained = 1 - float((left**2).mean()) / size**2
    return Discovery(tuple(terms), explained, size, len(names))


def _check(u: Array, v: Array, interval: float, library: Library, least: float) -> None:
    if u.shape != v.shape or u.ndim < 2 or not len(u):
        raise OpkitInputError(
            f"states of shape {u.shape} before and {v.shape} after: give the same, "
            "(sample, *space)"
        )
    for what, states in (("before", u), ("after", v)):
        bad = ~np.isfinite(states.reshape(len(states), -1)).all(1)
        if bad.any():
            raise OpkitInputError(
                f"states {what}: sample {int(bad.argmax())} is not finite: remove it"
            )
    if not 0 < interval < np.inf:
        raise OpkitInputError(f"interval {interval}: give a positive time")
    if not 0 <= least < 1:
        raise OpkitInputError(f"least share {least}: give a number from 0 to 1")
    if not library:
        raise OpkitInputError("the library has no terms: give it one or more")
    if u.size <= len(library):
        raise OpkitInputError(
            f"{u.size} values for {len(library)} terms: give more samples or fewer "
            "terms"
        )


def _advanced(model: Callable[[Array], Array], states: Array) -> Array:
    ahead = np.asarray(model(states), np.float64)
    if ahead.shape != states.shape:
        raise OpkitInputError(
            f"the model returns shape {ahead.shape} for {states.shape}: it has to keep "
            "the shape"
        )
    bad = ~np.isfinite(ahead.reshape(len(ahead), -1)).all(1)
    if bad.any():
        raise NonFiniteError(
            f"the model returned NaN or infinity for sample {int(bad.argmax())}: a "
            "shorter interval may help"
        )
    return ahead


def _column(
    model: Callable[[Array], Array],
    name: str,
    library: Library,
    u: Array,
    v: Array,
    base: Array,
    corrections: int,
) -> Array:
    term = library[name]
    here = np.asarray(term(u), np.float64)
    size = float(np.sqrt((here**2).mean())) if here.shape == u.shape else np.nan
    if not np.isfinite(size) or size == 0:
        raise OpkitInputError(
            f"term {name} of the library has shape {here.shape}, is zero or is not "
            f"finite: give values of shape {u.shape}, or leave it out"
        )
    if not corrections:
        return here.ravel()
    epsilon = _EPSILON * float(np.sqrt((u**2).mean())) / size
    begin, end = here, np.asarray(term(v), np.float64)
    first, second = _weights(corrections)
    column = first[0] * begin + second[0] * end
    for k in range(1, corrections + 1):  # the next power of X = 1 − DM on both
        begin = begin - (_advanced(model, u + epsilon * begin) - base) / epsilon
        end = end - (_advanced(model, u + epsilon * end) - base) / epsilon
        column = column + first[k] * begin + second[k] * end
    flat: Array = column.ravel()
    return flat


def _weights(count: int) -> tuple[Array, Array]:
    """Return the series of ϕ₁ − ϕ₂ and of ϕ₂ in powers of X, up to ``count``."""
    logarithm = 1 / np.arange(1.0, count + 3)  # −log(1 − X) / X
    one = _quotient(np.eye(1, count + 2)[0], logarithm)
    two = _quotient(-one[1:], logarithm)
    return one[: count + 1] - two, two


def _quotient(above: Array, below: Array) -> Array:
    """Return the series above / below, as long as ``above``; below[0] is 1."""
    series = np.zeros(len(above))
    for k in range(len(above)):
        series[k] = above[k] - below[1 : k + 1] @ series[:k][::-1]
    return series
