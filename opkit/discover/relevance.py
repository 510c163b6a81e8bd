"""Sparse regression by the relevance vector machine.

    y = Φ w + noise of precision β,   w_j ~ N(0, 1/α_j)

The precisions α maximise the marginal likelihood; those of columns that explain nothing
are infinite, and their weights zero. One column is added, changed or removed at a time,
whichever raises the likelihood most.

Source: Tipping and Faul, Fast marginal likelihood maximisation for sparse Bayesian
models, AISTATS 2003.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from opkit.base.arrays import Array, Indices

_ROUNDS = 2000
_LEAST_NOISE = 1e-10
"""Least variance of the noise, relative to that of the target."""


@dataclass(frozen=True)
class Relevance:
    """What the regression found.

    Args:
        chosen: numbers of the columns.
        weights: of them.
        errors: their standard errors.
        noise: standard deviation of what is left.
    """

    chosen: Indices
    weights: Array
    errors: Array
    noise: float


def relevance_vectors(
    columns: Array, target: Array, tolerance: float = 1e-4
) -> Relevance:
    """Regress a target on few of the columns.

    Args:
        columns: Φ (row, column), none of them zero.
        target: y (row,).
        tolerance: change of log α at which to stop.
    """
    size = np.sqrt((columns**2).mean(0))
    scale = float(np.sqrt((target**2).mean()))
    phi, y = columns / size, target / scale
    rows = len(y)
    gram, towards = phi.T @ phi, phi.T @ y
    alpha, beta = np.full(len(size), np.inf), 10.0
    alpha[int(np.argmax(np.abs(towards)))] = 1.0
    for _ in range(_ROUNDS):
        active = np.flatnonzero(np.isfinite(alpha))
        sigma = np.linalg.inv(
            np.diag(alpha[active]) + beta * gram[np.ix_(active, active)]
        )
        mean = beta * sigma @ towards[active]
        left = rows - mean @ (2 * towards[active] - gram[np.ix_(active, active)] @ mean)
        degrees = rows - len(active) + float(alpha[active] @ np.diag(sigma))
        beta = degrees / max(float(left), _LEAST_NOISE * rows)
        sigma = np.linalg.inv(
            np.diag(alpha[active]) + beta * gram[np.ix_(active, active)]
        )
        cross = gram[:, active]
        big_s = beta * np.diag(gram) - beta**2 * np.einsum(
            "ij,jk,ik->i", cross, sigma, cross
        )
        big_q = beta * towards - beta**2 * cross @ (sigma @ towards[active])
        s, q = big_s.copy(), big_q.copy()
        inside = np.isfinite(alpha)
        room = np.maximum(alpha[inside] - big_s[inside], 1e-12 * alpha[inside])
        ratio = alpha[inside] / room
        s[inside], q[inside] = ratio * big_s[inside], ratio * big_q[inside]
        s = np.maximum(s, 1e-100)
        wanted = np.full(len(alpha), np.inf)
        relevant = q**2 > s
        wanted[relevant] = s[relevant] ** 2 / (q[relevant] ** 2 - s[relevant])
        wanted = np.clip(wanted, 1e-12, None)
        gain = _gain(alpha, wanted, s, q)
        moved = np.where(
            inside & relevant,
            np.abs(np.log(np.where(inside, alpha, 1) / np.where(relevant, wanted, 1))),
            np.inf,
        )
        best = int(np.argmax(gain))
        settled = (moved[inside & relevant] < tolerance).all()
        if settled and not (relevant ^ inside).any():
            break
        if gain[best] <= 1e-9:
            break
        if np.isinf(wanted[best]) and inside.sum() == 1:
            break
        alpha[best] = wanted[best]
    active = np.flatnonzero(np.isfinite(alpha))
    sigma = np.linalg.inv(np.diag(alpha[active]) + beta * gram[np.ix_(active, active)])
    mean = beta * sigma @ towards[active]
    return Relevance(
        active,
        scale * mean / size[active],
        scale * np.sqrt(np.diag(sigma)) / size[active],
        scale / float(np.sqrt(beta)),
    )


def _gain(alpha: Array, wanted: Array, s: Array, q: Array) -> Array:
    """Return by how much each column's change raises the log marginal likelihood."""

    def likelihood(a: Array) -> Array:
        finite = np.isfinite(a)
        b = np.where(finite, a, 1.0)
        value: Array = 0.5 * (np.log(b / (b + s)) + q**2 / (b + s))
        return np.where(finite, value, 0.0)

    gain: Array = likelihood(wanted) - likelihood(alpha)
    return gain
